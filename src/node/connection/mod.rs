//! How a stream becomes an authenticated link, how a link stays alive, and how it ends.
pub mod admission;
pub mod deferred_handshakes;
pub mod duplicate_identity;
pub mod handshake;
pub mod handshake_limits;
pub mod hello;
pub mod liveness;
pub mod pending_handshake;
