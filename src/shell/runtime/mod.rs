//! The event loop and the sources that it polls.
pub mod event_loop;
pub mod folder_audits;
pub mod poll_sources;
pub mod replication_state;
pub mod start;
