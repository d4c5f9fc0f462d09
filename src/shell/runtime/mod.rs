//! The event loop and what it owns.
pub mod event_loop;
pub mod ipc_requests;
pub mod rooms;
pub mod start;
