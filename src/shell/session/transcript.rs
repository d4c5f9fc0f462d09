//! Prints the lines of the opened folders to stdout. A transcript is a cursor over the history:
//! lines that stdout has no room for are read from the store again later.
use std::collections::VecDeque;
use std::io;

use crate::base::batch::{Batch, LogId};
use crate::base::event::{Chat, Notice, Peer, Position, StoredBatch};
use crate::base::identity::PeerId;
use crate::base::name::FolderName;
use crate::base::table::SortedMap;
use crate::shell::session::renderer::Renderer;
use crate::shell::stdio::output_writer::OutputWriter;
use crate::shell::store::store::Store;

/// Bytes read from the store at a time.
const READ_BYTES: usize = 64 * 1024;
/// Reads, at most, that look whether anything lies before the end of a folder.
const SCAN_READS_MAX: usize = 64;
/// Events other than lines that wait for a stalled stdout; beyond it the oldest are dropped.
const QUEUED_EVENTS_MAX: usize = 1000;

/// Where --backlog begins in a folder.
#[derive(Clone, Copy, Debug)]
struct BacklogStart {
    /// The first batch.
    position: Position,
    /// Lines of this batch that come before the backlog.
    skipped_lines: u64,
}

/// The cursor over one folder.
#[derive(Clone, Copy, Debug, Default)]
struct FolderCursor {
    /// The next batch to print.
    position: Position,
    /// Where this cursor began.
    start: Position,
    /// Where this run began: earlier runs have stored the batches before it.
    run_start: Position,
    /// From here on own lines of earlier runs and backfill are printed, too.
    backlog: Option<BacklogStart>,
    /// Where this run stops printing; the next run prints what follows.
    end: Option<Position>,
}

/// A chunk handed to stdout.
struct InFlight {
    /// The chunk's token: see [`OutputWriter::try_send`].
    token: u64,
    folder: FolderName,
    /// Up to where the folder is printed once stdout has taken the chunk.
    position: Position,
}

/// What decides whether a batch is printed.
#[derive(Clone, Copy, Debug)]
struct BatchFacts {
    is_own: bool,
    /// The author sent it before this directory first came into the room.
    is_backfill: bool,
    /// The author sent it before this program ran.
    is_before_start: bool,
    /// An earlier run has stored it.
    is_from_earlier_run: bool,
    /// It lies in the backlog that the user asked for.
    is_in_backlog: bool,
}

/// Whether a batch is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Printing {
    Print,
    /// No run prints it, except as backlog.
    Skip,
    /// This run does not print it; the next one does.
    NextRun,
}

/// The cursors over all opened folders, and what stdout has taken of them.
pub struct Transcript {
    own_id: PeerId,
    cursors: SortedMap<FolderName, FolderCursor>,
    /// Own lines are printed.
    has_echo: bool,
    /// Stored lines or queued events wait for stdout.
    is_lagging: bool,
    /// While lagging: the last sequence of each log that was read.
    reached: SortedMap<LogId, u64>,
    /// While lagging: below which sequence the store has evicted the log since.
    evicted_below: SortedMap<LogId, u64>,
    queued_events: VecDeque<Vec<u8>>,
    in_flight: VecDeque<InFlight>,
    /// The token of the last chunk.
    token: u64,
    /// Up to where batches need no printing. Saved with the next printed batch, or at the end.
    skipped: SortedMap<FolderName, Position>,
    /// Lines handed to stdout since the session last counted them.
    pub live_lines: u64,
    /// The last sequence handed to stdout of each log of direct messages to this identity.
    pub read_marks: SortedMap<LogId, u64>,
    /// The printed positions are saved. False once the next run must print lines that lie before
    /// lines which this run prints.
    is_saving_positions: bool,
    /// The run ends: lines stored from now on are the next run's.
    is_stopped: bool,
}

impl Transcript {
    /// A transcript without folders. `has_echo`: own lines are printed, too.
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

