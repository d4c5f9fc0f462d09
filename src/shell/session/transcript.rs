//! Prints the lines of the opened folders to stdout. A transcript is a cursor over the history.
//! Lines for which stdout has no room are read from the store later.
use std::collections::VecDeque;
use std::io;

use crate::base::batch::{Batch, LogId};
use crate::base::event::{Chat, Notice, Position, StoredBatch};
use crate::base::gap_notice::gap_notice;
use crate::base::identity::PeerId;
use crate::base::name::FolderName;
use crate::base::table::SortedMap;
use crate::shell::session::renderer::Renderer;
use crate::shell::stdio::output_writer::OutputWriter;
use crate::shell::store::store::{READ_BYTES, Store};

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
struct FolderCursor {
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

/// A chunk of output that was passed to stdout and may not be written yet.
struct InFlight {
    /// The chunk's token: see [`OutputWriter::try_send`].
    token: u64,
    folder: FolderName,
    /// Once stdout has taken the chunk, all batches of the folder before this position are printed.
    position: Position,
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

/// The cursors over all opened folders, and which of their lines stdout has taken.
pub struct Transcript {
    own_id: PeerId,
    cursors: SortedMap<FolderName, FolderCursor>,
    /// Whether lines that this identity sent are printed.
    has_echo: bool,
    /// Whether stored lines or queued events wait for stdout.
    is_lagging: bool,
    /// While lagging: for each log, the last sequence that was printed or read from the store.
    reached: SortedMap<LogId, u64>,
    /// While lagging: for each log with evicted lines, the lowest sequence that the store kept.
    evicted_below: SortedMap<LogId, u64>,
    queued_events: VecDeque<Vec<u8>>,
    in_flight: VecDeque<InFlight>,
    /// The token of the last chunk passed to stdout.
    token: u64,
    /// For each folder whose newest batches were skipped: the position after these batches.
    skipped: SortedMap<FolderName, Position>,
    /// How many chat lines were passed to stdout since the session last set this to 0.
    pub live_lines: u64,
    /// For each log of direct messages to this identity: the last sequence passed to stdout.
    pub read_marks: SortedMap<LogId, u64>,
    /// Whether to save the printed position of each folder. False after this run has passed over
    /// lines that the next run must print.
    is_saving_positions: bool,
    /// Whether the run has ended. The next run prints lines that are stored after the end.
    is_stopped: bool,
}

impl Transcript {
    /// A transcript without folders. `has_echo`: whether lines that this identity sent are printed.
    pub fn new(own_id: PeerId, has_echo: bool) -> Transcript {
        Transcript {
            own_id,
            cursors: SortedMap::new(),
            has_echo,
            is_lagging: false,
            reached: SortedMap::new(),
            evicted_below: SortedMap::new(),
            queued_events: VecDeque::new(),
            in_flight: VecDeque::new(),
            token: 0,
            skipped: SortedMap::new(),
            live_lines: 0,
            read_marks: SortedMap::new(),
            is_saving_positions: true,
            is_stopped: false,
        }
    }

