//! The notice that lines are missing.
use std::ops::RangeInclusive;

use super::batch::Batch;
use super::event::{Notice, Peer};
use super::time::WallTime;

/// Builds the notice that lines of a log are missing. `batch` is any batch of this log, and
/// supplies the author's name. `lines` are the missing sequences.
pub fn gap_notice(batch: &Batch, lines: RangeInclusive<u64>, at: WallTime) -> Notice {
    Notice::Gap {
        target: batch.log.target.clone(),
        author: Peer {
            id: batch.log.author,
            nick: batch.username.clone(),
        },
        incarnation: batch.log.incarnation,
        from: *lines.start(),
        to: *lines.end(),
        at,
    }
}
