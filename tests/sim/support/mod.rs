//! The simulated LAN: what its peers, disks and networks are, what a test does to them, and what must hold meanwhile.
pub mod convergence;
pub mod disk;
pub mod driver;
pub mod faults;
pub mod invariants;
pub mod lan;
pub mod network;
pub mod peer;
pub mod scripted_peer;
pub mod transport;
