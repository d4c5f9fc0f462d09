//! Emits the lines of the opened folders. A transcript is a cursor over the history. Lines for
//! which the sink has no room are read from the store later.
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::base::batch::{Batch, LocalFields, LogId};
use crate::base::event::{Chat, Notice, Position, StoredBatch};
use crate::base::gap_notice::gap_notice;
use crate::base::identity::PeerId;
use crate::base::name::FolderName;
use crate::base::table::SortedMap;
use crate::shell::session::event_sink::EventSink;
use crate::shell::store::store::{READ_BYTES, Store};
use crate::ui::request::Listen;
use crate::ui::session_event::{ChatLines, EventKind, FolderCursor, SessionEvent};

/// How many reads a search for unprinted lines may take.
const SCAN_READS_MAX: usize = 64;
/// Maximum number of queued events. If there are more, the oldest events are dropped.
const QUEUED_EVENTS_MAX: usize = 1000;

/// Where the backlog of a folder begins (--backlog).
#[derive(Clone, Copy, Debug)]
struct BacklogStart {
    /// Position of the first batch of the backlog.
    position: Position,
    /// How many lines of the batch at `position` come before the backlog.
    skipped_lines: u64,
}

/// The cursor over one folder.
#[derive(Clone, Copy, Debug, Default)]
struct FolderProgress {
    /// Position of the next batch to print.
    position: Position,
    /// The value of `position` when the folder was opened.
    start: Position,
    /// End of the folder when this run opened the folder. Earlier runs stored all batches before
    /// this position.
    run_start: Position,
    /// Where the backlog begins; `None`: the folder has no backlog. In a backlog, backfill and own
    /// lines of earlier runs are printed as well.
    backlog: Option<BacklogStart>,
    /// Where this run stops printing; `None` until the run ends. The next run continues there.
    end: Option<Position>,
}

impl FolderProgress {
    /// Where another listener continues after the batches before `position`.
    fn resume_at(&self, position: Position) -> FolderCursor {
        FolderCursor {
            position,
            run_start: self.run_start,
            backlog: self.backlog.map(|backlog| backlog.position),
        }
    }
}

/// The properties of a batch that decide whether it is printed.
#[derive(Clone, Copy, Debug)]
struct BatchFacts {
    is_own: bool,
    /// Whether the batch is too old to be news: see `LocalFields::backfill`.
    is_backfill: bool,
    /// Whether the author published the batch before this program started.
    is_before_start: bool,
    /// Whether an earlier run of this directory stored the batch.
    is_from_earlier_run: bool,
    /// Whether the batch lies in the backlog that the user requested.
    is_in_backlog: bool,
}

/// The decision whether a batch is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Printing {
    Print,
    /// No run prints the batch, except as part of a backlog.
    Skip,
    /// This run does not print the batch, but the next run does.
    NextRun,
}

/// The cursors over all opened folders.
pub struct Transcript {
    own_id: PeerId,
    cursors: SortedMap<FolderName, FolderProgress>,
    /// Whether lines that this identity sent are printed.
    has_echo: bool,
    /// Whether this run prints only lines that were published after the run's start. The next run
    /// prints the earlier lines.
    only_new: bool,
    /// Whether own lines are printed even if their folder is not open. Such lines come from clients
    /// of this program.
    shows_all_own: bool,
    /// Whether stored lines or queued events wait for the sink.
    is_lagging: bool,
    /// While lagging: for each log, the last sequence that was printed or read from the store.
    reached: SortedMap<LogId, u64>,
    /// While lagging: for each log with evicted lines, the lowest sequence that the store kept.
    evicted_below: SortedMap<LogId, u64>,
    queued_events: VecDeque<Arc<Notice>>,
    /// For each folder whose last batches are not to be printed: the position after these batches.
    skipped: SortedMap<FolderName, Position>,
    /// Whether the reader's position may move. False after this run has passed over lines that the
    /// next run must print.
    is_saving_positions: bool,
    /// Whether the run has ended. The next run prints lines that are stored after the end.
    is_stopped: bool,
}

impl Transcript {
    /// A transcript without folders. `shows_all_own`: whether own lines are printed even if their
    /// folder is not open.
    pub fn new(own_id: PeerId, listen: &Listen, shows_all_own: bool) -> Transcript {
        Transcript {
            own_id,
            cursors: SortedMap::new(),
            has_echo: listen.has_echo,
            only_new: listen.only_new,
            shows_all_own,
            is_lagging: false,
            reached: SortedMap::new(),
            evicted_below: SortedMap::new(),
            queued_events: VecDeque::new(),
            skipped: SortedMap::new(),
            is_saving_positions: true,
            is_stopped: false,
        }
    }

