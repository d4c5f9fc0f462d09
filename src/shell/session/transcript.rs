//! The transcript is a cursor over the history: what the output cannot take now is read from the store when it can.
use std::collections::VecDeque;
use std::io;

use crate::base::batch::{Batch, LogId};
use crate::base::event::{Chat, Notice, Peer, Position, Stored};
use crate::base::identity::PeerId;
use crate::base::name::Folder;
use crate::base::table::Table;
use crate::shell::session::renderer::Face;
use crate::shell::stdio::stdout::Printer;
use crate::shell::store::store::Store;

/// What is read from the store at a time, in bytes.
const READ_BYTES: usize = 64 * 1024;
/// How often at most, to see whether there is anything to print.
const LOOKS: usize = 64;
/// Events other than lines that may wait for a stalled output; older ones go first.
const EVENTS_MAX: usize = 1000;

/// One folder's cursor.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    at: Position,
    /// Where it began.
    from: Position,
    /// What lies before was stored by earlier runs.
    run: Position,
    /// From here on everything is printed, own lines and backfill too.
    backlog: Option<(Position, u64)>,
    /// Where it ends: what lies from here on is the next run's.
    until: Option<Position>,
}

pub struct Transcript {
    own: PeerId,
    cursors: Table<Folder, Cursor>,
    /// Own lines are printed.
    echo: bool,
    /// The output took less than there was.
    lagging: bool,
    /// While it does: the last line of each log that was read, and up to where the store has given it up since.
    reached: Table<LogId, u64>,
    given_up: Table<LogId, u64>,
    events: VecDeque<Vec<u8>>,
    /// Chunks handed to the output, and how far the history is printed when they are out.
    handed: VecDeque<(u64, Folder, Position)>,
    token: u64,
    /// Up to where lines followed that need not be printed: noted at the end of the run, or with what follows them.
    passed: Table<Folder, Position>,
    /// Lines handed to the output that were said while this program ran.
    pub lines: u64,
    /// Direct messages handed to the output, each log up to a line.
    pub shown: Table<LogId, u64>,
    /// What is printed is noted in the store.
    notes: bool,
    /// What comes now is the next run's.
    stopped: bool,
}

impl Transcript {
    pub fn new(own: PeerId, echo: bool) -> Transcript {
        Transcript {
            own,
            cursors: Table::new(),
            echo,
            lagging: false,
            reached: Table::new(),
            given_up: Table::new(),
            events: VecDeque::new(),
            handed: VecDeque::new(),
            token: 0,
            passed: Table::new(),
            lines: 0,
            shown: Table::new(),
            notes: true,
            stopped: false,
        }
    }

    /// Begins with a folder where the last run stopped printing, or `backlog` lines before its end, whichever is earlier. `only_new`: at its end.
    /// One that stands open goes on where it is.
    pub fn open(&mut self, store: &Store, folder: &Folder, backlog: u64, only_new: bool) {
        let end = store.end(folder);
        let printed = store.printed(folder).unwrap_or_default();
        if let Some(cursor) = self.cursors.get(folder) {
            self.lagging = true;
            // What an earlier program left unprinted before this run began stays noted as that.
            self.notes &= printed >= cursor.from;
            return;
        }
        let mut cursor = Cursor {
            at: if only_new { end } else { printed },
            from: Position::default(),
            run: end,
            backlog: None,
            until: None,
        };
        // What earlier runs left unprinted is not printed by this one, so it stays noted as that.
        self.notes &= !only_new || self.nothing_new(store, folder, printed, end);
        if backlog > 0 && !only_new {
            let (at, skip) = last_lines(store, folder, end, backlog);
            cursor.backlog = Some((at, skip));
            cursor.at = cursor.at.min(at);
        }
        self.lagging |= cursor.at < end;
        cursor.from = cursor.at;
        self.cursors.insert(folder.clone(), cursor);
    }

    /// Is there nothing in between that a run would print? False also where that would take long to see.
    fn nothing_new(&self, store: &Store, folder: &Folder, mut at: Position, end: Position) -> bool {
        for _ in 0..LOOKS {
            if at >= end {
                return true;
            }
            let Ok(batches) = store.read_on(folder, &mut at, READ_BYTES) else {
                return false;
            };
            let prints = |entry: &Stored| {
                let own = entry.batch.log.author == self.own;
                entry.at < end && !own && !entry.local.backfill
            };
            if batches.iter().any(prints) {
                return false;
            }
        }
        false
    }

    pub fn is_open(&self, folder: &Folder) -> bool {
        self.cursors.contains_key(folder)
    }

