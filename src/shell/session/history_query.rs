//! Selects stored lines in the order of the history. A query can ask for all matching lines or only
//! for the last ones.
use std::io::{self, ErrorKind};

use crate::base::event::notice::Notice;
use crate::base::event::peer::Peer;
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::line_key::LineKey;
use crate::base::missing_lines::gap_notice;
use crate::base::name::{Nick, Target};
use crate::base::table::SortedSet;
use crate::base::time::WallTime;
use crate::node::hybrid_clock::HybridClock;
use crate::shell::store::damage::DamageReport;
use crate::shell::store::merge::{LineRun, Merge};
use crate::shell::store::scan::{FolderSpan, HistoryIndex, HistorySource, ScanGoal};
use crate::ui::line_filter::LineFilter;
use crate::ui::session_event::{Arrival, ChatLines, EventKind};

/// How many of the last lines a query with conditions reads first.
const SEARCHED_LINES: u64 = 4096;
/// If the lines that a query has read are too few, it reads this many times as many. So all that it
/// reads in vain is a third of what it needs.
const WIDER: u64 = 4;

/// A query for stored lines. Each field restricts which lines are shown.
#[derive(Clone, Debug, Default)]
pub struct HistoryQuery {
    /// Only lines of these folders. An empty list means all folders.
    pub folders: Vec<FolderSpan>,
    /// Only lines whose author or recipient is this peer.
    pub peer: Option<PeerId>,
    /// Only lines whose author's timestamp is this time or later. If that clock is wrong, so that
    /// the line stands before this time in the order, the line is left out.
    pub since: Option<WallTime>,
    /// Only lines that come before this one in the total order.
    pub before: Option<LineKey>,
    /// Only lines that contain this text. Upper and lower case count as equal.
    pub search: Option<String>,
    /// Only lines that this filter selects.
    pub filter: LineFilter,
    /// Maximum number of lines; `None`: no limit. If more lines meet the other conditions, only the
    /// last ones are shown.
    pub limit: Option<u64>,
}

/// How a query handles its results.
pub struct QueryOutput<'a> {
    /// Takes the selected lines, and the gaps between them.
    pub emit: &'a mut dyn FnMut(EventKind) -> io::Result<()>,
    /// Takes the error of a segment that can't be read. If it returns `Ok`, the query goes on
    /// without the lines of the segment.
    pub skip_unreadable: &'a mut dyn FnMut(io::Error) -> io::Result<()>,
    /// Takes the reports of damage that the query has found in the files.
    pub report_damage: &'a mut dyn FnMut(DamageReport),
    /// Our id if the query reads a backlog. The lines then also tell how they arrived. `None`: the
    /// lines have only the fields that their author signed.
    pub backlog_of: Option<PeerId>,
}

/// Passes the selected lines and the gaps between them to `emit`, and reports of damaged files to
/// `report_damage`.
///
/// # Errors
/// The history cannot be read, or `emit` fails.
pub fn run_query(
    source: &HistorySource<'_>,
    network: NetworkTag,
    query: &HistoryQuery,
    report_damage: &mut dyn FnMut(DamageReport),
    emit: &mut dyn FnMut(EventKind) -> io::Result<()>,
) -> io::Result<()> {
    let output = QueryOutput {
        emit,
        skip_unreadable: &mut |error| match error.kind() {
            // The event loop has named it at the start.
            ErrorKind::InvalidInput => Ok(()),
            _ => Err(error),
        },
        report_damage,
        backlog_of: None,
    };
    run_query_to(source, network, query, output)
}

/// As [`run_query`], with further ways to handle the results.
///
/// # Errors
/// The history cannot be read, or a function of `output` fails.
pub fn run_query_to(
    source: &HistorySource<'_>,
    network: NetworkTag,
    query: &HistoryQuery,
    output: QueryOutput<'_>,
) -> io::Result<()> {
    let mut goal = query.scan_goal();
    // Each scan meets the same segments.
    let mut skipped = SortedSet::new();
    let mut skip = |error: io::Error| match skipped.insert(error.to_string()) {
        true => (output.skip_unreadable)(error),
        false => Ok(()),
    };
    loop {
        let index = HistoryIndex::scan(source, &query.folders, goal, &mut skip)?;
        let selection = Selection {
            source,
            index: &index,
            network,
            query,
            search: query.search.as_ref().map(|text| text.to_lowercase()),
        };
        let lamport_cutoff = index.lamport_cutoff(goal);
        let skipped_lines = match query.limit {
            Some(limit) => selection.count_before_last(limit, lamport_cutoff, goal)?,
            None => Some(0),
        };
        match skipped_lines {
            Some(skipped_lines) => {
                let start = SelectionStart {
                    lamport_cutoff,
                    skipped_lines,
                };
                return selection.emit_from(start, output);
            }
            // Too few of the last lines meet the conditions. Or the segments have fewer lines than
            // the index says, because batches are duplicate or damaged.
            None => goal.last = goal.last.map(|lines| lines.saturating_mul(WIDER)),
        }
    }
}

