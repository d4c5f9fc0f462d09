//! What is known of each log.
//!
//! `log_state` is the record of one log. `table` holds all records. `eviction` makes place for new
//! logs at the bounds.
pub mod eviction;
pub mod log_state;
pub mod table;
