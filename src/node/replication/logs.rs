//! What is held of each log, the own clock, and the next number to be given.
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::batch::{Batch, Draft, LogId, NUMBER_MAX};
use crate::base::event::Notice;
use crate::base::identity::{Hash, PeerId};
use crate::base::lines::Lines;
use crate::base::name::{Folder, Room, Target};
use crate::base::range::Range;
use crate::base::table::Table;
use crate::node::context::{Hub, Resume};
use crate::wire::sealed;

/// A foreign clock moves ours by at most this much at a time: one liar cannot use up the numbers.
const CLOCK_STEP: u64 = 1 << 20;
/// Most logs of one room, and of all direct messages.
const LOGS_MAX: usize = 16_384;
/// Most logs of one author to one target: a program begins a new one after each unclean end.
const SHARE_MAX: usize = 64;

/// What a batch is to what we hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It goes on where we stand, or begins what we asked for.
    Next,
    /// It goes on after lines that its author no longer has: `from` to `to` are missing.
    After { from: u64, to: u64 },
    /// It begins where lines are missing.
    Fills,
    /// We hold these lines.
    Held,
    /// Other lines than ours have these numbers.
    Fork,
    /// Nobody asked for it.
    Stray,
}

#[derive(Default)]
pub struct Logs {
    ranges: BTreeMap<LogId, Range>,
    lamport: u64,
    incarnation: u64,
    /// What this run said first in each own log.
    starts: Table<LogId, u64>,
    /// The last line of each such log in rooms that were left.
    left: Table<LogId, u64>,
    resume: Resume,
    /// Own logs of which others hold something else: from which line on they are said again in another.
    again: Table<LogId, u64>,
    /// It was said that logs are forgotten.
    told: bool,
}

impl Logs {
    pub fn new(hub: &mut Hub, resume: Option<Resume>) -> Logs {
        let resume = resume.unwrap_or_default();
        let incarnation = if resume.incarnation != 0 {
            resume.incarnation
        } else {
            hub.random()
        };
        Logs {
            incarnation,
            resume,
            ..Logs::default()
        }
    }

    /// A part of the history was opened. If it is not what the last run left of the own logs there, the numbers begin anew.
    pub fn open(&mut self, hub: &mut Hub, folder: &Folder, mut ranges: Vec<Range>) {
        for range in &ranges {
            // The own clock was sound when it was signed.
            if range.log.author == hub.id() {
                self.hear(range.lamport, NUMBER_MAX);
            }
        }
        ranges.sort_by_key(|range| range.lamport);
        for range in ranges {
            // A clock goes up by one a line: one that is far beyond the lines that were said is a liar's.
            self.hear(range.lamport, CLOCK_STEP.saturating_add(range.high));
            self.ranges.insert(range.log.clone(), range);
        }
        let own = hub.id();
        let found = self.in_folder(folder, &own);
        let found = found
            .iter()
            .filter(|range| self.is_current(hub, &range.log))
            .map(|range| (&range.log.target, (range.high, range.hash)));
        let left = self.resume.heads.iter();
        let left = left.filter(|(target, _)| Folder::of(target, &own, &own) == *folder);
        if !found.eq(left.map(|(target, head)| (target, *head))) {
            // What the store holds is not what was left: nothing was said yet, and no peer is to blame.
            self.incarnation = hub.random();
            self.resume = Resume::default();
        }
    }

    /// The own numbers are in doubt: go on in a new incarnation.
    pub fn doubt(&mut self, hub: &mut Hub) {
        self.incarnation = hub.random();
        self.resume = Resume::default();
    }

    /// What is said next is said in this incarnation; gives the one before.
    pub fn speak_in(&mut self, incarnation: u64) -> u64 {
        std::mem::replace(&mut self.incarnation, incarnation)
    }

    /// From this line on an own log is said again in another: it does not count as said in this run, and is given to nobody.
    pub fn give_up(&mut self, log: &LogId, from: u64) {
        self.again.insert(log.clone(), from);
        if self.starts.get(log).is_some_and(|start| from <= *start) {
            self.starts.remove(log);
        }
    }

