//! The state directory and the files in it, one module for each file.
pub mod clean_marker;
pub mod core_files;
pub mod history_format;
pub mod identity_file;
pub mod ignored_file;
pub mod kept_settings;
pub mod known_peers_file;
pub mod network_keys;
pub mod secret_file;
pub mod state_dir;
pub mod trust_files;
pub mod typed_lines_file;
