//! The one order of all lines: (lamport, sender, incarnation, sequence), the sender as its id is written. It is the same wherever the
//! same lines are held, whenever they came.
//!
//! Segments are merged, and each is in memory, as the places of its batches, only while it overlaps others.
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::base::batch::{Batch, LogId};
use crate::base::identity::NetworkTag;
use crate::base::table::{Set, Table};
use crate::shell::store::recovery::Keys;
use crate::shell::store::scan::{Archive, Index};

/// Files that are open at a time.
const FILES_MAX: usize = 32;

/// Where a line stands in the order, as bytes that compare so: lamport, sender, incarnation, sequence, room. The room comes last, for only
/// an author that breaks the rules has one number in two of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key([u8; KEY]);

const SENDER: usize = 8;
const INCARNATION: usize = SENDER + 52;
const SEQUENCE: usize = INCARNATION + 8;
const ROOM: usize = SEQUENCE + 8;
const KEY: usize = ROOM + 8;

impl Key {
    /// Of a batch's first line.
    fn new(batch: &Batch, room: usize) -> Key {
        let mut key = Key([0; KEY]);
        key.put(0, batch.lamport);
        let id = batch.log.author.to_string();
        for (to, from) in key.0.iter_mut().skip(SENDER).zip(id.bytes()) {
            *to = from;
        }
        key.put(INCARNATION, batch.log.incarnation);
        key.put(SEQUENCE, batch.sequence);
        key.put(ROOM, room as u64);
        key
    }

    fn put(&mut self, at: usize, number: u64) {
        self.0[at..at + 8].copy_from_slice(&number.to_be_bytes());
    }

    fn number(&self, at: usize) -> u64 {
        let bytes = self.0[at..at + 8].iter();
        bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn lamport(&self) -> u64 {
        self.number(0)
    }

    /// Of the line so many further on in the batch.
    fn after(mut self, lines: u64) -> Key {
        self.put(0, self.lamport().saturating_add(lines));
        self.put(SEQUENCE, self.number(SEQUENCE).saturating_add(lines));
        self
    }

    /// How many lines from this one on, one after the other, stand before that one.
    fn lines_before(&self, other: &Key) -> u64 {
        let between = other.lamport().saturating_sub(self.lamport());
        between + u64::from(self.after(between) < *other)
    }
}

/// A stored batch that was not yet read for good.
struct Entry {
    key: Key,
    at: u64,
    length: usize,
}

/// A segment whose turn it is.
struct Active {
    /// Its place in the index.
    segment: usize,
    /// From the last in the order to the first.
    entries: Vec<Entry>,
}

/// A batch whose turn it is.
struct Open {
    /// Of the next line.
    key: Key,
    batch: Batch,
    /// All lines, each ended by `\n`.
    text: String,
    /// Where the next line begins in the text.
    at: usize,
    missing: Option<(u64, u64)>,
}

/// Consecutive lines of one batch.
pub struct Run<'a> {
    pub batch: &'a Batch,
    /// Number of the first of them in the batch, from 0.
    pub first: u64,
    pub count: u64,
    /// Each ended by `\n`.
    pub lines: &'a str,
    /// Lines of the log that are missing right before: from the first to the last.
    pub missing: Option<(u64, u64)>,
}

/// Goes over all lines in the one order.
pub struct Merge<'a> {
    archive: &'a Archive<'a>,
    index: &'a Index,
    network: NetworkTag,
    /// Segments whose turn is yet to come, by their least Lamport numbers.
    waiting: Set<(u64, usize)>,
    active: Vec<Active>,
    open: Vec<Open>,
    /// The last line of each log so far.
    seen: Table<LogId, u64>,
    last: Option<Key>,
    /// Segments and their files, the least lately used first.
    files: Vec<(usize, File)>,
    keys: Keys,
}