    /// The own logs that were given up, each from a line on.
    pub fn given_up(&self) -> &Table<LogId, u64> {
        &self.again
    }

    /// The last line that others are given of this log.
    pub fn given(&self, range: &Range) -> u64 {
        let from = self.again.get(&range.log);
        from.map_or(range.high, |from| range.high.min(from - 1))
    }

    /// Own lines of an earlier run, up to `sequence`, count as said in this one.
    pub fn count_in(&mut self, hub: &Hub, log: LogId, sequence: u64) {
        if log.author == hub.id() && self.ranges.contains_key(&log) {
            self.starts.get_or_insert_with(log, || sequence);
        }
    }

    /// What to leave at a clean end.
    pub fn resume(&self, hub: &Hub) -> Resume {
        let mut heads = self.resume.heads.clone();
        for (log, range) in &self.ranges {
            if log.author == hub.id() && log.incarnation == self.incarnation {
                heads.insert(log.target.clone(), (range.high, range.hash));
            }
        }
        Resume {
            incarnation: self.incarnation,
            heads,
        }
    }

    /// The log in which we speak to this target.
    pub fn own_log(&self, hub: &Hub, target: &Target) -> LogId {
        LogId {
            target: target.clone(),
            author: hub.id(),
            incarnation: self.incarnation,
        }
    }

    /// One of our own, and the one we go on with.
    pub fn is_current(&self, hub: &Hub, log: &LogId) -> bool {
        log.author == hub.id() && log.incarnation == self.incarnation
    }

    pub fn get(&self, log: &LogId) -> Option<&Range> {
        self.ranges.get(log)
    }

    /// What is held of all that was said to this target and to those behind it, in order. Rooms come first.
    fn beginning(&self, target: Target) -> impl Iterator<Item = &Range> {
        let first = LogId {
            target,
            author: PeerId([0; 32]),
            incarnation: 0,
        };
        self.ranges.range(first..).map(|(_, range)| range)
    }

    /// What is held of all that was said to this target, in order.
    pub fn to(&self, target: Target) -> impl Iterator<Item = &Range> {
        let all = self.beginning(target.clone());
        all.take_while(move |range| range.log.target == target)
    }

