//! Whom to keep, once there are more peers than links: neighbours by ring and fingers over the ordered ids of each room's members.
//!
//! The members of a room lie on a ring, in the order of their ids. Those whose ids end in the same bits as ours lie on a ring of their own, for
//! any number of bits: fewer on each, and so farther apart. Of each of these rings the two next members on either side are our neighbours (a skip graph:
//! Aspnes and Shah, 2003). So the relation is symmetric: two that know of the same members agree, without a word, whether they are
//! neighbours. One that comes or goes changes the neighbours of a few others alone. In a room of 1000 each has about 20, none is more
//! than 5 hops away, and the room stays connected when a fifth of it is gone at once.
use crate::base::identity::PeerId;
use crate::base::name::Room;
use crate::base::table::{SortedMap, SortedSet};

/// Most links to peers that stay; also the most peers among which everybody is linked with everybody.
pub const LINKS_MAX: usize = 64;
/// Further links, for programs that come and go.
pub const TRANSIENT_LINKS_MAX: usize = 16;
/// With no more peers known than this, everybody is linked with everybody again.
pub const FULL_MESH_RESUME_PEERS: usize = 48;
/// Most bits that are compared at the ends of ids.
const SUFFIX_BITS_MAX: u32 = 32;
/// Neighbours on either side of a ring.
const NEIGHBOURS_PER_SIDE: usize = 2;

/// Bits at the ends of two ids that are the same.
fn common_suffix_bits(a: &PeerId, b: &PeerId) -> usize {
    let end = |id: &PeerId| u32::from_le_bytes([id.0[31], id.0[30], id.0[29], id.0[28]]);
    (end(a) ^ end(b)).trailing_zeros().min(SUFFIX_BITS_MAX) as usize
}

/// The neighbours on the rings of one room, from the ring of all on: each in the order in which they follow us.
#[derive(Default)]
pub struct Rings(Vec<Vec<PeerId>>);

impl Rings {
    /// Puts a member in its place, if it is a neighbour; those that are too far then are none any more. `false`: it is none itself.
    pub fn add(&mut self, own: &PeerId, peer: &PeerId) -> bool {
        let mut near = false;
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
                near = true;
            }
        }
        near
    }

    /// Would it be a neighbour, or is it one?
    pub fn is_neighbour(&self, own: &PeerId, peer: &PeerId) -> bool {
        (0..=common_suffix_bits(own, peer)).any(|bits| {
            let ring = self.0.get(bits);
            ring.is_none_or(|ring| ring.contains(peer) || ring_position(ring, own, peer).is_some())
        })
    }
}

/// Where a member belongs among the neighbours on a ring; `None`: among those that are too far, or it is there.
fn ring_position(ring: &[PeerId], own: &PeerId, peer: &PeerId) -> Option<usize> {
    // The ring goes on at its beginning.
    let order = |id: &PeerId| (id < own, *id);
    let at = ring.partition_point(|other| order(other) < order(peer));
    let near = at < NEIGHBOURS_PER_SIDE || at + NEIGHBOURS_PER_SIDE > ring.len();
    (near && peer != own && ring.get(at) != Some(peer)).then_some(at)
}

/// Whom we want to be linked with.
#[derive(Default)]
pub struct Topology {
    is_partial_mesh: bool,
    rings: SortedMap<Room, Rings>,
    wanted: SortedSet<PeerId>,
}

impl Topology {
    /// Too many peers for a link to each.
    pub fn is_partial_mesh(&self) -> bool {
        self.is_partial_mesh
    }

    pub fn is_wanted(&self, peer: &PeerId) -> bool {
        !self.is_partial_mesh || self.wanted.contains(peer)
    }

    /// Those that are wanted, when there are too many.
    pub fn wanted(&self) -> &SortedSet<PeerId> {
        &self.wanted
    }

    /// Begins anew, with so many peers that are known. `true`: there are too many, and [`Topology::add`] is to be told of each.
    pub fn reset(&mut self, known: usize) -> bool {
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

    /// A member of a room.
    pub fn add_member(&mut self, own: &PeerId, room: &Room, peer: &PeerId) -> bool {
        if !self.rings.contains_key(room) {
            self.rings.insert(room.clone(), Rings::default());
        }
        let rings = self.rings.get_mut(room);
        rings.is_some_and(|rings| rings.add(own, peer))
    }

    /// Would this one be a neighbour in the room?
    pub fn is_neighbour(&self, own: &PeerId, room: &Room, peer: &PeerId) -> bool {
        let rings = self.rings.get(room);
        rings.is_none_or(|rings| rings.is_neighbour(own, peer))
    }

    /// One more is wanted, if there is a place for it.
    pub fn add_wanted(&mut self, peer: PeerId) {
        if self.wanted.len() < LINKS_MAX {
            self.wanted.insert(peer);
        }
    }

    /// All neighbours are wanted. Where they are too many, those of each room's whole ring come first: they hold it together.
    pub fn select_neighbours(&mut self) {
        let most = self.rings.values().map(|rings| rings.0.len()).max();
        for bits in 0..most.unwrap_or(0) {
            // The very next ones of all rooms, before those behind them.
            for far in [false, true] {
                for rings in self.rings.values() {
                    let ring = rings.0.get(bits).map_or(&[][..], Vec::as_slice);
                    for (at, peer) in ring.iter().enumerate() {
                        let next = at == 0 || at + 1 == ring.len();
                        if next != far && self.wanted.len() < LINKS_MAX {
                            self.wanted.insert(*peer);
                        }
                    }
                }
            }
        }
    }
}
