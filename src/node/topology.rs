//! Selects the peers to be linked with: all in a full mesh, neighbours on rings in a larger
//! network.
//!
//! The members of a room lie on a ring, in the order of their ids. Members whose ids end in the
//! same bits as ours lie on a further ring for each number of bits; the more bits, the fewer
//! members and the farther apart. On each ring the two next members on either side are our
//! neighbours: a skip graph (Aspnes and Shah, 2003). The relation is symmetric: two peers that
//! know the same members agree without a message whether they are neighbours. A member that comes
//! or goes changes the neighbours of a few others only. In a room of 1000 members each has about
//! 20 neighbours, no member is more than 5 hops away, and the room stays connected when a fifth
//! of it vanishes.
use crate::base::identity::PeerId;
use crate::base::name::Room;
use crate::base::table::{SortedMap, SortedSet};

/// Most links to peers that are not transient; also the most peers of a full mesh.
pub const LINKS_MAX: usize = 64;
/// Most further links to transient peers.
pub const TRANSIENT_LINKS_MAX: usize = 16;
/// A partial mesh becomes full again at this number of known peers. Up to as many links a partial
/// mesh keeps even if they are unwanted.
pub const FULL_MESH_RESUME_PEERS: usize = 48;
/// Most bits compared at the ends of ids.
const SUFFIX_BITS_MAX: u32 = 32;
/// Neighbours on either side of us on each ring.
const NEIGHBOURS_PER_SIDE: usize = 2;

/// Number of equal bits at the ends of two ids, at most [`SUFFIX_BITS_MAX`].
fn common_suffix_bits(a: &PeerId, b: &PeerId) -> usize {
    let end = |id: &PeerId| u32::from_le_bytes([id.0[31], id.0[30], id.0[29], id.0[28]]);
    (end(a) ^ end(b)).trailing_zeros().min(SUFFIX_BITS_MAX) as usize
}

/// Our neighbours on the rings of one room, indexed by the number of common bits. Each ring is in
/// the order of the ids, beginning behind ours.
#[derive(Default)]
pub struct Rings(Vec<Vec<PeerId>>);

impl Rings {
    /// Inserts a member on the rings where it is a neighbour; farther ones drop out. Returns
    /// whether it is a neighbour on any.
    pub fn add(&mut self, own: &PeerId, peer: &PeerId) -> bool {
        let mut is_neighbour = false;
        for bits in 0..=common_suffix_bits(own, peer) {
            if bits == self.0.len() {
                self.0.push(Vec::new());
            }
            let ring = &mut self.0[bits];
            if let Some(at) = ring_position(ring, own, peer) {
                ring.insert(at, *peer);
                if ring.len() > 2 * NEIGHBOURS_PER_SIDE {
                    ring.remove(NEIGHBOURS_PER_SIDE);
                }
                is_neighbour = true;
            }
        }
        is_neighbour
    }

    /// Whether a member is a neighbour on any ring, or would be if added.
    pub fn is_neighbour(&self, own: &PeerId, peer: &PeerId) -> bool {
        (0..=common_suffix_bits(own, peer)).any(|bits| {
            let ring = self.0.get(bits);
            ring.is_none_or(|ring| ring.contains(peer) || ring_position(ring, own, peer).is_some())
        })
    }
}

/// The index at which a member belongs among the neighbours of a ring. `None`: it is too far
/// away, or on the ring already.
fn ring_position(ring: &[PeerId], own: &PeerId, peer: &PeerId) -> Option<usize> {
    // Behind the largest id the ring continues with the smallest.
    let order = |id: &PeerId| (id < own, *id);
    let at = ring.partition_point(|other| order(other) < order(peer));
    let is_near = at < NEIGHBOURS_PER_SIDE || at + NEIGHBOURS_PER_SIDE > ring.len();
    (is_near && peer != own && ring.get(at) != Some(peer)).then_some(at)
}

/// The peers with which we want to be linked.
#[derive(Default)]
pub struct Topology {
    is_partial_mesh: bool,
    rings: SortedMap<Room, Rings>,
    wanted: SortedSet<PeerId>,
}

impl Topology {
    /// There are too many peers for a link to each.
    pub fn is_partial_mesh(&self) -> bool {
        self.is_partial_mesh
    }

    /// Whether we want a link to this peer; in a full mesh always.
    pub fn is_wanted(&self, peer: &PeerId) -> bool {
        !self.is_partial_mesh || self.wanted.contains(peer)
    }

    /// The wanted peers of a partial mesh, at most [`LINKS_MAX`]; empty in a full mesh.
    pub fn wanted(&self) -> &SortedSet<PeerId> {
        &self.wanted
    }

    /// Forgets all members and decides by the number of known peers whether the mesh is full.
    /// Returns `true` for a partial mesh: then [`Topology::add_member`] must follow for each peer
    /// and room, and [`Topology::select_neighbours`].
    pub fn reset(&mut self, known: usize) -> bool {
        // Two bounds: a number of peers near one bound must not change the mesh again and again.
        let bound = if self.is_partial_mesh {
            FULL_MESH_RESUME_PEERS
        } else {
            LINKS_MAX
        };
        self.is_partial_mesh = known > bound;
        self.rings.clear();
        self.wanted.clear();
        self.is_partial_mesh
    }

    /// Adds a member of a room. Returns whether it is a neighbour.
    pub fn add_member(&mut self, own: &PeerId, room: &Room, peer: &PeerId) -> bool {
        if !self.rings.contains_key(room) {
            self.rings.insert(room.clone(), Rings::default());
        }
        let rings = self.rings.get_mut(room);
        rings.is_some_and(|rings| rings.add(own, peer))
    }

    /// Whether this peer is a neighbour in the room, or would be if added.
    pub fn is_neighbour(&self, own: &PeerId, room: &Room, peer: &PeerId) -> bool {
        let rings = self.rings.get(room);
        rings.is_none_or(|rings| rings.is_neighbour(own, peer))
    }

    /// Adds one peer to the wanted ones, unless they have reached their bound.
    pub fn add_wanted(&mut self, peer: PeerId) {
        if self.wanted.len() < LINKS_MAX {
            self.wanted.insert(peer);
        }
    }

    /// Adds the neighbours on all rings to the wanted peers. At the bound the rings with fewer
    /// common bits have precedence: the ring of all members keeps a room connected.
    pub fn select_neighbours(&mut self) {
        let depth = self.rings.values().map(|rings| rings.0.len()).max();
        for bits in 0..depth.unwrap_or(0) {
            // The nearest neighbours of all rooms come before the second ones.
            for is_second in [false, true] {
                for rings in self.rings.values() {
                    let ring = rings.0.get(bits).map_or(&[][..], Vec::as_slice);
                    for (at, peer) in ring.iter().enumerate() {
                        let is_nearest = at == 0 || at + 1 == ring.len();
                        if is_nearest != is_second && self.wanted.len() < LINKS_MAX {
                            self.wanted.insert(*peer);
                        }
                    }
                }
            }
        }
    }
}
