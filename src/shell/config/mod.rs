//! Options from the command line, the environment and the options file; failures; exit statuses.
pub mod arguments;
pub mod environment;
pub mod exit_status;
pub mod failure;
pub mod help;
pub mod option_sources;
pub mod option_specs;
pub mod options;
pub mod options_file;
pub mod reading;
pub mod reload;
pub mod scan_target;
pub mod settings;
pub mod subcommand;
pub mod values;
