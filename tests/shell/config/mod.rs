//! Command line, environment and options file.

mod arguments;
mod settings;
mod sources;
pub mod support;
mod values;
