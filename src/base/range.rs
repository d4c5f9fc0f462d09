//! Which lines of a log are stored: a range of sequences with at most [`GAPS_MAX`] gaps.
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::batch::batch::{Batch, LocalFields, LogId};
use super::identity::Hash;
use super::republished_lines::RepublishedLines;
use super::table::{Record, RecordMap};
use super::time::CLOCK_ERROR_MAX_MS;

/// Maximum number of gaps in one log. If a further gap appears, the log forgets its lowest gap and
/// the stored lines below that gap. To refuse the lines above the new gap would lose more of them:
/// a relay with a small store leaves gap after gap.
///
/// If the further gap is due to damage, the two lowest gaps become one instead: the lines between
/// them count as lost, too, and are requested again.
pub const GAPS_MAX: usize = 4;
/// Number of lines of each log that a newcomer to a room requests first. These are the newest lines
/// of the log.
pub const BACKFILL_LINES: u64 = 1000;

/// The stored lines of one log: intervals of sequences, separated by gaps. The top interval is
/// `low` to `high`. Each other interval lies directly below a gap. If the log's beginning is
/// missing, the interval below the first gap is empty. Intervals and gaps consist of whole batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRange {
    /// The log.
    pub log: LogId,
    /// Sequence of the first line of the top interval.
    pub low: u64,
    /// The head: the highest stored sequence. 0 if no line is stored.
    pub high: u64,
    /// Hash of the batch that ends at `high`.
    pub hash: Hash,
    /// Lamport number of the line with the sequence `high`.
    pub lamport: u64,
    /// The lines of a forked log that this log publishes again. Boxed, because it is rare and there
    /// are many ranges.
    pub republishes: Option<Box<RepublishedLines>>,
    /// Lines below this sequence are missing but form no gap, because they were not news. 1 if
    /// there are no such lines.
    pub begins_at: u64,
    /// Sequence of the line after the highest forgotten gap. 1 if no gap was forgotten.
    pub lost_below: u64,
    /// The lowest Lamport number that [`LogRange::record_news`] found. All lines of the author with
    /// higher ones are news for the reader. `None`: unknown.
    pub news_from: Option<u64>,
    /// The gaps below `low`, in ascending order. At most [`GAPS_MAX`].
    pub gaps: Vec<Gap>,
}

/// The ranges of some logs, sorted by log. The core, the store and an audit share ranges; who
/// changes a shared range gets a copy.
pub type LogRanges = RecordMap<Arc<LogRange>>;

impl FromIterator<LogRange> for LogRanges {
    fn from_iter<I: IntoIterator<Item = LogRange>>(ranges: I) -> LogRanges {
        ranges.into_iter().map(Arc::new).collect()
    }
}

impl Record for LogRange {
    type Key = LogId;

    fn key(&self) -> &LogId {
        &self.log
    }
}

/// Lines missing in a log: the sequences `from` to `to`. The line above the gap is stored. The line
/// below the gap is stored as well, unless the gap is at the log's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Sequence of the first line of the stored interval below the gap. Equals `from` if that
    /// interval is empty.
    pub stored_from: u64,
    /// Sequence of the first missing line.
    pub from: u64,
    /// Sequence of the last missing line.
    pub to: u64,
    /// Hash of the last stored batch below the gap. `None` if no line below the gap is stored.
    pub previous_hash: Option<Hash>,
    /// Hash of the last missing batch. The batch above the gap contains it as `previous`.
    pub last_hash: Hash,
    /// Whether the lines were printed before the disk lost them. They are no news when they come
    /// again.
    pub was_printed: bool,
}

/// Lines that the store has lost: whole batches of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostLines {
    /// The log.
    pub log: LogId,
    /// The sequences of the lines.
    pub lines: RangeInclusive<u64>,
    /// Hash of the stored batch directly below these lines. `None`: there is none.
    pub hash_below: Option<Hash>,
    /// What the stored batch directly above these lines names as `previous`. `None`: there is none.
    pub previous_above: Option<Hash>,
    /// See [`Gap::was_printed`].
    pub was_printed: bool,
}

