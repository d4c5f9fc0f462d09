//! The state directory and the identity in it.
pub mod identity_file;
pub mod network_keys;
pub mod state_dir;
