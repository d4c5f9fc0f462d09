//! The event loop: one thread that polls every source, feeds the core, and executes the core's
//! outputs.
pub mod audits;
#[allow(clippy::module_inception)]
pub mod event_loop;
pub mod network_input;
pub mod outputs;
pub mod rooms;
pub mod sessions;
pub mod shutdown;
pub mod signals;