    /// The room was left.
    pub fn close(&mut self, folder: &Folder) {
        self.cursors.remove(folder);
    }

    /// Lines were stored that nobody showed: they are to be read.
    pub fn behind(&mut self) {
        self.lagging = true;
    }

    /// The store gave up what is below `low`.
    pub fn dropped(&mut self, log: &LogId, low: u64) {
        if self.lagging {
            self.given_up.insert(log.clone(), low);
        }
    }

    /// The run ends: what is stored by now is still printed, and no more.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// There is more to print than the output took.
    pub fn is_lagging(&self) -> bool {
        self.lagging
    }

    /// Lines were stored. They are printed at once if the output keeps up, else read again later. `most`: lines that may still be printed.
    pub fn chat(
        &mut self,
        chat: &Chat,
        most: Option<u64>,
        store: &Store,
        face: &mut Face,
        printer: &Printer,
    ) {
        let log = &chat.batch.log;
        let folder = &Folder::of(&log.target, &log.author, &self.own);
        if self.stopped {
            return;
        }
        let Some(cursor) = self.cursors.get_mut(folder) else {
            // Said in a room that is not shown, by one who acts through this program.
            if chat.own && self.echo {
                let mut out = printer.buffer();
                face.chat(chat, chat.batch.count, &mut out);
                self.aside(out, face, printer);
            }
            return;
        };
        let left = most.map(|most| most.saturating_sub(self.lines));
        if left == Some(0) {
            // The next run prints it.
            return;
        }
        if self.lagging || !printer.room() {
            self.lagging = true;
            if self.reached.get(log).is_none() {
                self.reached.insert(log.clone(), chat.batch.sequence - 1);
            }
            return;
        }
        cursor.at = store.end(folder);
        let at = cursor.at;
        if chat.own && !self.echo {
            self.passed.insert(folder.clone(), at);
            return;
        }
        if most.is_some() && !chat.during {
            self.notes = false;
            return;
        }
        let lines = left.map_or(chat.batch.count, |left| left.min(chat.batch.count));
        let mut out = printer.buffer();
        face.chat(chat, lines, &mut out);
        self.note_shown(&chat.batch);
        self.lines += if chat.during { lines } else { 0 };
        if lines < chat.batch.count {
            // Of this one a part is printed: the next run prints it whole.
            return self.print(face, printer, out);
        }
        self.hand(face, printer, out, folder.clone(), at);
    }

    fn note_shown(&mut self, batch: &Batch) {
        if batch.log.target.reader() == Some(self.own) {
            self.shown.insert(batch.log.clone(), batch.last());
        }
    }

    fn hand(
        &mut self,
        face: &mut Face,
        printer: &Printer,
        out: Vec<u8>,
        folder: Folder,
        at: Position,
    ) {
        self.print(face, printer, out);
        self.passed.remove(&folder);
        self.handed.push_back((self.token, folder, at));
    }

    /// Hands lines to the output, which has room: the caller asked. An output that broke takes nothing, and ends the run.
    fn print(&mut self, face: &mut Face, printer: &Printer, lines: Vec<u8>) {
        self.token += 1;
        let _ = printer.try_send(face.dress(lines), self.token);
    }

    /// Lines that belong to no transcript; none, and the editor's line is only drawn anew.
    pub fn print_now(&mut self, lines: Vec<u8>, face: &mut Face, printer: &Printer) {
        self.print(face, printer, lines);
    }

    /// Everything that is no chat.
    pub fn event(&mut self, notice: &Notice, face: &mut Face, printer: &Printer) {
        let mut out = printer.buffer();
        face.notice(notice, &mut out);
        if !out.is_empty() && !self.stopped {
            self.aside(out, face, printer);
        }
    }

