//! The threads at stdin, stdout and stderr.
pub mod stderr;
pub mod stdin;
pub mod stdout;
