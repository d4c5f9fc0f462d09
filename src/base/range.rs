//! What is held of a log.
use super::batch::LogId;
use super::identity::Hash;

/// What is held of a log: the lines `low` to `high`, in whole batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub log: LogId,
    pub low: u64,
    pub high: u64,
    /// Of the batch that ends at `high`.
    pub hash: Hash,
    /// Of the line `high`.
    pub lamport: u64,
}
