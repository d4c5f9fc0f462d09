//! Sockets, network interfaces and host names.
pub mod datagram;
pub mod dial;
pub mod finders;
#[cfg(any(feature = "grenache", feature = "upnp"))]
pub mod http;
pub mod interface_watch;
pub mod interfaces;
pub mod keepalive;
pub mod listener;
pub mod lsnp;
pub mod multicast;
#[cfg(feature = "nat")]
pub mod nat;
pub mod own_code;
pub mod path_mtu;
pub mod read_budget;
pub mod resolver;
pub mod stream_limit;
pub mod tcp;
