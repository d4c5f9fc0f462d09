//! What is known of each log.
//!
//! `table` holds the logs, and decides which to evict at the bounds.
pub mod table;
