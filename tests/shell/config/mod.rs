//! Command line, environment and options file.

mod arguments;
mod settings;
mod sources;
mod support;
mod values;
