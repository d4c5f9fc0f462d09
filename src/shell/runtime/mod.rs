//! The event loop and the sources that it polls.
pub mod event_loop;
pub mod finder_setup;
pub mod folder_audits;
pub mod ignored;
pub mod poll_sources;
pub mod port_mapping;
pub mod replication_state;
pub mod start;