impl HistoryQuery {
    /// Which lines to read first. With a condition besides the limit, the last matching lines may
    /// be anywhere.
    fn scan_goal(&self) -> ScanGoal {
        let has_conditions = self.since.is_some()
            || self.before.is_some()
            || self.search.is_some()
            || self.peer.is_some()
            || !self.filter.is_empty();
        let lowest = self.folders.iter().map(|span| span.from).min().flatten();
        let since = self.since.map_or(0, HybridClock::lowest_at);
        let lines = |limit: u64| match has_conditions {
            true => limit.max(SEARCHED_LINES),
            false => limit,
        };
        ScanGoal {
            from: lowest.map_or(0, |from| from.lamport).max(since),
            last: self.limit.map(lines),
        }
    }
}

/// The place of the first line that a query shows.
#[derive(Clone, Copy, Debug)]
struct SelectionStart {
    /// The query does not read segments whose Lamport numbers are all below this number.
    lamport_cutoff: u64,
    /// How many selected lines come before the first shown line. Lines of segments that are not
    /// read do not count.
    skipped_lines: u64,
}

/// A query, and the index of the history to search.
struct Selection<'a> {
    source: &'a HistorySource<'a>,
    index: &'a HistoryIndex,
    network: NetworkTag,
    query: &'a HistoryQuery,
    /// The text to search for, in lower case.
    search: Option<String>,
}

