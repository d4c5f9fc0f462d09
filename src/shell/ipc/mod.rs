//! The local socket by which other programs of the user act through the running one.
pub mod attach;
pub mod client;
pub mod connection;
pub mod message;
pub mod outbox;
pub mod server;
