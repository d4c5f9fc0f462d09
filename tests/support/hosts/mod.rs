//! Helpers for tests with the real program on one or more hosts: network namespaces, the
//! bridges between them, and the programs that run in them.
//!
//! The machine's own network stays untouched. Dropping a value removes its namespace or
//! process, also in a panic; the next run removes what a killed run left.
//! Without the right to create namespaces the constructors return `None` and write NOT RUN to
//! the real stderr. With `P2PCHAT_TESTS=all` they panic instead; any other failure always
//! panics.
#![allow(dead_code, reason = "each test program uses some of the helpers")]

pub mod command;
pub mod host;
pub mod lan;
pub mod namespace;
pub mod program;
pub mod wait;
