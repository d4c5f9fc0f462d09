//! Bytes: how the nouns travel. Pure functions and small state machines; no I/O, clock or randomness of their own.
pub mod beacon;
pub mod channel;
pub mod code;
pub mod frame;
pub mod message;
pub mod noise;
pub mod sealed;
pub mod secret;
