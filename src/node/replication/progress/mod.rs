//! How far each log has come on each link.
pub mod link_progress;
#[allow(clippy::module_inception)]
pub mod progress;
pub mod progress_state;
pub mod progress_table;
