//! stdin, stdout and stderr, each with a thread of its own, and the terminal's modes.
pub mod line_splitter;
pub mod output_writer;
pub mod stderr;
pub mod stdin;
pub mod terminal;
