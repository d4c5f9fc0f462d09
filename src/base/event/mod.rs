//! The interface between the core and the shell: inputs, outputs, commands and notices.
pub mod command;
pub mod input;
pub mod load;
pub mod notice;
pub mod output;
pub mod peer;
pub mod stream_id;
