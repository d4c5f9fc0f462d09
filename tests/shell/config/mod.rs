//! Command line, environment and options file.

mod arguments;
mod sources;
mod support;
mod values;
