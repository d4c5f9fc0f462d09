//! The messages on `control.sock`, and their encoding.
#[allow(clippy::module_inception)]
pub mod message;