/// What [`LogRange::remove`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// None of the lines counted as stored. The range is unchanged.
    Nothing,
    /// Lines were removed, and others are left.
    Part,
    /// No line is left. The range is unchanged, and the caller must forget it.
    All,
}

/// Consecutive stored lines.
#[derive(Clone, Copy)]
struct Interval {
    /// Sequence of the first line.
    first: u64,
    /// Sequence of the last line.
    last: u64,
    /// What the first batch names as `previous`. `None`: unknown, or there is no line below.
    previous: Option<Hash>,
    /// Hash of the last batch.
    hash: Hash,
}

impl Gap {
    /// Is the first line of the batch missing here?
    fn has_beginning_of(&self, batch: &Batch) -> bool {
        (self.from..=self.to).contains(&batch.sequence)
    }

    /// Does a batch that begins in the gap end there as well, and fit the hash chain where it
    /// touches the lines around the gap? At the beginning of the gap, its `previous` must be the
    /// hash of the batch below the gap. At the end of the gap, its own hash must be `last_hash`.
    fn accepts(&self, batch: &Batch) -> bool {
        let follows = |hash| batch.previous == Some(hash);
        batch.last_sequence() <= self.to
            && (self.from < batch.sequence || self.previous_hash.is_none_or(follows))
            && (batch.last_sequence() < self.to || batch.hash == self.last_hash)
    }
}

impl LogRange {
    /// The range of a log of which no line is stored.
    pub fn empty(log: LogId) -> LogRange {
        LogRange {
            log,
            low: 1,
            high: 0,
            hash: Hash([0; 32]),
            lamport: 0,
            republishes: None,
            begins_at: 1,
            lost_below: 1,
            news_from: None,
            gaps: Vec::new(),
        }
    }

    /// Begins a log with the first batch that is stored of it. `is_news`: whether the batch is news
    /// for the reader. If it is, earlier lines may be news as well, so they become a gap.
    pub fn begin(batch: &Batch, is_news: bool) -> LogRange {
        let wanted_from = if is_news { 1 } else { batch.sequence };
        let mut range = LogRange {
            low: wanted_from,
            high: wanted_from - 1,
            republishes: batch.republishes.map(Box::new),
            begins_at: wanted_from,
            ..LogRange::empty(batch.log.clone())
        };
        range.extend(batch);
        range
    }

    /// Records a batch that was stored with these local fields, if it shows from which Lamport
    /// number on the author's lines are news. The batch must be news, and its signed timestamp must
    /// agree with our clock: a relay may lie about the clocks of an author, and lines of an author
    /// without a clock have low Lamport numbers. A direct message shows nothing, because it is
    /// always news.
    pub fn record_news(&mut self, batch: &Batch, local: LocalFields) {
        let is_dated = local.received.0.abs_diff(batch.timestamp.0) <= CLOCK_ERROR_MAX_MS;
        if local.backfill || !is_dated || batch.log.target.room().is_none() {
            return;
        }
        let first = self.news_from.unwrap_or(u64::MAX).min(batch.lamport);
        self.news_from = Some(first);
    }

    /// Adds a stored batch. The batch fills a gap or becomes the new head. If lines between the old
    /// head and the batch are missing, they become a gap.
    pub fn extend(&mut self, batch: &Batch) {
        if batch.last_sequence() <= self.high {
            self.fill_gap(batch);
            return;
        }
        if let Some(last_hash) = batch.previous.filter(|_| batch.sequence > self.high + 1) {
            if !self.has_place_for_gap() {
                self.lost_below = self.gaps.remove(0).to + 1;
            }
            self.gaps.push(Gap {
                stored_from: self.low,
                from: self.high + 1,
                to: batch.sequence - 1,
                previous_hash: (self.high > 0).then_some(self.hash),
                last_hash,
                was_printed: false,
            });
            self.low = batch.sequence;
        }
        self.high = batch.last_sequence();
        self.hash = batch.hash;
        self.lamport = batch.lamport + batch.count - 1;
    }

