//! The threads at stdin, stdout and stderr.
pub mod line_splitter;
pub mod output_writer;
pub mod stderr;
pub mod stdin;
pub mod terminal;
