//! The user's side of a session: turns stdin, keys and options into requests, and events into text
//! or JSON on stdout. It also decides when the run ends.
pub mod builder;
pub mod command_queue;
pub mod drain;
pub mod events;
pub mod exit_policy;
pub mod expected_peers;
#[allow(clippy::module_inception)]
pub mod frontend;
pub mod history_pages;
pub mod input;
pub mod local_commands;
pub mod missed_lines;
pub mod output;
pub mod pending;
pub mod picture;
pub mod printed;
pub mod renderer;
pub mod replies;
pub mod shutdown;
pub mod typing;
