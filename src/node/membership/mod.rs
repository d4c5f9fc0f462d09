//! Tracks the peers in each room, with their names and keys. A peer in a room is linked or
//! reachable through others.
pub mod flap_damping;
pub mod gone_peers;
pub mod known_peers;
pub mod linked_members;
pub mod lost_members;
pub mod own_presence;
pub mod presence;
pub mod profiles;
pub mod resolve_name;
pub mod rooms;
pub mod roster;
pub mod routes;
pub mod typists;
