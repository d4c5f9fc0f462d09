//! Limits on the size of the store, and how many bytes each author must lose.
use std::cmp::Reverse;

use crate::base::identity::PeerId;
use crate::base::name::FolderName;
use crate::base::table::SortedMap;
use crate::node::standing::{Rank, Standing, UsageTable};

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

/// The bytes that one author's batches take in one folder.
#[derive(Clone, Debug)]
pub struct AuthorUsage<'a> {
    /// The folder.
    pub folder: &'a FolderName,
    /// The author.
    pub author: PeerId,
    /// How much the author counts.
    pub standing: Standing,
    /// The number of bytes.
    pub bytes: u64,
}

/// How many bytes each author must lose in each folder.
pub type BytesToEvict = SortedMap<FolderName, SortedMap<PeerId, u64>>;

/// Returns how many bytes each author must lose in each folder. Each author loses the bytes above
/// its limit. Then authors lose further bytes, as [`evict_in_order`] says.
pub fn bytes_over_quota(
    mut usages: Vec<AuthorUsage<'_>>,
    limits: &StoreLimits,
    mut excess_bytes: u64,
) -> BytesToEvict {
    let mut over = BytesToEvict::new();
    for usage in &mut usages {
        let quota = match usage.standing.rank {
            Rank::Own => limits.own_bytes,
            _ => limits.author_bytes,
        };
        let evicted = usage.bytes.saturating_sub(quota);
        if evicted > 0 {
            let authors = over.get_or_default(usage.folder.clone());
            authors.insert(usage.author, evicted);
            usage.bytes -= evicted;
            excess_bytes = excess_bytes.saturating_sub(evicted);
        }
    }
    evict_in_order(&usages, excess_bytes, &mut over);
    over
}

/// Adds to `over` what authors must lose, in the order of their [`EvictionPlace`]s, until
/// `excess_bytes` are freed. `excess_bytes` is the number of bytes above the limit of the store.
///
/// [`EvictionPlace`]: crate::node::standing::EvictionPlace
pub fn evict_in_order(usages: &[AuthorUsage<'_>], mut excess_bytes: u64, over: &mut BytesToEvict) {
    if excess_bytes == 0 {
        return;
    }
    let mut table = UsageTable::default();
    for usage in usages {
        table.add(usage.author, &usage.standing, usage.bytes);
    }
    let places = usages.iter().map(|usage| {
        let place = table.place(&usage.author, &usage.standing);
        (place, Reverse(usage.bytes), usage.folder, usage.author)
    });
    let mut places: Vec<_> = places.collect();
    places.sort_unstable();
    for (_, Reverse(bytes), folder, author) in places {
        let evicted = excess_bytes.min(bytes);
        if evicted == 0 {
            break;
        }
        excess_bytes -= evicted;
        *over.get_or_default(folder.clone()).get_or_default(author) += evicted;
    }
}