    /// What is in no folder that is shown.
    fn aside(&mut self, out: Vec<u8>, face: &mut Face, printer: &Printer) {
        if self.lagging || !printer.room() {
            if self.events.len() >= EVENTS_MAX {
                self.events.pop_front();
            }
            self.events.push_back(out);
            self.lagging = true;
        } else {
            self.print(face, printer, out);
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
        face: &mut Face,
        printer: &Printer,
    ) -> io::Result<()> {
        if !self.lagging {
            return Ok(());
        }
        let left = |printed: u64| most.map_or(u64::MAX, |most| most.saturating_sub(printed));
        let mut read = Ok(());
        let folders: Vec<Folder> = self.cursors.keys().cloned().collect();
        for folder in folders {
            while left(self.lines) > 0 {
                // Asked once for each chunk: the output may have room again a moment after it said no, and there is still more to read.
                if !printer.room() {
                    return read;
                }
                let Some(mut cursor) = self.cursors.get(&folder).copied() else {
                    break;
                };
                if self.stopped {
                    let until = *cursor.until.get_or_insert(store.end(&folder));
                    if cursor.at >= until {
                        break;
                    }
                }
                let before = cursor.at;
                let batches = match store.read_on(&folder, &mut cursor.at, READ_BYTES) {
                    Ok(batches) if batches.is_empty() => break,
                    Ok(batches) => batches,
                    Err(error) => {
                        read = Err(error);
                        if cursor.at == before {
                            break;
                        }
                        Vec::new()
                    }
                };
                let mut out = printer.buffer();
                for entry in batches {
                    let earlier = entry.at < cursor.run;
                    let from_backlog = cursor.backlog.filter(|(at, _)| entry.at >= *at);
                    let own = entry.batch.log.author == self.own;
                    // What was missed is the next run's.
                    let missed = most.is_some() && entry.local.before;
                    self.notes &= !missed || own || entry.local.backfill;
                    let shown = !missed
                        && match from_backlog {
                            Some(_) => earlier || self.echo || !own,
                            None => !entry.local.backfill && (!own || self.echo && !earlier),
                        };
                    let (at, count) = (entry.at, entry.batch.count);
                    let lines = left(self.lines).min(count);
                    let missing = self.missing(&entry);
                    if shown {
                        if let Some(gap) = missing {
                            face.notice(&gap, &mut out);
                        }
                        let skip = from_backlog
                            .filter(|(at, _)| entry.at == *at)
                            .map_or(0, |(_, skip)| skip);
                        self.lines += lines;
                        self.note_shown(&entry.batch);
                        face.stored(entry, own, skip, lines, &mut out);
                        if lines < count {
                            // The next run prints it whole, and what follows.
                            cursor.at = at;
                            break;
                        }
                    }
                }
                self.cursors.insert(folder.clone(), cursor);
                self.hand(face, printer, out, folder.clone(), cursor.at);
            }
        }
        while let Some(event) = self.events.pop_front_if(|_| printer.room()) {
            self.print(face, printer, event);
        }
        self.lagging = !self.events.is_empty();
        if !self.lagging {
            self.reached = Table::new();
            self.given_up = Table::new();
        }
        read
    }

    /// What the store gave up between this and what was read before it of the log.
    fn missing(&mut self, entry: &Stored) -> Option<Notice> {
        let batch = &entry.batch;
        // What was missing stands behind what it comes before.
        let reached = self.reached.get(&batch.log).copied();
        if reached.is_some_and(|reached| batch.last() <= reached) {
            return None;
        }
        self.reached.insert(batch.log.clone(), batch.last());
        let to = self.given_up.remove(&batch.log)?.min(batch.sequence) - 1;
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
    pub fn note_printed(&mut self, store: &mut Store, printer: &Printer) {
        let out = printer.printed();
        let taken = self.handed.partition_point(|(token, _, _)| *token <= out);
        let mut reached: Vec<(Folder, Position)> = Vec::new();
        for (_, folder, at) in self.handed.drain(..taken) {
            match reached.iter_mut().find(|(of, _)| *of == folder) {
                Some((_, reached)) => *reached = at,
                None => reached.push((folder, at)),
            }
        }
        if self.stopped && out >= self.token && !self.lagging {
            reached.extend(std::mem::take(&mut self.passed));
        }
        for (folder, at) in reached.iter().filter(|_| self.notes) {
            // A note that cannot be written only makes the next run print these lines once more.
            let _ = store.set_printed(folder, *at);
        }
    }
}

/// Where the last `lines` lines before `end` begin: the batch, and how many of its lines come before them. Of the segments only so many are
/// read as hold them; what cannot be read holds none.
fn last_lines(store: &Store, folder: &Folder, end: Position, lines: u64) -> (Position, u64) {
    let (mut first, mut sum) = (end, 0);
    for number in store.segments(folder).into_iter().rev() {
        let mut held: Vec<(Position, u64)> = Vec::new();
        let mut at = Position {
            segment: number,
            ..Position::default()
        };
        while at.segment == number
            && let Ok(batches) = store.read_on(folder, &mut at, READ_BYTES)
            && !batches.is_empty()
        {
            let inside = |at: Position| at.segment == number && at < end;
            let entries = batches.iter().filter(|entry| inside(entry.at));
            held.extend(entries.map(|entry| (entry.at, entry.batch.count)));
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
