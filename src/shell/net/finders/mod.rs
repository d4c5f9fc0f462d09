//! Finders: helper threads that find addresses of peers in other ways than by beacons and links. A
//! finder that hangs or fails costs nothing but its own silence.
#[cfg(feature = "dht")]
pub mod dht;
#[cfg(feature = "dht")]
pub mod dht_node;
#[cfg(feature = "dht")]
pub mod dht_panic;
#[allow(clippy::module_inception)]
pub mod finders;
#[cfg(feature = "grenache")]
pub mod grenache;
#[cfg(feature = "mdns")]
pub mod mdns;
pub mod reporter;
#[cfg(feature = "scan")]
pub mod scan;
pub mod service_list;
