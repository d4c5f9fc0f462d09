//! Finds peers: sends and receives beacons, keeps candidate addresses, and decides which peers to
//! dial and when.
pub mod address_book;
pub mod address_table;
pub mod backoff;
pub mod beacon;
pub mod candidates;
pub mod dial_limiter;
pub mod dialer;
pub mod dials;
pub mod discovered_peers;
pub mod exchange;
pub mod heard_beacons;
pub mod known_address;
pub mod new_peer_burst;
pub mod other_programs;
pub mod recent_dials;
pub mod static_peers;
pub mod topology_updater;
