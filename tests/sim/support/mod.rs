//! The simulated LAN: peers, disks and the network between them; the steps and faults of a story;
//! and the invariants checked meanwhile.
pub mod convergence;
pub mod disk;
pub mod driver;
pub mod faults;
pub mod invariants;
pub mod lan;
pub mod liar;
pub mod network;
pub mod peer;
pub mod relay;
pub mod scripted_peer;
pub mod transport;
