//! The threads at stdin and stdout.

mod output_writer;
mod stdin;
pub mod support;
