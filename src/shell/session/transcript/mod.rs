//! The transcript of a session: which lines it emits, and where it continues.
#[allow(clippy::module_inception)]
pub mod transcript;
