//! The simulator: many nodes in one process, on one virtual clock, from one seed, with any fault.
//!
//! A failing seed of the swarm is printed with the command that replays it.
#[path = "../support/batches/mod.rs"]
mod batches;
mod support;

mod carriers;
mod clocks;
mod delivery;
mod direct;
mod discovery;
mod duplicate_identity;
mod fetch;
mod fork_repair;
mod gaps;
mod hostile_bytes;
mod hostile_claims;
mod hostile_peers;
mod hostile_relays;
mod incarnation_order;
mod incomplete_logs;
mod liveness;
mod many_peers;
mod mutations;
mod news;
mod news_verdicts;
mod other_versions;
mod relays;
mod replication;
mod rooms;
mod routes;
mod smoke;
mod storage;
mod swarm;
