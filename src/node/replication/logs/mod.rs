//! What is known of each log.
//!
//! `log_state` is the record of one log, and `peer_acks` the part of it that one peer acknowledged.
//! `table` holds all records. `eviction` makes place for new logs at the bounds,
//! with the counts in `log_places`. `publication` is what is still to be appended to a log of ours.
//! `ack_times` says when the logs of a link may be acknowledged.
pub mod ack_times;
pub mod eviction;
pub mod log_places;
pub mod log_state;
pub mod peer_acks;
pub mod publication;
pub mod table;
