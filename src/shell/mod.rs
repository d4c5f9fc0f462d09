//! The world: sockets, files, threads, the terminal, and the loop that joins them to the core.
pub mod clock;
pub mod datagrams;
pub mod event_loop;
pub mod interfaces;
pub mod keyboard;
pub mod options;
pub mod printer;
pub mod resolver;
pub mod signals;
pub mod store;
pub mod streams;
