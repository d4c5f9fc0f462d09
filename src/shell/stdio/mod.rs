//! stdin, stdout and stderr, with their threads, and the modes of the terminal.
pub mod line_splitter;
pub mod output_writer;
pub mod progress_line;
pub mod stderr;
pub mod stdin;
pub mod stdin_event;
pub mod stdin_pipe;
pub mod stdin_thread;
pub mod terminal;