    /// Adds a stored batch, as [`LogRange::extend`] does. If lines before the batch are missing,
    /// the disk has lost them. Forgets no gap: at [`GAPS_MAX`], the two lowest become one.
    /// `was_printed`: see [`Gap::was_printed`].
    pub fn extend_after_damage(&mut self, batch: &Batch, was_printed: bool) {
        let leaves_gap = batch.sequence > self.high + 1;
        if leaves_gap {
            self.limit_gaps(GAPS_MAX - 1);
        }
        self.extend(batch);
        if let Some(gap) = self.gaps.last_mut().filter(|_| leaves_gap) {
            gap.was_printed = was_printed;
        }
    }

    /// Joins the lowest gaps until there are at most `max`.
    fn limit_gaps(&mut self, max: usize) {
        while self.gaps.len() > max {
            let lowest = self.gaps.remove(0);
            let joined = &mut self.gaps[0];
            joined.stored_from = lowest.stored_from;
            joined.from = lowest.from;
            joined.previous_hash = lowest.previous_hash;
            joined.was_printed &= lowest.was_printed;
        }
    }

    /// Whether lines next to the lost ones were stored after the loss was found. The hashes that
    /// link these lines to the lost ones are then unknown.
    pub fn has_grown_around(&self, lost: &LostLines) -> bool {
        let (from, to) = (lost.lines.start(), lost.lines.end());
        self.stored_lines().any(|lines| {
            let grew_below = lost.hash_below.is_none() && lines.contains(from);
            let grew_above = lost.previous_above.is_none() && lines.contains(to);
            grew_below && lines.start() < from || grew_above && to < lines.end()
        })
    }

    /// Removes lines that the store has lost. They become a gap, unless they are the head: the log
    /// then ends before them. Removes nothing if the range [has
    /// grown](LogRange::has_grown_around) around them.
    pub fn remove(&mut self, lost: &LostLines) -> Removal {
        if self.has_grown_around(lost) {
            return Removal::Nothing;
        }
        let (from, to) = (*lost.lines.start(), *lost.lines.end());
        let mut stored = Vec::new();
        let mut is_changed = false;
        for interval in self.intervals() {
            if to < interval.first || interval.last < from {
                stored.push(interval);
                continue;
            }
            is_changed = true;
            if let Some(hash) = lost.hash_below.filter(|_| interval.first < from) {
                stored.push(Interval {
                    last: from - 1,
                    hash,
                    ..interval
                });
            }
            if lost.previous_above.is_some() && to < interval.last {
                stored.push(Interval {
                    first: to + 1,
                    previous: lost.previous_above,
                    ..interval
                });
            }
        }
        if !is_changed {
            return Removal::Nothing;
        }
        if stored.is_empty() {
            return Removal::All;
        }
        let lowest = self.gaps.first().map_or(self.low, |gap| gap.stored_from);
        match self.set_intervals(lowest, &stored, lost) {
            true => Removal::Part,
            false => Removal::Nothing,
        }
    }

    /// The lines that were evicted: those from the log's beginning to the lowest stored one, unless
    /// they are missing in a gap. `None`: no line was evicted.
    pub fn evicted_lines(&self) -> Option<RangeInclusive<u64>> {
        let lowest = self.gaps.first().map_or(self.low, |gap| gap.stored_from);
        (self.begins_at < lowest).then(|| self.begins_at..=lowest - 1)
    }

    /// The stored lines: consecutive sequences, in ascending order.
    pub fn stored_lines(&self) -> impl Iterator<Item = RangeInclusive<u64>> {
        let intervals = self.intervals().into_iter();
        intervals.map(|interval| interval.first..=interval.last)
    }

