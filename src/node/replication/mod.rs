//! Replication: how lines travel between linked peers.
//!
//! `engine` owns the state of every link and log. `have` and `want` are the messages. `logs`
//! knows the stored lines. Each other file owns one table or one decision.
pub mod acks;
pub mod author_keys;
pub mod bisection;
pub mod carrying;
pub mod changed_offers;
pub mod congestion;
pub mod delivery;
pub mod engine;
pub mod fetch;
pub mod fork_repair;
pub mod gaps;
pub mod have;
pub mod ingest;
pub mod ingest_have;
pub mod logs;
pub mod lost_lines;
pub mod news;
pub mod progress;
pub mod receipts;
pub mod send;
pub mod store_health;
pub mod sync;
pub mod want;
