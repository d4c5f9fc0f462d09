//! Inter-process communication over `control.sock`: other programs of the user act through the
//! running one.
pub mod attach;
pub mod attached_client;
pub mod client;
pub mod connection;
pub mod message;
pub mod outbox;
pub mod server;