    /// Opens a folder where the last run stopped printing, or `backlog` lines before its end,
    /// whichever is earlier; with `only_new` at its end. A folder that is open keeps its cursor.
    pub fn open(&mut self, store: &Store, folder: &FolderName, backlog: u64, only_new: bool) {
        let end = store.end(folder);
        let printed = store.printed_position(folder).unwrap_or_default();
        if let Some(cursor) = self.cursors.get(folder) {
            self.is_lagging = true;
            // A saved position before our start: this run passed over lines that earlier runs left
            // unprinted. The next run has to begin there.
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
        // Lines that earlier runs left unprinted, and that this run passes over, are the next
        // run's: the saved position has to stay before them.
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

    /// Whether a run without limit would print nothing between `position` and `end`. False, too,
    /// if that takes more than [`SCAN_READS_MAX`] reads to see.
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

    /// The rule for what is printed. `has_limit`: the run ends after a number of lines, and counts
    /// only lines sent while it runs.
    fn decide(&self, facts: BatchFacts, has_limit: bool) -> Printing {
        let is_shown = if facts.is_in_backlog {
            facts.is_from_earlier_run || self.has_echo || !facts.is_own
        } else {
            // Own lines of earlier runs were seen when they were typed.
            let is_shown_own = self.has_echo && !facts.is_from_earlier_run;
            !facts.is_backfill && (!facts.is_own || is_shown_own)
        };
        match has_limit && facts.is_before_start {
            true if !facts.is_own && !facts.is_backfill => Printing::NextRun,
            false if is_shown => Printing::Print,
            _ => Printing::Skip,
        }
    }

    /// The folder is open.
    pub fn is_open(&self, folder: &FolderName) -> bool {
        self.cursors.contains_key(folder)
    }

    /// Closes the folder of a room that was left.
    pub fn close(&mut self, folder: &FolderName) {
        self.cursors.remove(folder);
    }

    /// Notes that lines were stored which [`Transcript::print_chat`] was not called for.
    pub fn mark_lagging(&mut self) {
        self.is_lagging = true;
    }

    /// Notes that the store has evicted the log's lines below `low`. If they were not printed,
    /// a gap is printed instead.
    pub fn record_evicted(&mut self, log: &LogId, low: u64) {
        if self.is_lagging {
            self.evicted_below.insert(log.clone(), low);
        }
    }

    /// The run ends: lines stored by now are still printed, later ones are the next run's.
    pub fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// Stored lines or queued events wait for stdout.
    pub fn is_lagging(&self) -> bool {
        self.is_lagging
    }

    /// Lines that may still be printed under this limit of the run.
    fn remaining_lines(&self, line_limit: Option<u64>) -> u64 {
        line_limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.live_lines))
    }

    /// Prints a batch that was just stored; if stdout lags, [`Transcript::catch_up`] reads it from
    /// the store. `line_limit`: lines that the run may still print.
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
            // A client sent it to a room that this session does not print.
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
            is_before_start: !chat.since_start,
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
        let lines = remaining.min(chat.batch.count);
        let mut out = stdout.take_buffer();
        renderer.append_chat(chat, lines, &mut out);
        self.update_read_mark(&chat.batch);
        self.live_lines += lines;
        if lines < chat.batch.count {
            // Positions are those of batches: the next run prints this one from its first line.
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

    /// Prints lines of a folder, which is printed up to `position` once stdout has taken them.
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

    /// Hands lines to stdout, which the caller knows to have room. A broken stdout refuses them,
    /// and ends the run.
    fn send_to_stdout(&mut self, renderer: &mut Renderer, stdout: &OutputWriter, lines: Vec<u8>) {
        self.token += 1;
        let _ = stdout.try_send(renderer.compose_output(lines), self.token);
    }

    /// Prints lines that are in no folder. Without lines, only draws the editor's line again.
    pub fn print_untracked(
        &mut self,
        lines: Vec<u8>,
        renderer: &mut Renderer,
        stdout: &OutputWriter,
    ) {
        self.send_to_stdout(renderer, stdout, lines);
    }

    /// Prints a notice other than chat.
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

    /// Prints what waits for stdout, as far as it takes it. `line_limit`: lines that the run may
    /// still print.
    ///
    /// # Errors
    /// A part of the history cannot be read; the rest is printed.
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
                // `can_accept` is asked before each chunk and not again below: stdout may get room
                // right after it refused, and `is_lagging` must not end with lines unread.
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

    /// The next batches of a folder; `None` at its end. After a read error that the store passes
    /// over, no batches.
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

    /// Renders the batches that are printed. If the limit ends within one, the cursor stays before
    /// it, so that the next run prints it whole.
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
            let (position, count) = (entry.position, entry.batch.count);
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

    /// The gap that eviction made between this batch and the batch of the log read before it.
    fn gap_before(&mut self, entry: &StoredBatch) -> Option<Notice> {
        let batch = &entry.batch;
        let reached = self.reached.get(&batch.log).copied();
        // Batches that fill a gap are stored behind later ones.
        if reached.is_some_and(|reached| batch.last_sequence() <= reached) {
            return None;
        }
        self.reached
            .insert(batch.log.clone(), batch.last_sequence());
        let to = self.evicted_below.remove(&batch.log)?.min(batch.sequence) - 1;
        let from = reached? + 1;
        (from <= to).then(|| Notice::Gap {
            target: batch.log.target.clone(),
            author: Peer {
                id: batch.log.author,
                nick: batch.username.clone(),
            },
            incarnation: batch.log.incarnation,
            from,
            to,
            at: entry.local.received,
        })
    }

    /// Saves up to where stdout has taken each folder, so that after a kill the next run repeats
    /// only the lines of the last turn.
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
            // Without the saved position the next run only prints these lines once more.
            let _ = store.set_printed_position(folder, *position);
        }
    }
}

/// Finds where the last `lines` lines before `end` begin, reading segments from the last one
/// backwards. Segments that cannot be read count as empty.
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
