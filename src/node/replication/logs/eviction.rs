//! Makes place for new logs when a room or an author has too many. Lines that are lost to a bound
//! are shown as a gap.
use std::ops::RangeInclusive;

use crate::base::batch::batch::{Batch, LogId};
use crate::base::error_code::ErrorCode;
use crate::base::event::notice::Notice;
use crate::base::event::peer::Peer;
use crate::base::range::LogRange;
use crate::node::context::Context;
use crate::node::replication::carrying::carriers::is_for_us;
use crate::node::replication::logs::log_places::LogPlaces;
use crate::node::replication::logs::table::Logs;
use crate::node::standing::{EvictionPlace, Standing};

/// Maximum number of logs of one room. The same bound holds for all direct logs together.
const LOGS_PER_ROOM_MAX: usize = 16_384;
/// Maximum number of logs of one author to one target. An author needs a new log after each run
/// that did not end cleanly.
pub const LOGS_PER_AUTHOR_MAX: usize = 64;
/// Number of logs that one count of a full room selects for eviction. A new log then costs only
/// this part of a count.
const EVICTION_QUEUE_LOGS: usize = 256;
/// Maximum number of logs lost to a bound that are shown as a gap in one run. A flood of logs would
/// flood the transcript.
const LOST_LOGS_REPORTED_MAX: u64 = 256;

/// Makes place for the log of this batch. If there are too many logs, evicts another log, or
/// refuses the batch's log. `standing`: how much the author counts. Returns `false` if the batch's
/// log is refused.
pub fn admit(ctx: &mut Context, logs: &mut Logs, batch: &Batch, standing: Standing) -> bool {
    let log = &batch.log;
    if log.author == ctx.own_id() || logs.get(log).is_some() {
        return true;
    }
    let place = find_place(ctx, logs, batch, &standing);
    let (lost, lines) = match &place {
        Place::Free => return true,
        Place::Of(evicted) => (evicted, logs.get(evicted).and_then(stored_lines)),
        // The gap was shown when the log was evicted.
        Place::Outdated => (log, None),
        Place::Full => (log, Some(batch.sequence..=batch.last_sequence())),
    };
    let author = match lost.author == log.author {
        true => Peer {
            id: log.author,
            nick: batch.username.clone(),
        },
        false => ctx.display_peer(&lost.author),
    };
    report_lost(ctx, lost, author, lines);
    let Place::Of(evicted) = place else {
        return false;
    };
    logs.forget_lines(&evicted);
    true
}

/// The lines from the first to the last stored one.
fn stored_lines(range: &LogRange) -> Option<RangeInclusive<u64>> {
    Some(*range.stored_from(1)?.start()..=range.high)
}

/// Notifies the user that a log has found or kept no place, and that lines of it are lost.
fn report_lost(ctx: &mut Context, log: &LogId, author: Peer, lines: Option<RangeInclusive<u64>>) {
    ctx.counters.logs_over_bound += 1;
    // The user is told once why.
    if ctx.counters.logs_over_bound == 1 {
        let content = format!(
            "too many logs in {}: some, as those of {author}, are no longer stored or forwarded",
            log.target
        );
        let code = ErrorCode::TooManyLogs;
        ctx.notify(Notice::Error { code, content });
    }
    if let Some(lines) = lines
        && is_for_us(ctx, &log.target)
        && ctx.counters.logs_over_bound <= LOST_LOGS_REPORTED_MAX
    {
        ctx.notify(Notice::Gap {
            target: log.target.clone(),
            author,
            incarnation: log.incarnation,
            from: *lines.start(),
            to: *lines.end(),
            at: ctx.now.wall,
        });
    }
}

/// The place that a new log finds.
enum Place {
    /// No bound is reached.
    Free,
    /// This log must be evicted first.
    Of(LogId),
    /// The new log is refused: it is older than the stored logs of its author, who has too many.
    Outdated,
    /// The new log is refused: the room is full of logs that come first.
    Full,
}

/// The place of a log that we do not store yet. `batch`: its first batch.
///
/// If the batch's author has too many logs, the author's oldest log is evicted. But if the batch is
/// not newer than that log, the batch's log is refused.
///
/// If the room has too many logs, the log with the lowest [`EvictionPlace`] is evicted. Of equal
/// ones, the oldest. The batch's log is refused if that log does not give way to its author. So a
/// flood of invented keys displaces only itself.
fn find_place(ctx: &Context, logs: &mut Logs, batch: &Batch, standing: &Standing) -> Place {
    let log = &batch.log;
    if logs.ranges_of_author(log).count() >= LOGS_PER_AUTHOR_MAX {
        let of_author = logs.ranges_of_author(log);
        let oldest = of_author.min_by_key(|range| range.lamport);
        let oldest = oldest.filter(|oldest| oldest.lamport < batch.lamport);
        return oldest.map_or(Place::Outdated, |range| Place::Of(range.log.clone()));
    }
    let mut places = std::mem::take(logs.places_mut(log));
    let place = take_place(ctx, logs, &mut places, log, standing);
    *logs.places_mut(log) = places;
    place
}

/// Takes a place for a new log, whose author has this standing.
fn take_place(
    ctx: &Context,
    logs: &Logs,
    places: &mut LogPlaces,
    log: &LogId,
    standing: &Standing,
) -> Place {
    if places.free == 0 {
        places.drop_outdated(|queued, log| {
            let level = ctx.standing(&log.author, None).level();
            logs.get(log).is_none() || level > queued.level()
        });
        if places.queue.is_empty() {
            count_logs(ctx, logs, places, log);
        }
    }
    if places.free > 0 {
        places.free -= 1;
        return Place::Free;
    }
    places
        .evict_for(&log.author, standing)
        .map_or(Place::Full, Place::Of)
}

/// Counts the logs that share a bound with this log. If there are too many, selects those to evict.
fn count_logs(ctx: &Context, logs: &Logs, places: &mut LogPlaces, log: &LogId) {
    *places = LogPlaces {
        free: LOGS_PER_ROOM_MAX.saturating_sub(ranges_beside(logs, log).count()),
        ..LogPlaces::default()
    };
    if places.free > 0 {
        return;
    }
    let others = || {
        let all = ranges_beside(logs, log);
        let others = all.filter(|range| range.log.author != ctx.own_id());
        others.map(|range| {
            let source = logs.state(&range.log).source;
            (range, ctx.standing(&range.log.author, source))
        })
    };
    for (range, standing) in others() {
        places.usage.add(range.log.author, &standing, 1);
    }
    let mut lowest: Vec<(EvictionPlace, &LogRange, Standing)> = Vec::new();
    for (range, standing) in others() {
        let place = places.usage.place(&range.log.author, &standing);
        let key = (place, range.lamport);
        let at = lowest.partition_point(|(place, range, _)| (*place, range.lamport) <= key);
        if at < EVICTION_QUEUE_LOGS {
            lowest.truncate(EVICTION_QUEUE_LOGS - 1);
            lowest.insert(at, (place, range, standing));
        }
    }
    let lowest = lowest.into_iter().rev();
    places.queue = lowest
        .map(|(_, range, standing)| (standing, range.log.clone()))
        .collect();
}

/// The ranges of all logs that share a bound with this log: the logs of its room, or all direct
/// logs.
fn ranges_beside<'a>(logs: &'a Logs, log: &LogId) -> Box<dyn Iterator<Item = &'a LogRange> + 'a> {
    match log.target.room() {
        Some(room) => Box::new(logs.ranges_of_room(room)),
        None => Box::new(logs.direct_ranges()),
    }
}
