//! Who is in which room, under which name and key, linked or through others.
pub mod known_peers;
pub mod presence;
pub mod resolve_name;
pub mod rooms;
pub mod roster;
pub mod routes;