impl<'a> Merge<'a> {
    /// From the Lamport number `cut` on; some lines before it come, too, but not all.
    pub fn new(
        archive: &'a Archive<'a>,
        index: &'a Index,
        network: NetworkTag,
        cut: u64,
    ) -> Merge<'a> {
        Merge {
            archive,
            index,
            network,
            waiting: index.by_least(cut),
            active: Vec::new(),
            open: Vec::new(),
            seen: index.highs_below(cut),
            last: None,
            files: Vec::new(),
            keys: Keys::default(),
        }
    }

    /// The next lines.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn advance(&mut self) -> io::Result<Option<Run<'_>>> {
        self.open.retain(|open| open.at < open.text.len());
        self.active.retain(|active| !active.entries.is_empty());
        loop {
            let batch = first(self.active.iter().map(|a| a.entries.last().map(|e| &e.key)));
            let open = first(self.open.iter().map(|open| Some(&open.key)));
            let least = batch.into_iter().chain(open).map(|(_, key)| key).min();
            if let Some(waiting) = self.waiting.iter().next().copied()
                && least.is_none_or(|key| waiting.0 <= key.lamport())
            {
                self.waiting.remove(&waiting);
                self.activate(waiting.1)?;
                continue;
            }
            match (batch, open) {
                (Some((active, key)), open) if open.is_none_or(|(_, other)| key < other) => {
                    self.open_batch(active)?;
                }
                (_, Some((open, _))) => return Ok(Some(self.run(open))),
                _ => return Ok(None),
            }
        }
    }

    /// As many lines of an open batch, which is the first in the order, as stand before everything else.
    fn run(&mut self, open: usize) -> Run<'_> {
        let key = &self.open[open].key;
        let others = self.open.iter().enumerate();
        let others = others.filter(|(i, _)| *i != open).map(|(_, o)| &o.key);
        let entries = self.active.iter().filter_map(|a| a.entries.last());
        let mut count = others
            .chain(entries.map(|entry| &entry.key))
            .map(|other| key.lines_before(other))
            .min()
            .unwrap_or(u64::MAX);
        if let Some((least, _)) = self.waiting.iter().next() {
            count = count.min(least.saturating_sub(key.lamport()));
        }
        let open = &mut self.open[open];
        let first = open.key.number(SEQUENCE) - open.batch.sequence;
        // Two logs with one key cannot be; if they were, each would wait for the other.
        let count = count.clamp(1, open.batch.count - first);
        let rest = &open.text[open.at..];
        let length = if count == open.batch.count - first {
            rest.len()
        } else {
            let lines = rest.split_inclusive('\n').take(count as usize);
            lines.map(str::len).sum()
        };
        let lines = open.at..open.at + length;
        open.at = lines.end;
        open.key = open.key.after(count);
        Run {
            batch: &open.batch,
            first,
            count,
            lines: &open.text[lines],
            missing: open.missing.take(),
        }
    }

    fn open_batch(&mut self, active: usize) -> io::Result<()> {
        let Some(entry) = self.active[active].entries.pop() else {
            return Ok(());
        };
        // What lay below a gap once may have been stored a second time.
        if self.last.as_ref() == Some(&entry.key) {
            return Ok(());
        }
        let segment = self.active[active].segment;
        let Some(batch) = self.read(segment, &entry)? else {
            // The file was replaced by one without its oldest lines.
            self.files.retain(|(of, _)| *of != segment);
            self.active.remove(active);
            return self.activate(segment);
        };
        let mut text = String::with_capacity(batch.bytes().len());
        batch.each_line(|line| {
            text.push_str(line);
            text.push('\n');
        });
        let seen = self.seen.get_or_default(batch.log.clone());
        let missing =
            (*seen > 0 && batch.sequence > *seen + 1).then(|| (*seen + 1, batch.sequence - 1));
        *seen = (*seen).max(batch.last());
        self.last = Some(entry.key);
        self.open.push(Open {
            key: entry.key,
            batch,
            text,
            at: 0,
            missing,
        });
        Ok(())
    }

    /// Sorts what a segment holds and was not yet handed out.
    fn activate(&mut self, segment: usize) -> io::Result<()> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut sound = true;
        let Some(summary) = self.index.segments.get(segment) else {
            return Ok(());
        };
        let Some(folder) = self.index.folders.get(summary.folder) else {
            return Ok(());
        };
        let of_room = folder.room();
        let doubtful = self.archive.is_doubtful();
        let mut heads: Table<LogId, Batch> = Table::new();
        self.archive
            .each_line(folder, summary.number, &mut |at, line| {
                let Ok((batch, _)) = Batch::from_stored(line, &self.network) else {
                    return;
                };
                if batch.log.target.room() != of_room.as_ref() {
                    return;
                }
                let key = Key::new(&batch, summary.folder);
                // Nearly always the last place: what comes is mostly newer than what came.
                let place = entries.partition_point(|entry| entry.key < key);
                let length = line.len();
                entries.insert(place, Entry { key, at, length });
                if !doubtful {
                    return;
                }
                let (sequence, previous) = (batch.sequence, batch.previous);
                let before = heads.insert(batch.log.clone(), batch);
                let skipped = before.filter(|before| {
                    before.last() + 1 != sequence || previous != Some(before.hash)
                });
                sound &= skipped.is_none_or(|before| self.keys.verify(&before));
            })?;
        // As at a start: a batch that the next one names holds if that one does, so one signature of each log covers all.
        if !(sound && heads.values().all(|batch| self.keys.verify(batch))) {
            entries = self.verified(segment, entries)?;
        }
        if let Some(last) = &self.last {
            entries.retain(|entry| entry.key > *last);
        }
        entries.reverse();
        self.active.push(Active { segment, entries });
        Ok(())
    }

    /// Those whose own signature holds: somewhere in the segment is damage.
    fn verified(&mut self, segment: usize, entries: Vec<Entry>) -> io::Result<Vec<Entry>> {
        let mut sound = Vec::new();
        for entry in entries {
            if let Some(batch) = self.read(segment, &entry)?
                && self.keys.verify(&batch)
            {
                sound.push(entry);
            }
        }
        Ok(sound)
    }

    /// `None`: it is no more where it was.
    fn read(&mut self, segment: usize, entry: &Entry) -> io::Result<Option<Batch>> {
        let summary = &self.index.segments[segment];
        let folder = &self.index.folders[summary.folder];
        let mut line = Vec::new();
        if let Archive::Memory(memory) = self.archive {
            line.extend_from_slice(memory.line(folder, entry.at).unwrap_or_default());
        } else {
            let file = match self.files.iter().position(|(of, _)| *of == segment) {
                Some(at) => self.files.remove(at).1,
                None => match self.archive.open(folder, summary.number)? {
                    Some(file) => file,
                    None => return Ok(None),
                },
            };
            line.resize(entry.length, 0);
            let read = file.read_exact_at(&mut line, entry.at);
            if self.files.len() >= FILES_MAX {
                self.files.remove(0);
            }
            self.files.push((segment, file));
            match read {
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                read => read?,
            }
        }
        let batch = Batch::from_stored(&line, &self.network).ok();
        Ok(batch
            .map(|(batch, _)| batch)
            .filter(|batch| Key::new(batch, summary.folder) == entry.key))
    }
}

/// The least key, and which one has it.
fn first<'k>(keys: impl Iterator<Item = Option<&'k Key>>) -> Option<(usize, &'k Key)> {
    let keys = keys.enumerate();
    keys.filter_map(|(i, key)| Some((i, key?)))
        .min_by(|a, b| a.1.cmp(b.1))
}
