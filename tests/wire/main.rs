//! Wire formats of `src/wire`.

#[path = "../support/batches/mod.rs"]
mod batches;
#[path = "../support/documents/mod.rs"]
mod documents;
#[path = "../support/sentences/mod.rs"]
mod sentences;
#[path = "../support/vector_files/mod.rs"]
mod vector_files;

mod beacon;
mod code;
#[cfg(feature = "dht")]
mod dht;
mod go_p2pchat;
mod grenache;
mod grenache_rpc;
#[cfg(any(feature = "grenache", feature = "upnp"))]
mod http;
#[cfg(feature = "invite")]
mod invite;
mod lsnp;
mod mdns;
mod message;
#[cfg(feature = "nat")]
mod nat;
mod noise;
mod protocol;
mod sealed;
mod secret;
#[cfg(feature = "upnp")]
mod upnp;
mod vectors;
mod websocket;
