//! How links come to stand, stay alive and end.
pub mod handshake;
pub mod liveness;
