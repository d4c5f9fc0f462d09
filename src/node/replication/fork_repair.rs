//! Detects forked logs, and repairs those that we wrote. A log is forked if its author signed two
//! different batches with the same sequences. A peer may claim that its batch differs from ours.
//! Only the signed batch proves the claim, so we request the batch.
//!
//! A log that we wrote is forked when this directory is a restored or cloned copy. The repair
//! bisects to the first line that differs. It publishes this line and our later lines again, in a
//! new incarnation.
use crate::base::batch::batch::{Batch, LogId};
use crate::base::error_code::ErrorCode;
use crate::base::event::load::{LoadPurpose, LoadRequest, LoadedLog, LogCursor};
use crate::base::event::notice::Notice;
use crate::base::event::output::Output;
use crate::base::event::stream_id::StreamId;
use crate::base::name::FolderName;
use crate::base::republished_lines::RepublishedLines;
use crate::base::table::SortedSet;
use crate::node::context::Context;
use crate::node::replication::bisection::{Bisection, TheirBatch};
use crate::node::replication::logs::log_state::Republication;
use crate::node::replication::logs::table::Logs;
use crate::node::replication::progress::progress_state::{FetchState, LOAD_BUDGET_BYTES};
use crate::node::replication::progress::progress_table::ProgressTable;
use crate::node::replication::want::{WantRange, send_want};

/// Starts or continues the bisection of a log that we wrote, with this link's peer. `low` and
/// `high`: the sequences of the first and the last line in the peer's copy.
pub fn bisect(
    ctx: &mut Context,
    logs: &Logs,
    progress: &mut ProgressTable,
    stream: StreamId,
    log: &LogId,
    low: u64,
    high: u64,
) {
    let Some(range) = logs.get(log) else {
        return;
    };
    if progress.bisection_mut(stream, log).is_none() {
        let end = range.high.min(high).saturating_add(1);
        let bisection = Box::new(Bisection::new(range.low, end));
        progress.set_fetch(stream, log, FetchState::Comparing(bisection));
    }
    if let Some(bisection) = progress.bisection_mut(stream, log) {
        bisection.skip_evicted(low);
        if let Some(line) = bisection.take_probe(ctx.now.time) {
            send_want(ctx, stream, log, WantRange::From(line));
        }
    }
}

/// Handles a peer's batch that a bisection requested. Reads our batch at the same line from the
/// store, to compare the two batches.
pub fn load_for_comparison(
    ctx: &mut Context,
    progress: &mut ProgressTable,
    stream: StreamId,
    batch: &Batch,
) {
    let log = &batch.log;
    if let Some(bisection) = progress.bisection_mut(stream, log) {
        bisection.their_batch = Some(TheirBatch {
            first: batch.sequence,
            hash: batch.hash,
        });
        send_want(ctx, stream, log, WantRange::Cancel);
        ctx.emit(Output::Load(LoadRequest {
            purpose: LoadPurpose::Compare,
            cursors: vec![LogCursor {
                log: log.clone(),
                from: batch.sequence,
                position: None,
            }],
            budget_bytes: 1,
        }));
    }
}

/// Compares our batch, which the store has read, with the peers' batches that wait for it. Returns
/// the sequence of the first line that differs, if a bisection has found it.
pub fn compare_loaded(
    ctx: &mut Context,
    progress: &mut ProgressTable,
    loaded: &LoadedLog,
) -> Option<u64> {
    let LogCursor { log, from, .. } = &loaded.cursor;
    let ours = loaded.batches.as_deref().unwrap_or_default().first()?;
    let mut found = None;
    for (stream, bisection) in progress.bisections_mut(log) {
        let is_read = |theirs: &mut TheirBatch| theirs.first == *from;
        let Some(theirs) = bisection.their_batch.take_if(is_read) else {
            continue;
        };
        bisection.compare(theirs, ours);
        if let Some(line) = bisection.take_probe(ctx.now.time) {
            send_want(ctx, stream, log, WantRange::From(line));
        }
        found = bisection.result().or(found);
    }
    found
}