    /// Opens a folder at the place where another transcript stopped.
    pub fn resume(&mut self, store: &Store, folder: &FolderName, after: FolderCursor) {
        let backlog = after.backlog.map(|start| BacklogStart {
            position: start.max(after.position),
            skipped_lines: 0,
        });
        self.is_lagging |= after.position < store.end(folder);
        let cursor = FolderProgress {
            position: after.position,
            start: after.position,
            run_start: after.run_start,
            backlog,
            end: None,
        };
        self.cursors.insert(folder.clone(), cursor);
    }

    /// Where another transcript would continue in a folder; `None`: the folder is not open.
    pub fn cursor(&self, folder: &FolderName) -> Option<FolderCursor> {
        let progress = self.cursors.get(folder)?;
        Some(progress.resume_at(progress.position))
    }

    /// Opens a folder. Printing begins at the position `printed`. If the last `backlog` lines begin
    /// before this position, printing begins with these lines. If only new lines are printed,
    /// printing begins at the end of the folder. A folder that is already open keeps its cursor.
    pub fn open(&mut self, store: &Store, folder: &FolderName, printed: Position, backlog: u64) {
        let end = store.end(folder);
        let only_new = self.only_new;
        if let Some(cursor) = self.cursors.get(folder) {
            self.is_lagging = true;
            // If the saved position lies before the cursor's start, this run has passed over
            // unprinted lines of earlier runs. The next run must print them.
            self.is_saving_positions &= printed >= cursor.start;
            return;
        }
        let mut cursor = FolderProgress {
            position: if only_new { end } else { printed },
            start: Position::default(),
            run_start: end,
            backlog: None,
            end: None,
        };
        // With `only_new`, this run passes over unprinted lines of earlier runs. The next run
        // prints them, so the saved position must stay before them.
        self.is_saving_positions &=
            !only_new || self.has_nothing_to_print(store, folder, printed, end);
        if backlog > 0 && !only_new {
            let start = find_backlog_start(store, folder, end, backlog);
            cursor.backlog = Some(start);
            cursor.position = cursor.position.min(start.position);
        }
        self.is_lagging |= cursor.position < end;
        cursor.start = cursor.position;
        self.cursors.insert(folder.clone(), cursor);
    }

    /// Whether a run without a line limit would print nothing between `position` and `end`. Also
    /// false if the search needs more than [`SCAN_READS_MAX`] reads.
    fn has_nothing_to_print(
        &self,
        store: &Store,
        folder: &FolderName,
        mut position: Position,
        end: Position,
    ) -> bool {
        for _ in 0..SCAN_READS_MAX {
            if position >= end {
                return true;
            }
            let Ok(batches) = store.read_from(folder, &mut position, READ_BYTES) else {
                return false;
            };
            let is_printed = |entry: &StoredBatch| {
                let facts = BatchFacts {
                    is_from_earlier_run: true,
                    ..self.facts(entry)
                };
                entry.position < end && self.decide(facts, false) == Printing::Print
            };
            if batches.iter().any(is_printed) {
                return false;
            }
        }
        false
    }

    fn facts(&self, entry: &StoredBatch) -> BatchFacts {
        BatchFacts {
            is_own: entry.batch.log.author == self.own_id,
            is_backfill: entry.local.backfill,
            is_before_start: entry.local.before_start,
            is_from_earlier_run: false,
            is_in_backlog: false,
        }
    }

    /// Decides whether a batch is printed. `has_limit`: whether the run ends after a number of
    /// lines. Such a run prints only lines that were published after the run's start.
    fn decide(&self, facts: BatchFacts, has_limit: bool) -> Printing {
        let is_shown = if facts.is_in_backlog {
            facts.is_from_earlier_run || self.has_echo || !facts.is_own
        } else {
            // The user saw own lines of earlier runs when typing them.
            let is_shown_own = self.has_echo && !facts.is_from_earlier_run;
            !facts.is_backfill && (!facts.is_own || is_shown_own)
        };
        match has_limit && facts.is_before_start {
            true if !facts.is_own && !facts.is_backfill => Printing::NextRun,
            false if is_shown => Printing::Print,
            _ => Printing::Skip,
        }
    }

    /// Whether the folder is open.
    pub fn is_open(&self, folder: &FolderName) -> bool {
        self.cursors.contains_key(folder)
    }

    /// Closes the folder of a room that this session has left.
    pub fn close(&mut self, folder: &FolderName) {
        self.cursors.remove(folder);
    }

    /// Records that the store has evicted all lines of a log with sequences below `low`. If such
    /// lines were not printed yet, a gap is printed instead.
    pub fn record_evicted(&mut self, log: &LogId, low: u64) {
        if self.is_lagging {
            self.evicted_below.insert(log.clone(), low);
        }
    }