    /// The logs of a room, in order.
    pub fn of_room(&self, room: &Room) -> impl Iterator<Item = &Range> + use<'_> {
        self.to(Target::Room(room.clone()))
    }

    /// What is held of all direct messages, in order of their readers.
    pub fn direct(&self) -> impl Iterator<Item = &Range> {
        self.beginning(Target::Peer(PeerId([0; 32])))
    }

    /// What is held in a folder of the history of `own`, in order.
    pub fn in_folder(&self, folder: &Folder, own: &PeerId) -> Vec<Range> {
        let here = |log: &LogId| Folder::of(&log.target, &log.author, own) == *folder;
        let ranges = self.ranges.values().filter(|range| here(&range.log));
        ranges.cloned().collect()
    }

    /// Lines that were said to this target are missing, and may still turn up.
    pub fn has_holes(&self, target: &Target) -> bool {
        self.to(target.clone()).any(|range| !range.holes.is_empty())
    }

    /// The room was left; the own head is kept, so that its numbers go on when it is joined again.
    pub fn forget(&mut self, hub: &Hub, room: &Room) {
        let target = Target::Room(room.clone());
        if let Some(range) = self.ranges.get(&self.own_log(hub, &target)) {
            let head = (range.high, range.hash);
            self.resume.heads.insert(target, head);
        }
        for log in self
            .starts
            .keys()
            .filter(|log| log.target.room() == Some(room))
        {
            if let Some(range) = self.ranges.get(log) {
                self.left.insert(log.clone(), range.high);
            }
        }
        self.ranges.retain(|log, _| log.target.room() != Some(room));
    }

    /// The last line of an own log, also of a room that was left.
    pub fn head(&self, log: &LogId) -> Option<u64> {
        let held = self.ranges.get(log).map(|range| range.high);
        held.or_else(|| self.left.get(log).copied())
    }

    /// The first line of this run, if it said any.
    pub fn start(&self, log: &LogId) -> Option<u64> {
        self.starts.get(log).copied()
    }

    /// The own logs that this run spoke in, with their first line of it.
    pub fn started(&self) -> impl Iterator<Item = (&LogId, u64)> {
        self.starts.iter().map(|(log, start)| (log, *start))
    }

    /// The next batch of the own log of this target. `None`: it is a reader whose id is no key.
    pub fn append(
        &mut self,
        hub: &mut Hub,
        target: &Target,
        action: bool,
        lines: &Lines,
    ) -> Option<Arc<Batch>> {
        let log = self.own_log(hub, target);
        let head = self.ranges.get(&log);
        let sequence = head.map_or(1, |range| range.high + 1);
        let sealed = match target {
            Target::Room(_) => None,
            Target::Peer(_) => {
                let seed = hub.random_bytes();
                Some(sealed::seal(seed, &hub.network, &log, sequence, lines)?)
            }
        };
        let draft = Draft {
            log: log.clone(),
            username: hub.nick.clone(),
            sequence,
            lamport: self.lamport + 1,
            timestamp: hub.now.wall,
            previous: head.map(|range| range.hash),
            action,
            lines,
            sealed: sealed.as_deref(),
        };
        let batch = Arc::new(Batch::sign(&hub.identity, &hub.network, draft));
        self.starts.get_or_insert_with(log, || sequence);
        self.advance(&batch);
        Some(batch)
    }

    /// See [`Range::fill`].
    pub fn fill(&mut self, batch: &Batch) -> Option<bool> {
        self.ranges.get_mut(&batch.log)?.fill(batch)
    }

    /// Takes a batch that fits in as the new head.
    pub fn advance(&mut self, batch: &Batch) {
        let lamport = batch.lamport + batch.count - 1;
        self.hear(lamport, CLOCK_STEP);
        let range = self
            .ranges
            .entry(batch.log.clone())
            .or_insert_with(|| Range {
                log: batch.log.clone(),
                low: batch.sequence,
                high: 0,
                hash: batch.hash,
                lamport,
                holes: Vec::new(),
            });
        if batch.sequence > range.high + 1 {
            range.skip(batch);
        }
        (range.high, range.hash, range.lamport) = (batch.last(), batch.hash, lamport);
    }

    /// Somebody's clock stands there: ours follows, by a step of at most `step`, and never so far that no number is left to be given.
    fn hear(&mut self, lamport: u64, step: u64) {
        let reached = lamport.min(self.lamport.saturating_add(step));
        self.lamport = self.lamport.max(reached).min(NUMBER_MAX - CLOCK_STEP);
    }

    /// `wanted`: from where we asked for this log, if we did.
    pub fn fit(&self, batch: &Batch, wanted: Option<u64>) -> Fit {
        let Some(range) = self.ranges.get(&batch.log) else {
            return match batch.sequence == 1 || begins_at(batch, wanted) {
                true => Fit::Next,
                false => Fit::Stray,
            };
        };
        if batch.sequence == range.high + 1 {
            return if batch.previous == Some(range.hash) {
                Fit::Next
            } else {
                Fit::Fork
            };
        }
        if batch.sequence > range.high + 1 {
            // One that was on its way when we asked again is no gap: what we asked for follows it.
            return match begins_at(batch, wanted) {
                true => Fit::After {
                    from: range.high + 1,
                    to: batch.sequence - 1,
                },
                false => Fit::Stray,
            };
        }
        if range.lacks(batch) {
            return Fit::Fills;
        }
        let forked =
            batch.last() > range.high || (batch.last() == range.high && batch.hash != range.hash);
        if forked { Fit::Fork } else { Fit::Held }
    }

    /// Makes a place for a log that begins with this batch, where there is none. One author's oldest logs go first, then those of whoever has most, and
    /// who is linked is heard rather than who is not: no liar makes us deaf to others. `false`: there is no place.
    pub fn admit(&mut self, hub: &mut Hub, batch: &Batch) -> bool {
        let (log, own) = (&batch.log, hub.id());
        if log.author == own || self.ranges.contains_key(log) {
            return true;
        }
        let of_author = |incarnation| LogId {
            incarnation,
            ..log.clone()
        };
        let same = self.ranges.range(of_author(0)..=of_author(u64::MAX));
        let goes = if same.clone().count() >= SHARE_MAX {
            let oldest = same.map(|(_, range)| range).min_by_key(|r| r.lamport);
            oldest.filter(|oldest| oldest.lamport < batch.lamport)
        } else {
            let all: Vec<&Range> = match log.target.room() {
                Some(room) => self.of_room(room).collect(),
                None => self.direct().collect(),
            };
            if all.len() < LOGS_MAX {
                return true;
            }
            let mut counts: Table<PeerId, usize> = Table::new();
            for range in &all {
                *counts.get_or_default(range.log.author) += 1;
            }
            let count = |author: &PeerId| counts.get(author).copied().unwrap_or(0);
            let linked = |author: &PeerId| hub.linked.contains_key(author);
            let others = all.into_iter().filter(|range| range.log.author != own);
            let most = others.max_by_key(|range| {
                let author = &range.log.author;
                (count(author), !linked(author), Reverse(range.lamport))
            });
            most.filter(|range| {
                let author = &range.log.author;
                count(author) > count(&log.author) + 1 || linked(&log.author) && !linked(author)
            })
        };
        let goes = goes.map(|range| range.log.clone());
        hub.counters.logs_over_bound += 1;
        if !std::mem::replace(&mut self.told, true) {
            let author = hub.name_of(&goes.as_ref().unwrap_or(log).author);
            let content = format!(
                "too many logs in {}: some, as of {author}, are not taken or passed on any more",
                log.target
            );
            let code = "logs";
            hub.notice(Notice::Error { code, content });
        }
        let Some(goes) = goes else {
            return false;
        };
        self.ranges.remove(&goes);
        true
    }

    /// A batch could not be stored: it is as if it had never been, for it was neither sent nor acknowledged. False: it filled a hole.
    pub fn take_back(&mut self, batch: &Batch) -> bool {
        let Some(range) = self.ranges.get_mut(&batch.log) else {
            return true;
        };
        if range.high != batch.last() {
            range.unfill(batch);
            return false;
        }
        match batch.previous {
            Some(previous) if batch.sequence > range.low => {
                (range.high, range.hash) = (batch.sequence - 1, previous)
            }
            _ => match range.holes.pop_if(|hole| hole.to + 1 == batch.sequence) {
                Some(hole) => {
                    (range.low, range.high, range.hash) = (hole.low, hole.from - 1, hole.before)
                }
                None => {
                    self.ranges.remove(&batch.log);
                }
            },
        }
        if self.starts.get(&batch.log) == Some(&batch.sequence) {
            self.starts.remove(&batch.log);
        }
        true
    }

    /// The store gave up what is below `low`.
    pub fn dropped(&mut self, log: &LogId, low: u64) {
        if let Some(range) = self.ranges.get_mut(log) {
            range.raise(low.min(range.high));
        }
    }

    /// It is carried no more.
    pub fn lose(&mut self, log: &LogId) {
        self.ranges.retain(|other, _| other != log);
    }

    /// The hash of the head, if the head has this number.
    pub fn hash_at(&self, log: &LogId, sequence: u64) -> Option<Hash> {
        self.ranges
            .get(log)
            .filter(|range| range.high == sequence)
            .map(|range| range.hash)
    }
}

/// It holds the line from which on we asked for this log.
fn begins_at(batch: &Batch, wanted: Option<u64>) -> bool {
    wanted.is_some_and(|from| batch.sequence <= from && from <= batch.last())
}
