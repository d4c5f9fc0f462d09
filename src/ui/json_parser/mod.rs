//! Parses the JSON lines of a session: requests of clients and scripts, and events of a running
//! program.
pub mod events;
pub mod fields;
pub mod requests;
