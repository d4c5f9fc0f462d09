//! The client of `control.sock`: a run that acts through the program that already runs in its
//! directory.
#[allow(clippy::module_inception)]
pub mod client;
pub mod commands;
pub mod responses;
pub mod timers;
