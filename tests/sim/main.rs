//! The simulator: many nodes in one process, on one virtual clock, from one seed, with any fault.
//!
//! A failing seed of the swarm is printed with the command that replays it.
#[path = "../support/batches/mod.rs"]
mod batches;
mod support;

#[cfg(feature = "presence")]
mod away;
mod backpressure;
mod bans;
mod clocks;
mod discovery;
mod duplicate_identity;
mod exchange;
mod finders;
#[cfg(feature = "guests")]
mod guests;
mod heard_beacons;
mod hostile;
mod liveness;
mod many_peers;
#[cfg(feature = "trust")]
mod members_digest;
mod misbehaviour;
mod mutations;
mod other_versions;
#[cfg(feature = "profile")]
mod profiles;
mod replication;
mod rooms;
mod routes;
mod smoke;
mod swarm;
#[cfg(feature = "presence")]
mod typing;
