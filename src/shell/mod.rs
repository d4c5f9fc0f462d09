//! Everything that touches the system: sockets, files, threads, the terminal, and the event loop
//! around the core.
pub mod commands;
pub mod config;
pub mod ipc;
pub mod net;
pub mod os;
pub mod program;
pub mod runtime;
pub mod session;
pub mod state;
pub mod stdio;
pub mod store;
