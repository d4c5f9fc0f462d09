//! Limits on the size of the store, and how many bytes each author must lose.
use std::cmp::Reverse;

use crate::base::identity::PeerId;
use crate::base::name::FolderName;
use crate::base::table::SortedMap;

/// Limits of the store, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct StoreLimits {
    /// Size at which a segment is full.
    pub segment_bytes: u64,
    /// Limit on the batches of one author in one folder. Does not apply to our batches.
    pub author_bytes: u64,
    /// Limit on our batches in one folder.
    pub own_bytes: u64,
    /// Limit on all folders of the network together. `None`: half of the disk space that would be
    /// free without these folders.
    pub total_bytes: Option<u64>,
    /// Limit on a store in memory. The other limits do not apply to such a store.
    pub memory_bytes: usize,
}

impl Default for StoreLimits {
    fn default() -> StoreLimits {
        StoreLimits {
            segment_bytes: 1024 * 1024,
            author_bytes: 64 * 1024 * 1024,
            own_bytes: 256 * 1024 * 1024,
            total_bytes: None,
            memory_bytes: 8 * 1024 * 1024,
        }
    }
}

/// Rank of an author. When the store exceeds its total limit, authors with a lower rank lose lines
/// first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EvictionRank {
    /// An author with whom we were never linked.
    UnknownAuthor,
    /// An author with whom we were linked at least once.
    KnownAuthor,
    /// We are the author.
    Own,
}

/// The bytes that one author's batches take in one folder. If the store exceeds its total limit,
/// the author with the lowest value loses lines first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuthorUsage<'a> {
    /// The author's rank.
    pub rank: EvictionRank,
    /// The number of bytes. `Reverse` puts the author with the most bytes first within a rank.
    pub bytes: Reverse<u64>,
    /// The folder.
    pub folder: &'a FolderName,
    /// The author.
    pub author: PeerId,
}

/// Returns how many bytes each author must lose in each folder. Each author loses the bytes above
/// its limit. Then authors lose further bytes in the order of [`AuthorUsage`], until `excess_bytes`
/// are freed in total. `excess_bytes` is the number of bytes above the store's total limit.
pub fn bytes_over_quota(
    mut usages: Vec<AuthorUsage<'_>>,
    limits: &StoreLimits,
    mut excess_bytes: u64,
) -> SortedMap<FolderName, SortedMap<PeerId, u64>> {
    let mut over: SortedMap<FolderName, SortedMap<PeerId, u64>> = SortedMap::new();
    for usage in &mut usages {
        let quota = match usage.rank {
            EvictionRank::Own => limits.own_bytes,
            EvictionRank::UnknownAuthor | EvictionRank::KnownAuthor => limits.author_bytes,
        };
        let evicted = usage.bytes.0.saturating_sub(quota);
        if evicted > 0 {
            let authors = over.get_or_default(usage.folder.clone());
            authors.insert(usage.author, evicted);
            usage.bytes.0 -= evicted;
            excess_bytes = excess_bytes.saturating_sub(evicted);
        }
    }
    usages.sort_unstable();
    for usage in usages {
        let evicted = excess_bytes.min(usage.bytes.0);
        if evicted == 0 {
            break;
        }
        excess_bytes -= evicted;
        let authors = over.get_or_default(usage.folder.clone());
        *authors.get_or_default(usage.author) += evicted;
    }
    over
}
