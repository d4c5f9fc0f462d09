//! Inter-process communication over `control.sock`. Other programs of the same user act through
//! the running program, each with a session of its own.
#![doc = include_str!("PROTOCOL.md")]
pub mod attach;
pub mod client;
pub mod connection;
pub mod server;
pub mod socket;
