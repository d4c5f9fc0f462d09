//! The transcript of a session: which lines it emits, and where it continues.
pub mod backlog;
pub mod backlog_reader;
pub mod catch_up;
pub mod folder_progress;
pub mod printed_beyond;
pub mod queued_notices;
#[allow(clippy::module_inception)]
pub mod transcript;
