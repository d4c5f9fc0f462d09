//! Makes place for new logs when a room or an author has too many.
use std::cmp::Reverse;

use crate::base::batch::{Batch, LogId};
use crate::base::error_code::ErrorCode;
use crate::base::event::Notice;
use crate::base::identity::PeerId;
use crate::base::range::LogRange;
use crate::base::table::SortedMap;
use crate::node::context::Context;
use crate::node::replication::logs::table::Logs;

/// Maximum number of logs of one room. The same bound holds for all direct logs together.
const LOGS_PER_ROOM_MAX: usize = 16_384;
/// Maximum number of logs of one author to one target. An author needs a new log after each run
/// that did not end cleanly.
const LOGS_PER_AUTHOR_MAX: usize = 64;

/// Makes place for the log of this batch. If there are too many logs, evicts another log, or
/// refuses the batch's log. Returns `false` if the batch's log is refused.
pub fn admit(ctx: &mut Context, logs: &mut Logs, batch: &Batch) -> bool {
    let log = &batch.log;
    if log.author == ctx.own_id() || logs.get(log).is_some() {
        return true;
    }
    let evicted = match find_place(ctx, logs, batch) {
        Place::Free => return true,
        Place::Of(evicted) => Some(evicted),
        Place::Refused => None,
    };
    ctx.counters.logs_over_bound += 1;
    // The user is told once.
    if ctx.counters.logs_over_bound == 1 {
        let author = ctx.display_peer(&evicted.as_ref().unwrap_or(log).author);
        let content = format!(
            "too many logs in {}: some, as those of {author}, are no longer stored or forwarded",
            log.target
        );
        let code = ErrorCode::TooManyLogs;
        ctx.notify(Notice::Error { code, content });
    }
    if let Some(evicted) = &evicted {
        logs.forget_lines(evicted);
    }
    evicted.is_some()
}

/// The place that a new log finds.
enum Place {
    /// No bound is reached.
    Free,
    /// This log must be evicted first.
    Of(LogId),
    /// The new log is refused.
    Refused,
}

/// The place of a log that we do not store yet. `batch`: its first batch.
///
/// If the batch's author has too many logs, the author's oldest log is evicted. But if the batch is
/// not newer than that log, the batch's log is refused.
///
/// If the room has too many logs, the author with the most logs is chosen. Among equals, an author
/// without a link is chosen. We are never chosen. The chosen author's oldest log is evicted if one
/// of these conditions holds:
///
/// - The chosen author has at least two logs more than the batch's author.
/// - The batch's author is linked, and the chosen author is not.
///
/// Otherwise the batch's log is refused. So a liar with many keys cannot displace linked peers.
fn find_place(ctx: &Context, logs: &Logs, batch: &Batch) -> Place {
    let log = &batch.log;
    if logs.ranges_of_author(log).count() >= LOGS_PER_AUTHOR_MAX {
        let of_author = logs.ranges_of_author(log);
        let oldest = of_author.min_by_key(|range| range.lamport);
        return place_of(oldest.filter(|oldest| oldest.lamport < batch.lamport));
    }
    if ranges_beside(logs, log).count() < LOGS_PER_ROOM_MAX {
        return Place::Free;
    }
    let mut counts: SortedMap<PeerId, usize> = SortedMap::new();
    for range in ranges_beside(logs, log) {
        *counts.get_or_default(range.log.author) += 1;
    }
    let count = |author: &PeerId| counts.get(author).copied().unwrap_or(0);
    let is_linked = |author: &PeerId| ctx.stream_by_peer.contains_key(author);
    let others = ranges_beside(logs, log).filter(|range| range.log.author != ctx.own_id());
    let candidate = others.max_by_key(|range| {
        let author = &range.log.author;
        (count(author), !is_linked(author), Reverse(range.lamport))
    });
    place_of(candidate.filter(|candidate| {
        let author = &candidate.log.author;
        count(author) > count(&log.author) + 1 || is_linked(&log.author) && !is_linked(author)
    }))
}

fn place_of(evicted: Option<&LogRange>) -> Place {
    evicted.map_or(Place::Refused, |range| Place::Of(range.log.clone()))
}

/// The ranges of all logs that share a bound with this log: the logs of its room, or all direct
/// logs.
fn ranges_beside<'a>(logs: &'a Logs, log: &LogId) -> Box<dyn Iterator<Item = &'a LogRange> + 'a> {
    match log.target.room() {
        Some(room) => Box::new(logs.ranges_of_room(room)),
        None => Box::new(logs.direct_ranges()),
    }
}
