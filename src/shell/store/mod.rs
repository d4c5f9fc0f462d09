//! The history: on disk, in memory, or read from the files of another program.
//!
//! The rest of this page is `FORMAT.md`. It describes the format of the state directory.
//!
#![doc = include_str!("FORMAT.md")]

pub mod audit;
pub mod damage;
pub mod disk;
pub mod eviction;
pub mod folder;
pub mod folder_readers;
pub mod fsync;
pub mod log_collector;
pub mod memory;
pub mod merge;
pub mod quota;
pub mod reader;
pub mod recovery;
pub mod replication_state;
pub mod scan;
pub mod segment;
#[allow(clippy::module_inception)]
pub mod store;
pub mod store_io;
pub mod unacknowledged_marker;
