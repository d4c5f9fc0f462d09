//! Tracks which peers are in which room, under which name and key, linked or reachable through
//! others.
pub mod known_peers;
pub mod presence;
pub mod profile;
pub mod resolve_name;
pub mod rooms;
pub mod roster;
pub mod routes;
