//! Wire formats: pure functions and small state machines. The caller provides time, randomness and
//! I/O.
//!
//! The text below describes the protocol. It is also in the file `PROTOCOL.md` in this folder.
//!
#![doc = include_str!("PROTOCOL.md")]

pub mod beacon;
pub mod channel;
pub mod code;
#[cfg(feature = "dht")]
pub mod dht;
pub mod frame;
pub mod go_p2pchat;
pub mod grenache;
#[cfg(any(feature = "grenache", feature = "upnp"))]
pub mod http;
#[cfg(feature = "invite")]
pub mod invite;
#[cfg(feature = "invite")]
pub mod invite_code;
pub mod lsnp;
pub mod mdns;
pub mod message;
#[cfg(feature = "nat")]
pub mod nat_pmp;
pub mod noise;
#[cfg(feature = "nat")]
pub mod pcp;
pub mod profile;
pub mod sealed;
pub mod secret;
pub mod stream_protocol;
#[cfg(feature = "upnp")]
pub mod upnp;