    /// The lines from the first stored one at or above `from` to the next gap or the head. `None`:
    /// no such line is stored.
    pub fn stored_from(&self, from: u64) -> Option<RangeInclusive<u64>> {
        let lines = self.stored_lines().find(|lines| *lines.end() >= from)?;
        Some(from.max(*lines.start())..=*lines.end())
    }

    /// The stored intervals, in ascending order.
    fn intervals(&self) -> Vec<Interval> {
        let mut previous = None;
        let mut intervals = Vec::new();
        for gap in &self.gaps {
            if let Some(hash) = gap.previous_hash.filter(|_| gap.stored_from < gap.from) {
                intervals.push(Interval {
                    first: gap.stored_from,
                    last: gap.from - 1,
                    previous,
                    hash,
                });
            }
            previous = Some(gap.last_hash);
        }
        if self.low <= self.high {
            intervals.push(Interval {
                first: self.low,
                last: self.high,
                previous,
                hash: self.hash,
            });
        }
        intervals
    }

    /// Replaces the stored intervals, after `lost` was removed from them. Lines from `wanted_from`
    /// on that are in none of them become gaps. Returns false and changes nothing if a hash is
    /// unknown.
    fn set_intervals(
        &mut self,
        wanted_from: u64,
        intervals: &[Interval],
        lost: &LostLines,
    ) -> bool {
        let Some(top) = intervals.last() else {
            return false;
        };
        let mut gaps = Vec::new();
        let (mut stored_from, mut from, mut previous_hash) = (wanted_from, wanted_from, None);
        for interval in intervals {
            if interval.first > from {
                let Some(last_hash) = interval.previous else {
                    return false;
                };
                let to = interval.first - 1;
                let is_lost = from <= *lost.lines.end() && *lost.lines.start() <= to;
                let mut parts = self
                    .gaps
                    .iter()
                    .filter(|gap| from <= gap.from && gap.to <= to);
                gaps.push(Gap {
                    stored_from,
                    from,
                    to,
                    previous_hash,
                    last_hash,
                    was_printed: parts.all(|gap| gap.was_printed) && (!is_lost || lost.was_printed),
                });
            }
            (stored_from, from) = (interval.first, interval.last + 1);
            previous_hash = Some(interval.hash);
        }
        (self.low, self.high, self.hash, self.gaps) = (top.first, top.last, top.hash, gaps);
        self.limit_gaps(GAPS_MAX);
        true
    }

    /// Sequence from which on this peer received every line up to the head. 1 if it received all
    /// lines.
    ///
    /// Lines that our store has evicted count as received. Lines that a newcomer did not request
    /// do not.
    pub fn complete_from(&self) -> u64 {
        let above_gaps = self.gaps.last().map_or(self.lost_below, |gap| gap.to + 1);
        above_gaps.max(self.begins_at)
    }

    /// The gap that ends directly before the first line of this batch. The batch must be the head.
    pub fn gap_before(&self, batch: &Batch) -> Option<RangeInclusive<u64>> {
        let gap = self.gaps.last()?;
        (gap.to + 1 == batch.sequence).then_some(gap.from..=gap.to)
    }

    /// Whether one more gap may arise. Otherwise the lowest gap would be forgotten.
    pub fn has_place_for_gap(&self) -> bool {
        self.gaps.len() < GAPS_MAX
    }

    /// The index of the gap in which this batch begins. `None` also if the batch would split the
    /// gap, and there is no place for one more.
    pub fn find_gap(&self, batch: &Batch) -> Option<usize> {
        let mut gaps = self.gaps.iter();
        let at = gaps.position(|gap| gap.has_beginning_of(batch))?;
        let gap = &self.gaps[at];
        let splits = gap.from < batch.sequence && batch.last_sequence() < gap.to;
        (!splits || self.has_place_for_gap()).then_some(at)
    }

