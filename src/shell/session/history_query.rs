//! Selects stored lines in the order of the history. A query can ask for all matching lines or only
//! for the last ones.
use std::io;

use crate::base::event::Notice;
use crate::base::gap_notice::gap_notice;
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::{FolderName, Target};
use crate::base::time::WallTime;
use crate::shell::store::merge::{LineRun, Merge};
use crate::shell::store::scan::{HistoryIndex, HistorySource};
use crate::ui::session_event::{ChatLines, EventKind};

/// A query for stored lines. Each field restricts which lines are shown.
#[derive(Clone, Debug, Default)]
pub struct HistoryQuery {
    /// Only lines of these folders. An empty list means all folders.
    pub folders: Vec<FolderName>,
    /// Only lines whose author or recipient is this peer.
    pub peer: Option<PeerId>,
    /// Only lines whose author's timestamp is this time or later.
    pub since: Option<WallTime>,
    /// Only lines that contain this text. Upper and lower case count as equal.
    pub search: Option<String>,
    /// Maximum number of lines; `None`: no limit. If more lines meet the other conditions, only the
    /// last ones are shown.
    pub limit: Option<u64>,
}

/// Passes the selected lines and the gaps between them to `emit`.
///
/// # Errors
/// The history cannot be read, or `emit` fails.
pub fn run_query(
    source: &HistorySource<'_>,
    network: NetworkTag,
    query: &HistoryQuery,
    emit: &mut dyn FnMut(EventKind) -> io::Result<()>,
) -> io::Result<()> {
    let index = HistoryIndex::scan(source, &query.folders)?;
    let selection = Selection {
        source,
        index: &index,
        network,
        query,
        search: query.search.as_ref().map(|text| text.to_lowercase()),
    };
    let start = match query.limit {
        Some(limit) => selection.find_start(limit)?,
        None => SelectionStart::default(),
    };
    selection.emit_from(start, emit)
}

/// The place of the first line that a query shows.
#[derive(Clone, Copy, Debug, Default)]
struct SelectionStart {
    /// Segments in which all Lamport numbers are below this number are not read.
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
    /// Calls `visit` with the selected lines, in the order of the history. Does not read segments
    /// in which all Lamport numbers are below `lamport_cutoff`.
    fn for_each_run(
        &self,
        lamport_cutoff: u64,
        visit: &mut dyn FnMut(LineRun<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let query = self.query;
        let mut merge = Merge::new(self.source, self.index, self.network, lamport_cutoff);
        while let Some(run) = merge.next_run()? {
            let log = &run.batch.log;
            let is_with = |peer| log.author == peer || log.target == Target::Peer(peer);
            if query.since.is_some_and(|since| run.batch.timestamp < since)
                || query.peer.is_some_and(|peer| !is_with(peer))
            {
                continue;
            }
            match &self.search {
                None => visit(run)?,
                Some(text) => for_each_match(&run, text, visit)?,
            }
        }
        Ok(())
    }

    /// Finds where the last `limit` selected lines begin.
    fn find_start(&self, limit: u64) -> io::Result<SelectionStart> {
        let query = self.query;
        // Without conditions, every line is selected, so the index tells which segments contain
        // the last lines. With conditions, any segment may be needed.
        let mut lamport_cutoff = match (query.since, &self.search, query.peer) {
            (None, None, None) => self.index.lamport_cutoff(limit),
            _ => 0,
        };
        loop {
            let (mut total, mut above_cutoff) = (0, 0);
            self.for_each_run(lamport_cutoff, &mut |run| {
                let end = run.batch.lamport + run.first_index + run.line_count;
                total += run.line_count;
                above_cutoff += end.saturating_sub(lamport_cutoff).min(run.line_count);
                Ok(())
            })?;
            if lamport_cutoff == 0 || above_cutoff >= limit {
                return Ok(SelectionStart {
                    lamport_cutoff,
                    skipped_lines: total - limit.min(total),
                });
            }
            // The segments have fewer lines than the index says, because batches are duplicate or
            // damaged. Read all segments.
            lamport_cutoff = 0;
        }
    }

    fn emit_from(
        &self,
        start: SelectionStart,
        emit: &mut dyn FnMut(EventKind) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut skip = start.skipped_lines;
        // With a limit, a gap before the first shown line is left out: the line before that gap is
        // not shown.
        let mut shows_gap = self.query.limit.is_none();
        self.for_each_run(start.lamport_cutoff, &mut |run| {
            if skip > 0 && skip >= run.line_count {
                skip -= run.line_count;
                return Ok(());
            }
            if let Some(gap) = missing_lines_notice(&run).filter(|_| shows_gap) {
                emit(gap.into())?;
            }
            shows_gap |= run.line_count > 0;
            let mut chat = ChatLines::signed(run.batch, run.first_index, run.text.to_owned());
            chat.skip_lines(skip);
            skip = 0;
            match chat.text.is_empty() {
                true => Ok(()),
                false => emit(EventKind::Chat { chat, cursor: None }),
            }
        })
    }
}

/// Calls `visit` for each line of `run` that contains `text`. `text` must be in lower case.
fn for_each_match(
    run: &LineRun<'_>,
    text: &str,
    visit: &mut dyn FnMut(LineRun<'_>) -> io::Result<()>,
) -> io::Result<()> {
    for (i, line) in (0..).zip(run.text.split_inclusive('\n')) {
        let lower = line.to_lowercase();
        let mut parts = lower.as_bytes().windows(text.len().max(1));
        if parts.any(|part| part == text.as_bytes()) {
            visit(LineRun {
                batch: run.batch,
                first_index: run.first_index + i,
                line_count: 1,
                text: line,
                missing: None,
            })?;
        }
    }
    Ok(())
}

/// The notice that lines are missing before or in `run`; `None` if no lines are missing. The notice
/// has the time of the batch that contains `run`, and the nick of the batch's author.
fn missing_lines_notice(run: &LineRun<'_>) -> Option<Notice> {
    let missing = run.missing.clone()?;
    Some(gap_notice(run.batch, missing, run.batch.timestamp))
}
