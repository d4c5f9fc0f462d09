//! The history on disk or in memory.
pub mod disk;
pub mod folder;
pub mod fsync;
pub mod memory;
pub mod merge;
pub mod quota;
pub mod read_only;
pub mod recovery;
pub mod scan;
pub mod segment;
#[allow(clippy::module_inception)]
pub mod store;
