//! Emits the lines of the opened folders. A transcript is a cursor over the history. Lines for
//! which the sink has no room are read from the store later.
//!
//! A backlog comes before all other lines, in the total order. The cursors then pass over the lines
//! that it has emitted.
use std::sync::Arc;

use crate::base::batch::batch::{LocalFields, LogId};
use crate::base::event::load::{Position, StoredBatch};
use crate::base::event::notice::{Chat, Notice};
use crate::base::guests::guest_event::{GuestEvent, GuestNotice};
use crate::base::identity::PeerId;
use crate::base::name::{FolderName, Nick};
use crate::base::table::SortedMap;
use crate::shell::session::event_sink::EventSink;
use crate::shell::session::transcript::backlog_reader::BacklogReader;
use crate::shell::session::transcript::folder_progress::FolderProgress;
use crate::shell::session::transcript::printed_beyond::PrintedBeyond;
use crate::shell::session::transcript::queued_notices::QueuedNotices;
use crate::shell::store::reader::PrintedBacklog;
use crate::shell::store::scan::FolderSpan;
use crate::shell::store::store::{READ_BYTES, Store};
use crate::ui::request::Listen;
use crate::ui::session_event::{
    BacklogCursor, BacklogProgress, ChatLines, EventKind, FolderCursor, SessionEvent,
};

/// How many reads a search for unprinted lines may take.
const SCAN_READS_MAX: usize = 64;

/// The properties of a batch that decide whether it is printed.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchFacts {
    pub(super) is_own: bool,
    /// Whether the batch is too old to be news: see `LocalFields::backfill`.
    pub(super) is_backfill: bool,
    /// Whether the user does not want to see lines of the author.
    pub(super) is_ignored: bool,
    /// Whether the author published the batch before this program started.
    pub(super) is_before_start: bool,
    /// Whether an earlier run of this directory stored the batch.
    pub(super) is_from_earlier_run: bool,
}

/// The decision whether a batch is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Printing {
    Print,
    /// No run prints the batch, except in a backlog.
    Skip,
    /// This run does not print the batch, but the next run does.
    NextRun,
}

/// The cursors over all opened folders.
pub struct Transcript {
    pub(super) own_id: PeerId,
    pub(super) cursors: SortedMap<FolderName, FolderProgress>,
    /// Whether the transcript is that of the directory's reader. It passes over lines that earlier
    /// runs have printed in a backlog.
    pub(super) is_reader: bool,
    /// The name of the reader; `None`: the directory's own.
    pub(super) reader_name: Option<Nick>,
    /// Whether lines that this identity sent are printed.
    has_echo: bool,
    /// Whether this run prints only lines that were published after the run's start. The next run
    /// prints the earlier lines.
    pub(super) only_new: bool,
    /// Whether own lines are printed even if their folder is not open. Such lines come from clients
    /// of this program.
    shows_all_own: bool,
    /// Whether stored lines or queued notices wait for the sink.
    pub(super) is_lagging: bool,
    /// While lagging: whether descriptors or memory ran out in the last attempt to read.
    pub(super) is_starved: bool,
    /// While lagging: for each log, the last sequence that was printed or read from the store.
    pub(super) reached: SortedMap<LogId, u64>,
    /// While lagging: for each log with evicted lines, the lowest sequence that the store kept.
    pub(super) evicted_below: SortedMap<LogId, u64>,
    pub(super) queued_notices: QueuedNotices,
    /// The backlogs. While one is active, all other lines and events wait.
    pub(super) backlogs: BacklogReader,
    /// For each folder whose last batches are skipped: the position after these batches.
    pub(super) skipped: SortedMap<FolderName, Position>,
    /// Whether the reader's position may move. False after this run has passed over lines that the
    /// next run must print.
    pub(super) is_saving_positions: bool,
    /// The printed lines beyond the passed-over ones.
    pub(super) printed_beyond: PrintedBeyond,
    /// Whether the run has ended. The next run prints lines that are stored after the end.
    pub(super) is_stopped: bool,
}

