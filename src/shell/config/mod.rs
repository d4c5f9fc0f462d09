//! Command line, options file, and exit statuses.
pub mod arguments;
pub mod exit_status;
pub mod failure;
pub mod help;
pub mod options;
pub mod reload;
pub mod values;
