//! The client side of a session that acts through a running program.
#[allow(clippy::module_inception)]
pub mod client;