impl Selection<'_> {
    /// Calls `visit` with the selected lines, in the order of the history. Skips segments whose
    /// Lamport numbers are all below `lamport_cutoff`.
    fn for_each_run(
        &self,
        lamport_cutoff: u64,
        report_damage: &mut dyn FnMut(DamageReport),
        visit: &mut dyn FnMut(LineRun<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let query = self.query;
        let mut merge = Merge::new(self.source, self.index, self.network, lamport_cutoff);
        while let Some(mut run) = merge.next_run()? {
            let log = &run.batch.log;
            let is_with = |peer| log.author == peer || log.target == Target::Peer(peer);
            let is_before = |since| {
                run.batch.timestamp < since || run.batch.lamport < HybridClock::lowest_at(since)
            };
            if query.since.is_some_and(is_before)
                || query.peer.is_some_and(|peer| !is_with(peer))
                || !query.filter.has_author(&run.batch.username, &log.author)
            {
                continue;
            }
            if let Some(from) = &self.index.folders[run.folder_index].from
                && !drop_lines_before(&mut run, from)
            {
                continue;
            }
            if let Some(before) = &query.before
                && !drop_lines_from(&mut run, before)
            {
                continue;
            }
            match (&self.search, &query.filter.pattern) {
                (None, None) => {
                    if !query.filter.is_empty() {
                        run.missing = None;
                    }
                    visit(run)?;
                }
                _ => self.for_each_match(&run, visit)?,
            }
        }
        merge.damage.into_iter().for_each(report_damage);
        Ok(())
    }

    /// Calls `visit` for each line of `run` that contains what the query searches for.
    fn for_each_match(
        &self,
        run: &LineRun<'_>,
        visit: &mut dyn FnMut(LineRun<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        for (i, line) in (0..).zip(run.text.split_inclusive('\n')) {
            let text = line.strip_suffix('\n').unwrap_or(line);
            let shown = run.batch.form.with_line_ends(text);
            let is_match = self.query.filter.is_found_in(&shown)
                && (self.search.as_deref()).is_none_or(|search| contains_text(line, search));
            if is_match {
                visit(LineRun {
                    folder_index: run.folder_index,
                    batch: run.batch,
                    local: run.local,
                    first_index: run.first_index + i,
                    line_count: 1,
                    text: line,
                    missing: None,
                })?;
            }
        }
        Ok(())
    }

    /// Returns how many selected lines come before the last `limit` ones. Skips segments whose
    /// Lamport numbers are all below `lamport_cutoff`. `None`: the skipped segments may contain
    /// some of the last `limit` lines.
    fn count_before_last(
        &self,
        limit: u64,
        lamport_cutoff: u64,
        goal: ScanGoal,
    ) -> io::Result<Option<u64>> {
        let (mut total, mut above_cutoff) = (0, 0);
        self.for_each_run(lamport_cutoff, &mut |_| {}, &mut |run| {
            let end = run.batch.lamport + run.first_index + run.line_count;
            total += run.line_count;
            above_cutoff += end.saturating_sub(lamport_cutoff).min(run.line_count);
            Ok(())
        })?;
        let is_complete = lamport_cutoff <= goal.from || above_cutoff >= limit;
        Ok(is_complete.then(|| total - limit.min(total)))
    }

    fn emit_from(&self, start: SelectionStart, output: QueryOutput<'_>) -> io::Result<()> {
        let emit = output.emit;
        let mut skip = start.skipped_lines;
        // With a limit, a gap before the first shown line is left out: the line before that gap is
        // not shown.
        let mut shows_gap = self.query.limit.is_none();
        let mut emptied = self.emptied_logs().into_iter().peekable();
        self.for_each_run(start.lamport_cutoff, output.report_damage, &mut |run| {
            while let Some((_, gap)) = emptied.next_if(|(at, _)| *at < run.batch.lamport) {
                if shows_gap {
                    emit(gap.into())?;
                }
            }
            if skip > 0 && skip >= run.line_count {
                skip -= run.line_count;
                return Ok(());
            }
            if let Some(gap) = missing_lines_notice(&run).filter(|_| shows_gap) {
                emit(gap.into())?;
            }
            shows_gap |= run.line_count > 0;
            let mut chat =
                ChatLines::signed(run.batch, run.first_index, run.text.to_owned().into());
            chat.arrival = output.backlog_of.map(|own_id| Arrival {
                received: run.local.received,
                late: run.local.late,
                is_own: run.batch.log.author == own_id,
                is_backlog: true,
            });
            chat.skip_lines(skip);
            skip = 0;
            match chat.text.is_empty() {
                true => Ok(()),
                false => emit(EventKind::Chat { chat, cursor: None }),
            }
        })?;
        emptied
            .filter(|_| shows_gap)
            .try_for_each(|(_, gap)| emit(gap.into()))
    }

    /// The gaps that stand for logs without any line, which the limits of the store have emptied.
    /// Each item is the Lamport number of a log's last line, and the gap. In ascending order.
    fn emptied_logs(&self) -> Vec<(u64, Notice)> {
        let query = self.query;
        let logs = self.index.emptied_logs().filter(|(log, _, lamport)| {
            let is_with = |peer| log.author == peer || log.target == Target::Peer(peer);
            self.search.is_none()
                && query.filter.is_empty()
                && query.peer.is_none_or(is_with)
                && query
                    .since
                    .is_none_or(|since| WallTime::from_lamport(*lamport) >= since)
                && (query.before.as_ref()).is_none_or(|before| *lamport < before.lamport)
        });
        let mut gaps = Vec::new();
        for (log, lines, lamport) in logs {
            let at = gaps.partition_point(|(other, _)| *other <= lamport);
            let gap = Notice::Gap {
                target: log.target.clone(),
                author: Peer {
                    id: log.author,
                    nick: Nick::new_or_placeholder(""),
                },
                incarnation: log.incarnation,
                from: *lines.start(),
                to: *lines.end(),
                at: WallTime::from_lamport(lamport),
            };
            gaps.insert(at, (lamport, gap));
        }
        gaps
    }
}

/// Removes the lines with keys below `from` from `run`. Returns false if the rest of `run` is not
/// to be shown.
fn drop_lines_before(run: &mut LineRun<'_>, from: &LineKey) -> bool {
    let below = LineKey::in_batch(run.batch, run.first_index).lines_before(from);
    if below == 0 {
        return true;
    }
    if below >= run.line_count {
        return false;
    }
    let dropped = run.text.split_inclusive('\n').take(below as usize);
    run.text = &run.text[dropped.map(str::len).sum()..];
    run.first_index += below;
    run.line_count -= below;
    run.missing = None;
    true
}

/// Removes the lines with keys of `before` or above from `run`. Returns false if no line is left.
fn drop_lines_from(run: &mut LineRun<'_>, before: &LineKey) -> bool {
    let first = LineKey::in_batch(run.batch, run.first_index);
    let kept = first.lines_before(before);
    if kept < run.line_count {
        let lines = run.text.split_inclusive('\n').take(kept as usize);
        run.text = &run.text[..lines.map(str::len).sum()];
        run.line_count = kept;
    }
    kept > 0
}

/// Whether `line` contains `text`, which is in lower case.
fn contains_text(line: &str, text: &str) -> bool {
    line.to_lowercase().contains(text)
}

/// The notice that lines are missing before or in `run`; `None` if no lines are missing. The notice
/// has the time of the batch that contains `run`, and the nick of the batch's author.
fn missing_lines_notice(run: &LineRun<'_>) -> Option<Notice> {
    let missing = run.missing.clone()?;
    Some(gap_notice(run.batch, missing, run.batch.timestamp))
}
