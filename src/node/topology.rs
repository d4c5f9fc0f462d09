//! Selects the peers to link with: all peers in a full mesh, neighbours on rings in a larger
//! network.
//!
//! The members of a room form a ring, in the order of their ids. There are smaller rings as well.
//! Ring `n` contains the members whose ids end with the same `n` bits as our id. Each ring has
//! about half as many members as the ring before, so its neighbours are twice as far apart. On each
//! ring, the two nearest members on either side are our neighbours. This structure is a skip graph
//! (Aspnes and Shah, 2003).
//!
//! Being neighbours is symmetric. Two peers that know the same members agree without a message on
//! whether they are neighbours. A member that comes or goes changes the neighbours of only a few
//! others. In a room of 1000 members, each has about 20 neighbours and no member is more than 5
//! hops away. The room stays connected when a fifth of its members vanish.
use crate::base::identity::PeerId;
use crate::base::name::Room;
use crate::base::table::{SortedMap, SortedSet};

/// Maximum number of links to peers that are not transient. A full mesh has at most this many
/// known peers.
pub const LINKS_MAX: usize = 64;
/// There is always room for this many links to transient peers. All links together number at most
/// [`LINKS_MAX`] plus this value.
pub const TRANSIENT_LINKS_MAX: usize = 16;
/// A partial mesh becomes a full mesh when at most this many peers are known. Pruning a partial
/// mesh also leaves at least this many links.
pub const FULL_MESH_RESUME_PEERS: usize = 48;
/// Number of neighbours on either side of us on each ring.
const NEIGHBOURS_PER_SIDE: usize = 2;

/// Number of bits that the last 32 bits of two ids share at their end. A room therefore has at most
/// 33 rings.
fn common_suffix_bits(a: &PeerId, b: &PeerId) -> usize {
    let end = |id: &PeerId| u32::from_le_bytes([id.0[31], id.0[30], id.0[29], id.0[28]]);
    (end(a) ^ end(b)).trailing_zeros() as usize
}

/// Our neighbours on the rings of one room. The list at index `n` belongs to the ring of members
/// whose ids share the last `n` bits with ours. In each list, the ids larger than ours come first,
/// in ascending order. The smaller ids follow, also in ascending order.
#[derive(Default)]
pub struct Rings(Vec<Vec<PeerId>>);

impl Rings {
    /// Adds a member to the rings on which it is our neighbour. A ring keeps two neighbours on
    /// either side of us, and a nearer member replaces the farther one. Returns whether the member
    /// was added to any ring.
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

/// The index at which to insert a member among our neighbours on a ring. `None` if the member is
/// too far away, on the ring already, or ourselves.
fn ring_position(ring: &[PeerId], own: &PeerId, peer: &PeerId) -> Option<usize> {
    // After the largest id, the ring continues with the smallest.
    let order = |id: &PeerId| (id < own, *id);
    let at = ring.partition_point(|other| order(other) < order(peer));
    let is_near = at < NEIGHBOURS_PER_SIDE || at + NEIGHBOURS_PER_SIDE > ring.len();
    (is_near && peer != own && ring.get(at) != Some(peer)).then_some(at)
}

/// Decides which peers we want to be linked with.
#[derive(Default)]
pub struct Topology {
    is_partial_mesh: bool,
    rings: SortedMap<Room, Rings>,
    wanted: SortedSet<PeerId>,
}

impl Topology {
    /// Whether there are too many peers to link with all of them.
    pub fn is_partial_mesh(&self) -> bool {
        self.is_partial_mesh
    }

    /// Whether we want a link to this peer. Always true in a full mesh.
    pub fn is_wanted(&self, peer: &PeerId) -> bool {
        !self.is_partial_mesh || self.wanted.contains(peer)
    }

    /// The wanted peers of a partial mesh, at most [`LINKS_MAX`]. Empty in a full mesh.
    pub fn wanted(&self) -> &SortedSet<PeerId> {
        &self.wanted
    }

    /// Forgets all members and all wanted peers. Chooses a full or a partial mesh by the number of
    /// known peers, and returns whether the mesh is partial. If so, the caller must call
    /// [`Topology::add_member`] for each member, and then [`Topology::select_neighbours`].
    pub fn reset(&mut self, known: usize) -> bool {
        // Two bounds keep the mesh from changing back and forth when the number of peers is near
        // one of them.
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

    /// Adds a member of a room. Returns whether the member became a neighbour.
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

    /// Adds a peer to the wanted peers, unless [`LINKS_MAX`] are wanted already.
    pub fn add_wanted(&mut self, peer: PeerId) {
        if self.wanted.len() < LINKS_MAX {
            self.wanted.insert(peer);
        }
    }

    /// Adds the neighbours on all rings to the wanted peers, up to [`LINKS_MAX`]. Starts with ring
    /// 0 of every room, because these rings keep the rooms connected. Continues with ring 1 of
    /// every room, and so on.
    pub fn select_neighbours(&mut self) {
        let depth = self.rings.values().map(|rings| rings.0.len()).max();
        for bits in 0..depth.unwrap_or(0) {
            // The nearest neighbours in all rooms come before the second nearest.
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
