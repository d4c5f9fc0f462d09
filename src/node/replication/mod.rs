//! How lines travel: what a peer holds, what it lacks, and who sends what to whom.
pub mod acks;
pub mod carriers;
pub mod delivery;
pub mod engine;
pub mod fetch;
pub mod fork_repair;
pub mod gaps;
pub mod ingest;
pub mod logs;
pub mod news;
pub mod progress;
