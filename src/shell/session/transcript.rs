//! The transcript is a cursor over the history: what the output cannot take now is read from the store when it can.
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

/// What is read from the store at a time, in bytes.
const READ_BYTES: usize = 64 * 1024;
/// How often at most, to see whether there is anything to print.
const SCAN_READS_MAX: usize = 64;
/// Events other than lines that may wait for a stalled output; older ones go first.
const QUEUED_EVENTS_MAX: usize = 1000;

/// One folder's cursor.
#[derive(Clone, Copy, Debug, Default)]
struct FolderCursor {
    position: Position,
    /// Where it began.
    start: Position,
    /// What lies before was stored by earlier runs.
    run_start: Position,
    /// From here on everything is printed, own lines and backfill too.
    backlog: Option<(Position, u64)>,
    /// Where it ends: what lies from here on is the next run's.
    end: Option<Position>,
}

pub struct Transcript {
    own_id: PeerId,
    cursors: SortedMap<FolderName, FolderCursor>,
    /// Own lines are printed.
    has_echo: bool,
    /// The output took less than there was.
    is_lagging: bool,
    /// While it does: the last line of each log that was read, and up to where the store has given it up since.
    reached: SortedMap<LogId, u64>,
    evicted_below: SortedMap<LogId, u64>,
    queued_events: VecDeque<Vec<u8>>,
    /// Chunks handed to the output, and how far the history is printed when they are out.
    in_flight: VecDeque<(u64, FolderName, Position)>,
    token: u64,
    /// Up to where lines followed that need not be printed: noted at the end of the run, or with what follows them.
    skipped: SortedMap<FolderName, Position>,
    /// Lines handed to the output that were said while this program ran.
    pub live_lines: u64,
    /// Direct messages handed to the output, each log up to a line.
    pub read_marks: SortedMap<LogId, u64>,
    /// What is printed is noted in the store.
    is_saving_positions: bool,
    /// What comes now is the next run's.
    is_stopped: bool,
}

