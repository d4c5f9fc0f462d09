//! What somebody says about itself, on a link and in a file.
pub mod file;
pub mod messages;
