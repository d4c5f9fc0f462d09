//! The simulator: many nodes in one process, on one virtual clock, from one seed, with any fault.
//!
//! A failing seed of the swarm is printed with the command that replays it.
mod support;

mod clocks;
mod direct;
mod discovery;
mod fork_repair;
mod gaps;
mod hostile_bytes;
mod hostile_peers;
mod incarnation_order;
mod liveness;
mod many_peers;
mod mutations;
mod replication;
mod rooms;
mod routes;
mod smoke;
mod storage;
mod swarm;