impl Transcript {
    /// A transcript without folders. `shows_all_own`: whether own lines are printed even if their
    /// folder is not open. `wake` ends the sleep of the event loop from another thread.
    pub fn new(
        own_id: PeerId,
        listen: &Listen,
        shows_all_own: bool,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Transcript {
        Transcript {
            own_id,
            cursors: SortedMap::new(),
            is_reader: listen.is_reader,
            reader_name: listen.reader_name.clone(),
            has_echo: listen.has_echo,
            only_new: listen.only_new,
            shows_all_own,
            is_lagging: false,
            is_starved: false,
            reached: SortedMap::new(),
            evicted_below: SortedMap::new(),
            queued_notices: QueuedNotices::default(),
            backlogs: BacklogReader::new(own_id, wake),
            skipped: SortedMap::new(),
            is_saving_positions: true,
            printed_beyond: PrintedBeyond::default(),
            is_stopped: false,
        }
    }

    /// Opens a folder at the place where another transcript stopped.
    pub fn resume(&mut self, store: &Store, folder: &FolderName, after: &FolderCursor) {
        let span = |from| FolderSpan {
            name: folder.clone(),
            from,
            end: Some(after.run_start),
        };
        let backlog = after.backlog.as_deref().copied();
        match backlog {
            Some(BacklogProgress::Requested { lines }) => {
                self.backlogs.request_last(vec![span(None)], lines);
            }
            Some(BacklogProgress::Begun(BacklogCursor { end, has_more, .. })) if has_more => {
                self.backlogs.request_rest(span(Some(end)));
            }
            _ => {}
        }
        self.is_lagging |= after.position < store.end(folder) || self.backlogs.is_active();
        let cursor = FolderProgress {
            position: after.position,
            start: after.position,
            run_start: after.run_start,
            backlog,
            is_end_due: backlog.is_some(),
            end: None,
        };
        self.cursors.insert(folder.clone(), cursor);
    }

    /// Where another transcript would continue in a folder; `None`: the folder is not open.
    pub fn cursor(&self, folder: &FolderName) -> Option<FolderCursor> {
        let progress = self.cursors.get(folder)?;
        Some(progress.resume_at(progress.position))
    }

    /// Opens a folder. Printing begins at the position `printed`. If only new lines are printed,
    /// printing begins at the end of the folder. A folder that is already open keeps its cursor.
    pub fn open(&mut self, store: &Store, folder: &FolderName, printed: Position) {
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
            is_end_due: false,
            end: None,
        };
        // With `only_new`, this run passes over unprinted lines of earlier runs. The next run
        // prints them, so the saved position must stay before them.
        if only_new && !self.has_nothing_to_print(store, folder, printed, end) {
            self.is_saving_positions = false;
            self.printed_beyond.pass_over_unread(folder);
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
                    ..self.facts(store, folder, entry)
                };
                entry.position < end && self.decide(facts, false) == Printing::Print
            };
            if batches.iter().any(is_printed) {
                return false;
            }
        }
        false
    }

    pub(super) fn facts(
        &self,
        store: &Store,
        folder: &FolderName,
        entry: &StoredBatch,
    ) -> BatchFacts {
        BatchFacts {
            is_own: entry.batch.log.author == self.own_id,
            is_backfill: self.is_history(store, folder, entry.local),
            is_ignored: store.is_ignored(&entry.batch.log.author),
            is_before_start: entry.local.before_start,
            is_from_earlier_run: false,
        }
    }

    /// Whether a batch of the folder is older than the reader of this transcript.
    fn is_history(&self, store: &Store, folder: &FolderName, local: LocalFields) -> bool {
        let reader = self.reader_name.as_ref();
        let is_before = |at| store.is_before_reader(folder, reader, at);
        local.backfill || local.published.is_some_and(is_before)
    }

    /// Decides whether a batch is printed. `has_limit`: whether the run ends after a number of
    /// lines. Such a run prints only lines that were published after the run's start.
    pub(super) fn decide(&self, facts: BatchFacts, has_limit: bool) -> Printing {
        // The user saw own lines of earlier runs when typing them; a reader with a name did not.
        let is_seen = facts.is_from_earlier_run && self.reader_name.is_none();
        let is_shown_own = self.has_echo && !is_seen;
        let is_shown = !facts.is_backfill && !facts.is_ignored && (!facts.is_own || is_shown_own);
        match has_limit && facts.is_before_start {
            true if !facts.is_own && !facts.is_backfill => Printing::NextRun,
            false if is_shown => Printing::Print,
            _ => Printing::Skip,
        }
    }

    /// Whether the folder is open. False for a closed folder whose lines are not all emitted.
    pub fn is_open(&self, folder: &FolderName) -> bool {
        let cursor = self.cursors.get(folder);
        cursor.is_some_and(|cursor| cursor.end.is_none())
    }

    /// Closes the folder of a room that this session has left. The lines stored so far are still
    /// emitted.
    pub fn close(&mut self, folder: &FolderName, store: &Store) {
        match self.cursors.get_mut(folder) {
            Some(cursor) if self.is_lagging => cursor.end = Some(store.end(folder)),
            _ => drop(self.cursors.remove(folder)),
        }
    }

    /// Opens a closed folder again if it still has a cursor. Returns whether the folder is open.
    pub fn reopen(&mut self, folder: &FolderName) -> bool {
        let cursor = self.cursors.get_mut(folder);
        cursor.map(|cursor| cursor.end = None).is_some()
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

    /// Whether stored lines or queued notices wait for the sink.
    pub fn is_lagging(&self) -> bool {
        self.is_lagging
    }

    /// Whether stored lines or queued notices can be emitted now, if the sink has room. False after
    /// an attempt that lacked descriptors, so that the event loop sleeps before the next one.
    pub fn has_work(&self) -> bool {
        self.is_lagging
            && !self.is_starved
            && (!self.backlogs.is_active() || self.backlogs.has_step())
    }

    /// Whether the position of the directory's reader may move.
    pub fn is_saving_positions(&self) -> bool {
        self.is_saving_positions
    }

    /// The printed lines of a folder before this position that lie beyond passed-over ones.
    pub fn take_printed_beyond(
        &mut self,
        folder: &FolderName,
        position: Position,
    ) -> Vec<PrintedBacklog> {
        self.printed_beyond.take(folder, position)
    }

    /// Takes the folders whose last batches are skipped, with the positions after these batches.
    /// Empty until the transcript is stopped and no longer lags.
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
        let cursor = self.cursors.get_mut(folder);
        let Some(cursor) = cursor.filter(|cursor| cursor.end.is_none()) else {
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
            is_backfill: self.is_history(store, folder, chat.local),
            is_ignored: store.is_ignored(&chat.batch.log.author),
            is_before_start: chat.local.before_start,
            is_from_earlier_run: false,
        };
        match self.decide(facts, self.only_new) {
            Printing::Print => {
                self.skipped.remove(folder);
                self.printed_beyond.record(folder, &chat.batch, position);
                emit_chat(ChatLines::from(chat), Some(resume), sink);
            }
            Printing::Skip => {
                self.skipped.insert(folder.clone(), position);
            }
            Printing::NextRun => {
                self.is_saving_positions = false;
                self.printed_beyond.pass_over(folder, &chat.batch);
            }
        }
    }

    /// Emits a notice that is not a chat line, after the lines before it.
    pub fn handle_notice(&mut self, notice: &Arc<Notice>, sink: &mut dyn EventSink) {
        let is_echo = matches!(
            &**notice,
            Notice::Guest(GuestNotice {
                event: GuestEvent::Received { .. },
                ..
            })
        );
        if self.is_stopped || is_echo && !self.has_echo {
            return;
        }
        if self.is_lagging || !sink.can_accept() {
            self.queued_notices.push(notice);
            self.is_lagging = true;
        } else {
            emit_notice(Arc::clone(notice), sink);
        }
    }
}

pub(super) fn emit_chat(chat: ChatLines, cursor: Option<FolderCursor>, sink: &mut dyn EventSink) {
    sink.emit(SessionEvent::new(None, EventKind::Chat { chat, cursor }));
}

pub(super) fn emit_notice(notice: Arc<Notice>, sink: &mut dyn EventSink) {
    sink.emit(SessionEvent::new(None, EventKind::Notice(notice)));
}
