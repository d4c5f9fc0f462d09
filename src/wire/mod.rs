//! Encodings on the wire: pure functions and small state machines without I/O, clock or
//! randomness of their own.
pub mod beacon;
pub mod channel;
pub mod code;
pub mod frame;
pub mod message;
pub mod noise;
pub mod sealed;
pub mod secret;
