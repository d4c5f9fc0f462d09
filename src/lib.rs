#![doc = include_str!("ARCHITECTURE.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod base;
pub mod node;
pub mod shell;
pub mod ui;
pub mod wire;
