//! How peers are found, and when each is dialed.
pub mod beacon;
pub mod candidates;
pub mod dialer;
pub mod static_peers;