    /// Stops the transcript. Stored lines are still printed. The next run prints later lines.
    pub fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// Whether stored lines or queued events wait for stdout.
    pub fn is_lagging(&self) -> bool {
        self.is_lagging
    }

    /// Whether the position of the directory's reader may move.
    pub fn is_saving_positions(&self) -> bool {
        self.is_saving_positions
    }

    /// The folders whose last batches are not to be printed, and the positions after these batches.
    /// Empty while the run prints lines.
    pub fn take_skipped(&mut self) -> SortedMap<FolderName, Position> {
        match self.is_stopped && !self.is_lagging {
            true => std::mem::take(&mut self.skipped),
            false => SortedMap::new(),
        }
    }

    /// Emits a batch that was just stored. If the sink has no room, [`Transcript::catch_up`] reads
    /// the batch from the store later.
    pub fn handle_chat(&mut self, chat: &Chat, store: &Store, sink: &mut dyn EventSink) {
        let log = &chat.batch.log;
        let folder = &FolderName::for_log(&log.target, &log.author, &self.own_id);
        if self.is_stopped {
            return;
        }
        let Some(cursor) = self.cursors.get_mut(folder) else {
            if chat.is_own && self.has_echo && self.shows_all_own {
                emit_chat(ChatLines::from(chat), None, sink);
            }
            return;
        };
        if self.is_lagging || !sink.can_accept() {
            self.is_lagging = true;
            if self.reached.get(log).is_none() {
                self.reached.insert(log.clone(), chat.batch.sequence - 1);
            }
            return;
        }
        let position = store.end(folder);
        cursor.position = position;
        let resume = cursor.resume_at(position);
        let facts = BatchFacts {
            is_own: chat.is_own,
            is_backfill: false,
            is_before_start: chat.local.before_start,
            is_from_earlier_run: false,
            is_in_backlog: false,
        };
        match self.decide(facts, self.only_new) {
            Printing::Print => {
                self.skipped.remove(folder);
                emit_chat(ChatLines::from(chat), Some(resume), sink);
            }
            Printing::Skip => {
                self.skipped.insert(folder.clone(), position);
            }
            Printing::NextRun => self.is_saving_positions = false,
        }
    }

    /// Emits a notice that is not a chat line, after the lines before it.
    pub fn handle_notice(&mut self, notice: &Arc<Notice>, sink: &mut dyn EventSink) {
        if self.is_stopped {
            return;
        }
        if self.is_lagging || !sink.can_accept() {
            if self.queued_events.len() >= QUEUED_EVENTS_MAX {
                self.queued_events.pop_front();
            }
            self.queued_events.push_back(Arc::clone(notice));
            self.is_lagging = true;
        } else {
            emit_notice(Arc::clone(notice), sink);
        }
    }

    /// Emits waiting lines and events, until the sink has no more room.
    ///
    /// # Errors
    /// A part of the history cannot be read. The rest is emitted.
    pub fn catch_up(&mut self, store: &Store, sink: &mut dyn EventSink) -> io::Result<()> {
        if !self.is_lagging {
            return Ok(());
        }
        let mut result = Ok(());
        let folders: Vec<FolderName> = self.cursors.keys().cloned().collect();
        for folder in folders {
            loop {
                // Return, instead of leaving the loop: the sink may get room again before the code
                // below runs. `is_lagging` would then become false while lines are unread.
                if !sink.can_accept() {
                    return result;
                }
                let Some(mut cursor) = self.cursors.get(&folder).copied() else {
                    break;
                };
                let Some(batches) = self.read_chunk(store, &folder, &mut cursor, &mut result)
                else {
                    break;
                };
                self.emit_chunk(batches, &folder, &cursor, sink);
                self.cursors.insert(folder.clone(), cursor);
            }
        }
        while let Some(event) = self.queued_events.pop_front_if(|_| sink.can_accept()) {
            emit_notice(event, sink);
        }
        self.is_lagging = !self.queued_events.is_empty();
        if !self.is_lagging {
            self.reached = SortedMap::new();
            self.evicted_below = SortedMap::new();
        }
        result
    }

    /// Reads the next batches of a folder. Returns `None` at the end of the folder. If a part
    /// cannot be read, moves the cursor past this part and returns an empty list.
    fn read_chunk(
        &self,
        store: &Store,
        folder: &FolderName,
        cursor: &mut FolderProgress,
        result: &mut io::Result<()>,
    ) -> Option<Vec<StoredBatch>> {
        if self.is_stopped {
            let end = *cursor.end.get_or_insert(store.end(folder));
            if cursor.position >= end {
                return None;
            }
        }
        let before = cursor.position;
        match store.read_from(folder, &mut cursor.position, READ_BYTES) {
            Ok(batches) => (!batches.is_empty()).then_some(batches),
            Err(error) => {
                *result = Err(error);
                (cursor.position != before).then(Vec::new)
            }
        }
    }

