//! Inter-process communication over `control.sock`. Other programs of the same user act through
//! the running program.
pub mod attach;
pub mod attached_client;
pub mod client;
pub mod connection;
pub mod message;
pub mod outbox;
pub mod server;
