//! The threads at stdin and stdout.

mod output_writer;
mod progress_line;
mod stdin_pipe;
mod stdin_thread;
pub mod support;