    /// Emits the batches that are to be printed. `cursor`: the progress after these batches.
    fn emit_chunk(
        &mut self,
        batches: Vec<StoredBatch>,
        folder: &FolderName,
        cursor: &FolderProgress,
        sink: &mut dyn EventSink,
    ) {
        let mut ends: Vec<Position> = batches.iter().skip(1).map(|next| next.position).collect();
        ends.push(cursor.position);
        for (entry, end) in batches.iter().zip(ends) {
            let backlog = cursor
                .backlog
                .filter(|start| entry.position >= start.position);
            let facts = BatchFacts {
                is_from_earlier_run: entry.position < cursor.run_start,
                is_in_backlog: backlog.is_some(),
                ..self.facts(entry)
            };
            let printing = self.decide(facts, self.only_new);
            self.is_saving_positions &= printing != Printing::NextRun;
            let gap = self.gap_before(entry);
            if printing != Printing::Print {
                if printing == Printing::Skip {
                    self.skipped.insert(folder.clone(), end);
                }
                continue;
            }
            if let Some(gap) = gap {
                emit_notice(Arc::new(gap), sink);
            }
            let skipped_lines = backlog
                .filter(|start| entry.position == start.position)
                .map_or(0, |start| start.skipped_lines);
            let mut chat = ChatLines::from_stored(entry, facts.is_own);
            chat.skip_lines(skipped_lines);
            self.skipped.remove(folder);
            emit_withheld(&entry.batch, entry.local, sink);
            emit_chat(chat, Some(cursor.resume_at(end)), sink);
        }
    }

    /// The gap before this batch: lines of the same log that were evicted before they were printed.
    fn gap_before(&mut self, entry: &StoredBatch) -> Option<Notice> {
        let batch = &entry.batch;
        let reached = self.reached.get(&batch.log).copied();
        // A batch that fills a gap is stored after batches with higher sequences.
        if reached.is_some_and(|reached| batch.last_sequence() <= reached) {
            return None;
        }
        self.reached
            .insert(batch.log.clone(), batch.last_sequence());
        let to = self.evicted_below.remove(&batch.log)?.min(batch.sequence) - 1;
        let from = reached? + 1;
        (from <= to).then(|| gap_notice(batch, from..=to, entry.local.received))
    }
}

fn emit_chat(chat: ChatLines, cursor: Option<FolderCursor>, sink: &mut dyn EventSink) {
    sink.emit(SessionEvent {
        id: None,
        kind: EventKind::Chat { chat, cursor },
    });
}

/// Emits a gap in place of lines whose content is withheld.
fn emit_withheld(batch: &Batch, local: LocalFields, sink: &mut dyn EventSink) {
    if batch.is_withheld() {
        let at = local.shown_time(batch.timestamp);
        emit_notice(
            Arc::new(gap_notice(
                batch,
                batch.sequence..=batch.last_sequence(),
                at,
            )),
            sink,
        );
    }
}

fn emit_notice(notice: Arc<Notice>, sink: &mut dyn EventSink) {
    sink.emit(SessionEvent {
        id: None,
        kind: EventKind::Notice(notice),
    });
}

/// Finds where the last `lines` lines before the position `end` begin. Unreadable segments count as
/// empty.
fn find_backlog_start(
    store: &Store,
    folder: &FolderName,
    end: Position,
    lines: u64,
) -> BacklogStart {
    let mut first = end;
    let mut sum = 0;
    for segment in store.segment_numbers(folder).into_iter().rev() {
        let mut batches: Vec<(Position, u64)> = Vec::new();
        let mut position = Position {
            segment,
            ..Position::default()
        };
        while position.segment == segment
            && let Ok(read) = store.read_from(folder, &mut position, READ_BYTES)
            && !read.is_empty()
        {
            let is_inside = |at: Position| at.segment == segment && at < end;
            let entries = read.iter().filter(|entry| is_inside(entry.position));
            batches.extend(entries.map(|entry| (entry.position, entry.batch.count)));
        }
        for (position, count) in batches.into_iter().rev() {
            (first, sum) = (position, sum + count);
            if sum >= lines {
                return BacklogStart {
                    position: first,
                    skipped_lines: sum - lines,
                };
            }
        }
    }
    BacklogStart {
        position: first,
        skipped_lines: 0,
    }
}