    /// Opens a folder. Printing begins at the saved position of earlier runs, or at the start of
    /// the last `backlog` lines if that is earlier. With `only_new`, printing begins at the end. A
    /// folder that is already open keeps its cursor.
    pub fn open(&mut self, store: &Store, folder: &FolderName, backlog: u64, only_new: bool) {
        let end = store.end(folder);
        let printed = store.printed_position(folder).unwrap_or_default();
        if let Some(cursor) = self.cursors.get(folder) {
            self.is_lagging = true;
            // If the saved position lies before the cursor's start, this run has passed over
            // unprinted lines of earlier runs. The next run must print them.
            self.is_saving_positions &= printed >= cursor.start;
            return;
        }
        let mut cursor = FolderCursor {
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

    /// Records that lines were stored without a call of [`Transcript::print_chat`].
    /// [`Transcript::catch_up`] prints these lines.
    pub fn mark_lagging(&mut self) {
        self.is_lagging = true;
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

    /// How many lines may still be printed: `line_limit` minus [`Transcript::live_lines`].
    fn remaining_lines(&self, line_limit: Option<u64>) -> u64 {
        line_limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.live_lines))
    }

    /// Prints a batch that was just stored. If stdout lags, [`Transcript::catch_up`] reads the
    /// batch from the store later. `line_limit`: how many lines the run could still print when
    /// [`Transcript::live_lines`] was last 0.
    pub fn print_chat(
        &mut self,
        chat: &Chat,
        line_limit: Option<u64>,
        store: &Store,
        renderer: &mut Renderer,
        stdout: &OutputWriter,
    ) {
        let log = &chat.batch.log;
        let folder = &FolderName::for_log(&log.target, &log.author, &self.own_id);
        if self.is_stopped {
            return;
        }
        let remaining = self.remaining_lines(line_limit);
        let Some(cursor) = self.cursors.get_mut(folder) else {
            // A client sent the batch to a room that this session does not print.
            if chat.is_own && self.has_echo {
                let mut out = stdout.take_buffer();
                renderer.append_chat(chat, chat.batch.count, &mut out);
                self.print_or_queue(out, renderer, stdout);
            }
            return;
        };
        if remaining == 0 {
            return;
        }
        if self.is_lagging || !stdout.can_accept() {
            self.is_lagging = true;
            if self.reached.get(log).is_none() {
                self.reached.insert(log.clone(), chat.batch.sequence - 1);
            }
            return;
        }
        let position = store.end(folder);
        cursor.position = position;
        let facts = BatchFacts {
            is_own: chat.is_own,
            is_backfill: false,
            is_before_start: chat.local.before_start,
            is_from_earlier_run: false,
            is_in_backlog: false,
        };
        match self.decide(facts, line_limit.is_some()) {
            Printing::Print => {}
            Printing::Skip => {
                self.skipped.insert(folder.clone(), position);
                return;
            }
            Printing::NextRun => {
                self.is_saving_positions = false;
                return;
            }
        }
        let lines = remaining.min(chat.batch.shown_count());
        let mut out = stdout.take_buffer();
        renderer.append_chat(chat, lines, &mut out);
        self.update_read_mark(&chat.batch);
        self.live_lines += lines;
        if lines < chat.batch.shown_count() {
            // A saved position cannot lie inside a batch, so the next run prints the whole batch.
            return self.send_to_stdout(renderer, stdout, out);
        }
        self.print_tracked(renderer, stdout, out, folder.clone(), position);
    }

    fn update_read_mark(&mut self, batch: &Batch) {
        if batch.log.target.recipient() == Some(self.own_id) {
            self.read_marks
                .insert(batch.log.clone(), batch.last_sequence());
        }
    }

    /// Prints lines of a folder. `position`: all batches before this position are printed once
    /// stdout has taken the lines.
    fn print_tracked(
        &mut self,
        renderer: &mut Renderer,
        stdout: &OutputWriter,
        out: Vec<u8>,
        folder: FolderName,
        position: Position,
    ) {
        self.send_to_stdout(renderer, stdout, out);
        self.skipped.remove(&folder);
        self.in_flight.push_back(InFlight {
            token: self.token,
            folder,
            position,
        });
    }

    /// Passes lines to stdout. The caller has checked that stdout has room. After a failure of
    /// stdout the lines are dropped.
    fn send_to_stdout(&mut self, renderer: &mut Renderer, stdout: &OutputWriter, lines: Vec<u8>) {
        self.token += 1;
        let _ = stdout.try_send(renderer.compose_output(lines), self.token);
    }

    /// Prints lines that belong to no folder. Without lines, only redraws the editor's line.
    pub fn print_untracked(
        &mut self,
        lines: Vec<u8>,
        renderer: &mut Renderer,
        stdout: &OutputWriter,
    ) {
        self.send_to_stdout(renderer, stdout, lines);
    }

    /// Prints a notice that is not a chat line.
    pub fn print_event(&mut self, notice: &Notice, renderer: &mut Renderer, stdout: &OutputWriter) {
        let mut out = stdout.take_buffer();
        renderer.append_notice(notice, &mut out);
        if !out.is_empty() && !self.is_stopped {
            self.print_or_queue(out, renderer, stdout);
        }
    }

    fn print_or_queue(&mut self, out: Vec<u8>, renderer: &mut Renderer, stdout: &OutputWriter) {
        if self.is_lagging || !stdout.can_accept() {
            if self.queued_events.len() >= QUEUED_EVENTS_MAX {
                self.queued_events.pop_front();
            }
            self.queued_events.push_back(out);
            self.is_lagging = true;
        } else {
            self.send_to_stdout(renderer, stdout, out);
        }
    }

    /// Prints waiting lines and events, until stdout has no more room. `line_limit`: see
    /// [`Transcript::print_chat`].
    ///
    /// # Errors
    /// A part of the history cannot be read. The rest is printed.
    pub fn catch_up(
        &mut self,
        line_limit: Option<u64>,
        store: &Store,
        renderer: &mut Renderer,
        stdout: &OutputWriter,
    ) -> io::Result<()> {
        if !self.is_lagging {
            return Ok(());
        }
        let mut result = Ok(());
        let folders: Vec<FolderName> = self.cursors.keys().cloned().collect();
        for folder in folders {
            while self.remaining_lines(line_limit) > 0 {
                // Return, instead of leaving the loop: stdout may get room again before the code
                // below runs. `is_lagging` would then become false while lines are unread.
                if !stdout.can_accept() {
                    return result;
                }
                let Some(mut cursor) = self.cursors.get(&folder).copied() else {
                    break;
                };
                let Some(batches) = self.read_chunk(store, &folder, &mut cursor, &mut result)
                else {
                    break;
                };
                let mut out = stdout.take_buffer();
                self.render_chunk(batches, &mut cursor, line_limit, renderer, &mut out);
                self.cursors.insert(folder.clone(), cursor);
                self.print_tracked(renderer, stdout, out, folder.clone(), cursor.position);
            }
        }
        while let Some(event) = self.queued_events.pop_front_if(|_| stdout.can_accept()) {
            self.send_to_stdout(renderer, stdout, event);
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
        cursor: &mut FolderCursor,
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

    /// Renders the batches that are to be printed. A batch that exceeds the line limit is rendered
    /// in part. The cursor stays before that batch, and the next run prints the whole batch.
    fn render_chunk(
        &mut self,
        batches: Vec<StoredBatch>,
        cursor: &mut FolderCursor,
        line_limit: Option<u64>,
        renderer: &mut Renderer,
        out: &mut Vec<u8>,
    ) {
        for entry in batches {
            let backlog = cursor
                .backlog
                .filter(|start| entry.position >= start.position);
            let facts = BatchFacts {
                is_from_earlier_run: entry.position < cursor.run_start,
                is_in_backlog: backlog.is_some(),
                ..self.facts(&entry)
            };
            let printing = self.decide(facts, line_limit.is_some());
            self.is_saving_positions &= printing != Printing::NextRun;
            let gap = self.gap_before(&entry);
            if printing != Printing::Print {
                continue;
            }
            if let Some(gap) = gap {
                renderer.append_notice(&gap, out);
            }
            let skipped_lines = backlog
                .filter(|start| entry.position == start.position)
                .map_or(0, |start| start.skipped_lines);
            let (position, count) = (entry.position, entry.batch.shown_count());
            let lines = self.remaining_lines(line_limit).min(count);
            self.live_lines += lines;
            self.update_read_mark(&entry.batch);
            renderer.append_stored(entry, facts.is_own, skipped_lines, lines, out);
            if lines < count {
                cursor.position = position;
                break;
            }
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

    /// Saves, for each folder, the position before which stdout has taken all batches. If the
    /// program is killed, the next run repeats only the lines of the last turn.
    pub fn save_printed_positions(&mut self, store: &mut Store, stdout: &OutputWriter) {
        let written = stdout.written_token();
        let taken = self
            .in_flight
            .partition_point(|chunk| chunk.token <= written);
        let mut printed: Vec<(FolderName, Position)> = Vec::new();
        for chunk in self.in_flight.drain(..taken) {
            match printed
                .iter_mut()
                .find(|(folder, _)| *folder == chunk.folder)
            {
                Some((_, position)) => *position = chunk.position,
                None => printed.push((chunk.folder, chunk.position)),
            }
        }
        if self.is_stopped && written >= self.token && !self.is_lagging {
            printed.extend(std::mem::take(&mut self.skipped));
        }
        if !self.is_saving_positions {
            return;
        }
        for (folder, position) in &printed {
            // If saving fails, the next run only prints these lines once more.
            let _ = store.set_printed_position(folder, *position);
        }
    }
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