/// Records that this log is forked: its author signed two different batches with the same
/// sequences. Reports it to the user, once. `line`: the first sequence of the batch that differs.
pub fn report_fork(ctx: &mut Context, logs: &mut Logs, log: &LogId, line: u64) {
    if !logs.mark_forked(log) {
        return;
    }
    if log.author != ctx.own_id() {
        ctx.misbehaviour
            .count(log.author, |counts| &mut counts.forks);
    }
    let author = ctx.display_peer(&log.author);
    let content = format!(
        "{author} published two different lines {line} in {}: the second is ignored",
        log.target
    );
    ctx.notify(Notice::Error {
        code: ErrorCode::Fork,
        content,
    });
}

/// Starts to republish the lines of our forked log, in a new incarnation. Begins at the line
/// `line`, but skips lines that any peer has acknowledged.
///
/// A later run can continue this work: each batch of the new log names the forked log and the first
/// republished line. The length of the new log shows how many lines were republished.
pub fn start_republish(ctx: &mut Context, logs: &mut Logs, log: &LogId, line: u64) {
    let from = line.max(logs.state(log).max_acked() + 1);
    if from <= logs.high(log) && is_earliest(logs, log, from) {
        logs.mark_republished(ctx, log, from);
        load_next_republish(ctx, logs, log);
    }
}

/// Whether the line `from` comes before all lines that the log's repair republishes. Also true if
/// the log has no repair.
fn is_earliest(logs: &Logs, log: &LogId, from: u64) -> bool {
    let earlier = logs.state(log).republication();
    earlier.is_none_or(|earlier| from < earlier.lines.sequence)
}

/// Continues the repairs that an earlier run began in this folder. Publishes the remaining lines of
/// forked logs again.
pub fn resume_folder(ctx: &mut Context, logs: &mut Logs, folder: &FolderName) {
    let own = logs.ranges_in_folder(folder, ctx.own_id());
    let own = own.filter(|range| range.log.author == ctx.own_id());
    let republications: Vec<(LogId, RepublishedLines)> = own
        .filter_map(|range| Some((range.log.clone(), *range.republishes.as_deref()?)))
        .collect();
    let mut begun = SortedSet::new();
    for (log, lines) in republications {
        let forked = LogId {
            incarnation: lines.incarnation,
            ..log
        };
        // If peers have returned the other branch of the fork, our branch is not stored here.
        let is_our_branch = logs
            .get(&forked)
            .is_some_and(|forked| forked.hash == lines.hash && lines.sequence <= forked.high);
        if is_our_branch && is_earliest(logs, &forked, lines.sequence) {
            logs.mark_republished(ctx, &forked, lines.sequence);
            begun.insert(forked);
        }
    }
    for forked in begun {
        load_next_republish(ctx, logs, &forked);
    }
}

/// The next step in the repair of a forked log: the new log, and the next line to republish. The
/// line is given by its sequence in the forked log. `None`: the log has no repair.
pub fn next_republish(logs: &Logs, log: &LogId) -> Option<(LogId, u64)> {
    let republication = logs.state(log).republication()?;
    let republished = logs.high(&republication.log);
    let next = republication.lines.sequence + republished;
    Some((republication.log.clone(), next))
}

fn load_next_republish(ctx: &mut Context, logs: &Logs, log: &LogId) {
    if let Some((_, next)) = next_republish(logs, log)
        && next <= logs.high(log)
    {
        ctx.emit(Output::Load(LoadRequest {
            purpose: LoadPurpose::Republish,
            cursors: vec![LogCursor {
                log: log.clone(),
                from: next,
                position: None,
            }],
            budget_bytes: LOAD_BUDGET_BYTES,
        }));
    }
}

/// Continues to publish the lines of all forked logs again. To be called when the store has
/// recovered.
pub fn resume_all(ctx: &mut Context, logs: &Logs) {
    for (log, _) in logs.active_logs() {
        load_next_republish(ctx, logs, log);
    }
}

/// Where a line of a forked log is published again: the new log, and the line's sequence in the new
/// log. `None`: the line is not published again.
pub fn republished_position(logs: &Logs, log: &LogId, line: u64) -> Option<(LogId, u64)> {
    let Republication { log, lines } = logs.state(log).republication()?;
    (line >= lines.sequence).then(|| (log.clone(), line - lines.sequence + 1))
}