impl Transcript {
    pub fn new(own: PeerId, echo: bool) -> Transcript {
        Transcript {
            own_id: own,
            cursors: SortedMap::new(),
            has_echo: echo,
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

    /// Begins with a folder where the last run stopped printing, or `backlog` lines before its end, whichever is earlier. `only_new`: at its end.
    /// One that stands open goes on where it is.
    pub fn open(&mut self, store: &Store, folder: &FolderName, backlog: u64, only_new: bool) {
        let end = store.end(folder);
        let printed = store.printed_position(folder).unwrap_or_default();
        if let Some(cursor) = self.cursors.get(folder) {
            self.is_lagging = true;
            // What an earlier program left unprinted before this run began stays noted as that.
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
        // What earlier runs left unprinted is not printed by this one, so it stays noted as that.
        self.is_saving_positions &=
            !only_new || self.has_nothing_to_print(store, folder, printed, end);
        if backlog > 0 && !only_new {
            let (at, skip) = find_backlog_start(store, folder, end, backlog);
            cursor.backlog = Some((at, skip));
            cursor.position = cursor.position.min(at);
        }
        self.is_lagging |= cursor.position < end;
        cursor.start = cursor.position;
        self.cursors.insert(folder.clone(), cursor);
    }

    /// Is there nothing in between that a run would print? False also where that would take long to see.
    fn has_nothing_to_print(
        &self,
        store: &Store,
        folder: &FolderName,
        mut at: Position,
        end: Position,
    ) -> bool {
        for _ in 0..SCAN_READS_MAX {
            if at >= end {
                return true;
            }
            let Ok(batches) = store.read_from(folder, &mut at, READ_BYTES) else {
                return false;
            };
            let prints = |entry: &StoredBatch| {
                let own = entry.batch.log.author == self.own_id;
                entry.position < end && !own && !entry.local.backfill
            };
            if batches.iter().any(prints) {
                return false;
            }
        }
        false
    }

    pub fn is_open(&self, folder: &FolderName) -> bool {
        self.cursors.contains_key(folder)
    }

    /// The room was left.
    pub fn close(&mut self, folder: &FolderName) {
        self.cursors.remove(folder);
    }

    /// Lines were stored that nobody showed: they are to be read.
    pub fn mark_lagging(&mut self) {
        self.is_lagging = true;
    }

    /// The store gave up what is below `low`.
    pub fn record_evicted(&mut self, log: &LogId, low: u64) {
        if self.is_lagging {
            self.evicted_below.insert(log.clone(), low);
        }
    }

    /// The run ends: what is stored by now is still printed, and no more.
    pub fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// There is more to print than the output took.
    pub fn is_lagging(&self) -> bool {
        self.is_lagging
    }

    /// Lines were stored. They are printed at once if the output keeps up, else read again later. `most`: lines that may still be printed.
    pub fn print_chat(
        &mut self,
        chat: &Chat,
        most: Option<u64>,
        store: &Store,
        face: &mut Renderer,
        printer: &OutputWriter,
    ) {
        let log = &chat.batch.log;
        let folder = &FolderName::for_log(&log.target, &log.author, &self.own_id);
        if self.is_stopped {
            return;
        }
        let Some(cursor) = self.cursors.get_mut(folder) else {
            // Said in a room that is not shown, by one who acts through this program.
            if chat.is_own && self.has_echo {
                let mut out = printer.take_buffer();
                face.append_chat(chat, chat.batch.count, &mut out);
                self.print_or_queue(out, face, printer);
            }
            return;
        };
        let left = most.map(|most| most.saturating_sub(self.live_lines));
        if left == Some(0) {
            // The next run prints it.
            return;
        }
        if self.is_lagging || !printer.can_accept() {
            self.is_lagging = true;
            if self.reached.get(log).is_none() {
                self.reached.insert(log.clone(), chat.batch.sequence - 1);
            }
            return;
        }
        cursor.position = store.end(folder);
        let at = cursor.position;
        if chat.is_own && !self.has_echo {
            self.skipped.insert(folder.clone(), at);
            return;
        }
        if most.is_some() && !chat.since_start {
            self.is_saving_positions = false;
            return;
        }
        let lines = left.map_or(chat.batch.count, |left| left.min(chat.batch.count));
        let mut out = printer.take_buffer();
        face.append_chat(chat, lines, &mut out);
        self.update_read_mark(&chat.batch);
        self.live_lines += if chat.since_start { lines } else { 0 };
        if lines < chat.batch.count {
            // Of this one a part is printed: the next run prints it whole.
            return self.send_to_stdout(face, printer, out);
        }
        self.print_tracked(face, printer, out, folder.clone(), at);
    }

    fn update_read_mark(&mut self, batch: &Batch) {
        if batch.log.target.recipient() == Some(self.own_id) {
            self.read_marks
                .insert(batch.log.clone(), batch.last_sequence());
        }
    }

    fn print_tracked(
        &mut self,
        face: &mut Renderer,
        printer: &OutputWriter,
        out: Vec<u8>,
        folder: FolderName,
        at: Position,
    ) {
        self.send_to_stdout(face, printer, out);
        self.skipped.remove(&folder);
        self.in_flight.push_back((self.token, folder, at));
    }

    /// Hands lines to the output, which has room: the caller asked. An output that broke takes nothing, and ends the run.
    fn send_to_stdout(&mut self, face: &mut Renderer, printer: &OutputWriter, lines: Vec<u8>) {
        self.token += 1;
        let _ = printer.try_send(face.compose_output(lines), self.token);
    }

    /// Lines that belong to no transcript; none, and the editor's line is only drawn anew.
    pub fn print_untracked(&mut self, lines: Vec<u8>, face: &mut Renderer, printer: &OutputWriter) {
        self.send_to_stdout(face, printer, lines);
    }

    /// Everything that is no chat.
    pub fn print_event(&mut self, notice: &Notice, face: &mut Renderer, printer: &OutputWriter) {
        let mut out = printer.take_buffer();
        face.append_notice(notice, &mut out);
        if !out.is_empty() && !self.is_stopped {
            self.print_or_queue(out, face, printer);
        }
    }

    /// What is in no folder that is shown.
    fn print_or_queue(&mut self, out: Vec<u8>, face: &mut Renderer, printer: &OutputWriter) {
        if self.is_lagging || !printer.can_accept() {
            if self.queued_events.len() >= QUEUED_EVENTS_MAX {
                self.queued_events.pop_front();
            }
            self.queued_events.push_back(out);
            self.is_lagging = true;
        } else {
            self.send_to_stdout(face, printer, out);
        }
    }

    /// Goes on where the output stopped taking, as long as it takes.
    ///
    /// # Errors
    /// A part of the history cannot be read: it is passed over.
    pub fn catch_up(
        &mut self,
        most: Option<u64>,
        store: &Store,
        face: &mut Renderer,
        printer: &OutputWriter,
    ) -> io::Result<()> {
        if !self.is_lagging {
            return Ok(());
        }
        let left = |printed: u64| most.map_or(u64::MAX, |most| most.saturating_sub(printed));
        let mut read = Ok(());
        let folders: Vec<FolderName> = self.cursors.keys().cloned().collect();
        for folder in folders {
            while left(self.live_lines) > 0 {
                // Asked once for each chunk: the output may have room again a moment after it said no, and there is still more to read.
                if !printer.can_accept() {
                    return read;
                }
                let Some(mut cursor) = self.cursors.get(&folder).copied() else {
                    break;
                };
                if self.is_stopped {
                    let until = *cursor.end.get_or_insert(store.end(&folder));
                    if cursor.position >= until {
                        break;
                    }
                }
                let before = cursor.position;
                let batches = match store.read_from(&folder, &mut cursor.position, READ_BYTES) {
                    Ok(batches) if batches.is_empty() => break,
                    Ok(batches) => batches,
                    Err(error) => {
                        read = Err(error);
                        if cursor.position == before {
                            break;
                        }
                        Vec::new()
                    }
                };
                let mut out = printer.take_buffer();
                for entry in batches {
                    let earlier = entry.position < cursor.run_start;
                    let from_backlog = cursor.backlog.filter(|(at, _)| entry.position >= *at);
                    let own = entry.batch.log.author == self.own_id;
                    // What was missed is the next run's.
                    let missed = most.is_some() && entry.local.before_start;
                    self.is_saving_positions &= !missed || own || entry.local.backfill;
                    let shown = !missed
                        && match from_backlog {
                            Some(_) => earlier || self.has_echo || !own,
                            None => !entry.local.backfill && (!own || self.has_echo && !earlier),
                        };
                    let (at, count) = (entry.position, entry.batch.count);
                    let lines = left(self.live_lines).min(count);
                    let missing = self.gap_before(&entry);
                    if shown {
                        if let Some(gap) = missing {
                            face.append_notice(&gap, &mut out);
                        }
                        let skip = from_backlog
                            .filter(|(at, _)| entry.position == *at)
                            .map_or(0, |(_, skip)| skip);
                        self.live_lines += lines;
                        self.update_read_mark(&entry.batch);
                        face.append_stored(entry, own, skip, lines, &mut out);
                        if lines < count {
                            // The next run prints it whole, and what follows.
                            cursor.position = at;
                            break;
                        }
                    }
                }
                self.cursors.insert(folder.clone(), cursor);
                self.print_tracked(face, printer, out, folder.clone(), cursor.position);
            }
        }
        while let Some(event) = self.queued_events.pop_front_if(|_| printer.can_accept()) {
            self.send_to_stdout(face, printer, event);
        }
        self.is_lagging = !self.queued_events.is_empty();
        if !self.is_lagging {
            self.reached = SortedMap::new();
            self.evicted_below = SortedMap::new();
        }
        read
    }

    /// What the store gave up between this and what was read before it of the log.
    fn gap_before(&mut self, entry: &StoredBatch) -> Option<Notice> {
        let batch = &entry.batch;
        // What was missing stands behind what it comes before.
        let reached = self.reached.get(&batch.log).copied();
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

    /// Notes in the store what stdout has taken, so that a run that is killed repeats no more than its last turn.
    pub fn save_printed_positions(&mut self, store: &mut Store, printer: &OutputWriter) {
        let out = printer.written_token();
        let taken = self
            .in_flight
            .partition_point(|(token, _, _)| *token <= out);
        let mut reached: Vec<(FolderName, Position)> = Vec::new();
        for (_, folder, at) in self.in_flight.drain(..taken) {
            match reached.iter_mut().find(|(of, _)| *of == folder) {
                Some((_, reached)) => *reached = at,
                None => reached.push((folder, at)),
            }
        }
        if self.is_stopped && out >= self.token && !self.is_lagging {
            reached.extend(std::mem::take(&mut self.skipped));
        }
        for (folder, at) in reached.iter().filter(|_| self.is_saving_positions) {
            // A note that cannot be written only makes the next run print these lines once more.
            let _ = store.set_printed_position(folder, *at);
        }
    }
}

/// Where the last `lines` lines before `end` begin: the batch, and how many of its lines come before them. Of the segments only so many are
/// read as hold them; what cannot be read holds none.
fn find_backlog_start(
    store: &Store,
    folder: &FolderName,
    end: Position,
    lines: u64,
) -> (Position, u64) {
    let (mut first, mut sum) = (end, 0);
    for number in store.segment_numbers(folder).into_iter().rev() {
        let mut held: Vec<(Position, u64)> = Vec::new();
        let mut at = Position {
            segment: number,
            ..Position::default()
        };
        while at.segment == number
            && let Ok(batches) = store.read_from(folder, &mut at, READ_BYTES)
            && !batches.is_empty()
        {
            let inside = |at: Position| at.segment == number && at < end;
            let entries = batches.iter().filter(|entry| inside(entry.position));
            held.extend(entries.map(|entry| (entry.position, entry.batch.count)));
        }
        for (at, count) in held.into_iter().rev() {
            (first, sum) = (at, sum + count);
            if sum >= lines {
                return (first, sum - lines);
            }
        }
    }
    (first, 0)
}
