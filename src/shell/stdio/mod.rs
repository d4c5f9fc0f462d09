//! stdin, stdout and stderr, each with a thread, and the modes of the terminal.
pub mod line_splitter;
pub mod output_writer;
pub mod stderr;
pub mod stdin;
pub mod stdin_thread;
pub mod terminal;