    /// Adds a batch whose lines are missing in a gap. Lines that are still missing below the batch
    /// and above it remain gaps. Returns `false`, without any effect, if [`LogRange::find_gap`]
    /// finds no gap, or if the batch does not fit the hash chain.
    pub fn fill_gap(&mut self, batch: &Batch) -> bool {
        let at = self.find_gap(batch);
        let Some(at) = at.filter(|at| self.gaps[*at].accepts(batch)) else {
            return false;
        };
        let gap = self.gaps.remove(at);
        let missing_below = batch.previous.filter(|_| gap.from < batch.sequence);
        let stored_from = match missing_below {
            Some(_) => batch.sequence,
            None => gap.stored_from,
        };
        if batch.last_sequence() < gap.to {
            let above = Gap {
                stored_from,
                from: batch.last_sequence() + 1,
                previous_hash: Some(batch.hash),
                ..gap
            };
            self.gaps.insert(at, above);
        } else {
            *self.stored_from_above(at) = stored_from;
        }
        if let Some(last_hash) = missing_below {
            let below = Gap {
                to: batch.sequence - 1,
                last_hash,
                ..gap
            };
            self.gaps.insert(at, below);
        }
        true
    }

    /// Undoes [`LogRange::fill_gap`] for a batch that could not be stored. If several batches could
    /// not be stored, the caller must pass the one that was added last first.
    pub fn reopen_gap(&mut self, batch: &Batch) {
        let lowest = self.gaps.first().map_or(self.low, |gap| gap.stored_from);
        let is_above_lines = lowest < batch.sequence || batch.sequence == 1;
        if !is_above_lines || batch.last_sequence() >= self.high {
            return;
        }
        let after = batch.last_sequence() + 1;
        let at = self.gaps.partition_point(|gap| gap.to < batch.sequence);
        let (stored_from, to, last_hash, was_printed) = match self.gaps.get(at) {
            Some(gap) if gap.from == after => {
                let above = self.gaps.remove(at);
                (
                    above.stored_from,
                    above.to,
                    above.last_hash,
                    above.was_printed,
                )
            }
            _ => {
                let stored_from = std::mem::replace(self.stored_from_above(at), after);
                (stored_from, after - 1, batch.hash, false)
            }
        };
        match self.gaps[..at].last_mut() {
            Some(below) if below.to + 1 == batch.sequence => {
                (below.to, below.last_hash) = (to, last_hash);
            }
            _ => {
                let gap = Gap {
                    stored_from,
                    from: batch.sequence,
                    to,
                    previous_hash: batch.previous,
                    last_hash,
                    was_printed,
                };
                self.gaps.insert(at, gap);
            }
        }
    }

    /// Removes all lines below the sequence `low` from the range. Forgets a gap when the last line
    /// below the gap is removed. A gap at the log's beginning is forgotten when a line above the
    /// gap is removed.
    pub fn evict_below(&mut self, low: u64) {
        self.low = self.low.max(low);
        self.gaps.retain_mut(|gap| {
            // Lines that fill a missing beginning are requested until a line above it is evicted.
            if gap.previous_hash.is_none() && low <= gap.to + 1 {
                return true;
            }
            gap.stored_from = gap.stored_from.max(low);
            let has_lines_below = gap.stored_from < gap.from;
            if !has_lines_below {
                self.lost_below = gap.to + 1;
            }
            has_lines_below
        });
    }

    /// Mutable access to the first sequence of a stored interval. Index `at` means the interval
    /// directly below `gaps[at]`. Index `gaps.len()` means the top interval, which begins at `low`.
    fn stored_from_above(&mut self, at: usize) -> &mut u64 {
        match self.gaps.get_mut(at) {
            Some(gap) => &mut gap.stored_from,
            None => &mut self.low,
        }
    }
}
