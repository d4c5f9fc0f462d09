//! What is held of each log, the own clock, and the next number to be given.
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::batch::{Batch, LogId, MAX_SAFE_INTEGER, UnsignedBatch};
use crate::base::error_code::ErrorCode;
use crate::base::event::Notice;
use crate::base::identity::{Hash, PeerId};
use crate::base::lines::Lines;
use crate::base::name::{FolderName, Room, Target};
use crate::base::range::LogRange;
use crate::base::table::SortedMap;
use crate::node::context::{Context, ResumeState};
use crate::wire::sealed;

/// A foreign clock moves ours by at most this much at a time: one liar cannot use up the numbers.
const CLOCK_STEP_MAX: u64 = 1 << 20;
/// Most logs of one room, and of all direct messages.
const LOGS_PER_ROOM_MAX: usize = 16_384;
/// Most logs of one author to one target: a program begins a new one after each unclean end.
const LOGS_PER_AUTHOR_MAX: usize = 64;

/// What a batch is to what we hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchPlacement {
    /// It goes on where we stand, or begins what we asked for.
    Next,
    /// It goes on after lines that its author no longer has: `from` to `to` are missing.
    AfterGap { from: u64, to: u64 },
    /// It begins where lines are missing.
    FillsGap,
    /// We hold these lines.
    Duplicate,
    /// Other lines than ours have these numbers.
    Fork,
    /// Nobody asked for it.
    Unrequested,
}

#[derive(Default)]
pub struct Logs {
    ranges: BTreeMap<LogId, LogRange>,
    lamport: u64,
    incarnation: u64,
    /// What this run said first in each own log.
    run_starts: SortedMap<LogId, u64>,
    /// The last line of each such log in rooms that were left.
    left_heads: SortedMap<LogId, u64>,
    resume: ResumeState,
    /// Own logs of which others hold something else: from which line on they are said again in another.
    republished_from: SortedMap<LogId, u64>,
    /// It was said that logs are forgotten.
    eviction_reported: bool,
}

impl Logs {
    pub fn new(ctx: &mut Context, resume: Option<ResumeState>) -> Logs {
        let resume = resume.unwrap_or_default();
        let incarnation = if resume.incarnation != 0 {
            resume.incarnation
        } else {
            ctx.random_u64()
        };
        Logs {
            incarnation,
            resume,
            ..Logs::default()
        }
    }

    /// A part of the history was opened. If it is not what the last run left of the own logs there, the numbers begin anew.
    pub fn restore_ranges(
        &mut self,
        ctx: &mut Context,
        folder: &FolderName,
        mut ranges: Vec<LogRange>,
    ) {
        for range in &ranges {
            // The own clock was sound when it was signed.
            if range.log.author == ctx.own_id() {
                self.observe_clock(range.lamport, MAX_SAFE_INTEGER);
            }
        }
        ranges.sort_by_key(|range| range.lamport);
        for range in ranges {
            // A clock goes up by one a line: one that is far beyond the lines that were said is a liar's.
            self.observe_clock(range.lamport, CLOCK_STEP_MAX.saturating_add(range.high));
            self.ranges.insert(range.log.clone(), range);
        }
        let own = ctx.own_id();
        let found = self.ranges_in_folder(folder, &own);
        let found = found
            .iter()
            .filter(|range| self.is_current(ctx, &range.log))
            .map(|range| (&range.log.target, (range.high, range.hash)));
        let left = self.resume.heads.iter();
        let left = left.filter(|(target, _)| FolderName::for_log(target, &own, &own) == *folder);
        if !found.eq(left.map(|(target, head)| (target, *head))) {
            // What the store holds is not what was left: nothing was said yet, and no peer is to blame.
            self.incarnation = ctx.random_u64();
            self.resume = ResumeState::default();
        }
    }

    /// The own numbers are in doubt: go on in a new incarnation.
    pub fn renew_incarnation(&mut self, ctx: &mut Context) {
        self.incarnation = ctx.random_u64();
        self.resume = ResumeState::default();
    }

    /// What is said next is said in this incarnation; gives the one before.
    pub fn replace_incarnation(&mut self, incarnation: u64) -> u64 {
        std::mem::replace(&mut self.incarnation, incarnation)
    }

    /// From this line on an own log is said again in another: it does not count as said in this run, and is given to nobody.
    pub fn mark_republished(&mut self, log: &LogId, from: u64) {
        self.republished_from.insert(log.clone(), from);
        if self.run_starts.get(log).is_some_and(|start| from <= *start) {
            self.run_starts.remove(log);
        }
    }

    /// The own logs that were given up, each from a line on.
    pub fn republished_logs(&self) -> &SortedMap<LogId, u64> {
        &self.republished_from
    }

    /// The last line that others are given of this log.
    pub fn last_served(&self, range: &LogRange) -> u64 {
        let from = self.republished_from.get(&range.log);
        from.map_or(range.high, |from| range.high.min(from - 1))
    }

    /// Own lines of an earlier run, up to `sequence`, count as said in this one.
    pub fn adopt_lines(&mut self, ctx: &Context, log: LogId, sequence: u64) {
        if log.author == ctx.own_id() && self.ranges.contains_key(&log) {
            self.run_starts.get_or_insert_with(log, || sequence);
        }
    }

    /// What to leave at a clean end.
    pub fn resume_state(&self, ctx: &Context) -> ResumeState {
        let mut heads = self.resume.heads.clone();
        for (log, range) in &self.ranges {
            if log.author == ctx.own_id() && log.incarnation == self.incarnation {
                heads.insert(log.target.clone(), (range.high, range.hash));
            }
        }
        ResumeState {
            incarnation: self.incarnation,
            heads,
        }
    }

    /// The log in which we speak to this target.
    pub fn own_log(&self, ctx: &Context, target: &Target) -> LogId {
        LogId {
            target: target.clone(),
            author: ctx.own_id(),
            incarnation: self.incarnation,
        }
    }

    /// One of our own, and the one we go on with.
    pub fn is_current(&self, ctx: &Context, log: &LogId) -> bool {
        log.author == ctx.own_id() && log.incarnation == self.incarnation
    }

    pub fn get(&self, log: &LogId) -> Option<&LogRange> {
        self.ranges.get(log)
    }

    /// What is held of all that was said to this target and to those behind it, in order. Rooms come first.
    fn ranges_from(&self, target: Target) -> impl Iterator<Item = &LogRange> {
        let first = LogId {
            target,
            author: PeerId([0; 32]),
            incarnation: 0,
        };
        self.ranges.range(first..).map(|(_, range)| range)
    }

    /// What is held of all that was said to this target, in order.
    pub fn ranges_to(&self, target: Target) -> impl Iterator<Item = &LogRange> {
        let all = self.ranges_from(target.clone());
        all.take_while(move |range| range.log.target == target)
    }

    /// The logs of a room, in order.
    pub fn ranges_of_room(&self, room: &Room) -> impl Iterator<Item = &LogRange> + use<'_> {
        self.ranges_to(Target::Room(room.clone()))
    }

    /// What is held of all direct messages, in order of their readers.
    pub fn direct_ranges(&self) -> impl Iterator<Item = &LogRange> {
        self.ranges_from(Target::Peer(PeerId([0; 32])))
    }

    /// What is held in a folder of the history of `own`, in order.
    pub fn ranges_in_folder(&self, folder: &FolderName, own: &PeerId) -> Vec<LogRange> {
        let here = |log: &LogId| FolderName::for_log(&log.target, &log.author, own) == *folder;
        let ranges = self.ranges.values().filter(|range| here(&range.log));
        ranges.cloned().collect()
    }

    /// Lines that were said to this target are missing, and may still turn up.
    pub fn has_gaps(&self, target: &Target) -> bool {
        self.ranges_to(target.clone())
            .any(|range| !range.gaps.is_empty())
    }

    /// The room was left; the own head is kept, so that its numbers go on when it is joined again.
    pub fn forget_room(&mut self, ctx: &Context, room: &Room) {
        let target = Target::Room(room.clone());
        if let Some(range) = self.ranges.get(&self.own_log(ctx, &target)) {
            let head = (range.high, range.hash);
            self.resume.heads.insert(target, head);
        }
        for log in self
            .run_starts
            .keys()
            .filter(|log| log.target.room() == Some(room))
        {
            if let Some(range) = self.ranges.get(log) {
                self.left_heads.insert(log.clone(), range.high);
            }
        }
        self.ranges.retain(|log, _| log.target.room() != Some(room));
    }

    /// The last line of an own log, also of a room that was left.
    pub fn head(&self, log: &LogId) -> Option<u64> {
        let held = self.ranges.get(log).map(|range| range.high);
        held.or_else(|| self.left_heads.get(log).copied())
    }

    /// The first line of this run, if it said any.
    pub fn run_start(&self, log: &LogId) -> Option<u64> {
        self.run_starts.get(log).copied()
    }

    /// The own logs that this run spoke in, with their first line of it.
    pub fn run_logs(&self) -> impl Iterator<Item = (&LogId, u64)> {
        self.run_starts.iter().map(|(log, start)| (log, *start))
    }

    /// The next batch of the own log of this target. `None`: it is a reader whose id is no key.
    pub fn append(
        &mut self,
        ctx: &mut Context,
        target: &Target,
        action: bool,
        lines: &Lines,
    ) -> Option<Arc<Batch>> {
        let log = self.own_log(ctx, target);
        let head = self.ranges.get(&log);
        let sequence = head.map_or(1, |range| range.high + 1);
        let sealed = match target {
            Target::Room(_) => None,
            Target::Peer(_) => {
                let seed = ctx.random_bytes();
                Some(sealed::seal(seed, &ctx.network, &log, sequence, lines)?)
            }
        };
        let draft = UnsignedBatch {
            log: log.clone(),
            username: ctx.nick.clone(),
            sequence,
            lamport: self.lamport + 1,
            timestamp: ctx.now.wall,
            previous: head.map(|range| range.hash),
            action,
            lines,
            sealed: sealed.as_deref(),
        };
        let batch = Arc::new(Batch::sign(&ctx.identity, &ctx.network, draft));
        self.run_starts.get_or_insert_with(log, || sequence);
        self.advance(&batch);
        Some(batch)
    }

    /// See [`Range::fill`].
    pub fn fill_gap(&mut self, batch: &Batch) -> Option<bool> {
        self.ranges.get_mut(&batch.log)?.fill_gap(batch)
    }

    /// Takes a batch that fits in as the new head.
    pub fn advance(&mut self, batch: &Batch) {
        let lamport = batch.lamport + batch.count - 1;
        self.observe_clock(lamport, CLOCK_STEP_MAX);
        let range = self
            .ranges
            .entry(batch.log.clone())
            .or_insert_with(|| LogRange {
                log: batch.log.clone(),
                low: batch.sequence,
                high: 0,
                hash: batch.hash,
                lamport,
                gaps: Vec::new(),
            });
        if batch.sequence > range.high + 1 {
            range.skip_to(batch);
        }
        (range.high, range.hash, range.lamport) = (batch.last_sequence(), batch.hash, lamport);
    }

    /// Somebody's clock stands there: ours follows, by a step of at most `step`, and never so far that no number is left to be given.
    fn observe_clock(&mut self, lamport: u64, step: u64) {
        let reached = lamport.min(self.lamport.saturating_add(step));
        self.lamport = self
            .lamport
            .max(reached)
            .min(MAX_SAFE_INTEGER - CLOCK_STEP_MAX);
    }

    /// `wanted`: from where we asked for this log, if we did.
    pub fn classify(&self, batch: &Batch, wanted: Option<u64>) -> BatchPlacement {
        let Some(range) = self.ranges.get(&batch.log) else {
            return match batch.sequence == 1 || covers_requested_line(batch, wanted) {
                true => BatchPlacement::Next,
                false => BatchPlacement::Unrequested,
            };
        };
        if batch.sequence == range.high + 1 {
            return if batch.previous == Some(range.hash) {
                BatchPlacement::Next
            } else {
                BatchPlacement::Fork
            };
        }
        if batch.sequence > range.high + 1 {
            // One that was on its way when we asked again is no gap: what we asked for follows it.
            return match covers_requested_line(batch, wanted) {
                true => BatchPlacement::AfterGap {
                    from: range.high + 1,
                    to: batch.sequence - 1,
                },
                false => BatchPlacement::Unrequested,
            };
        }
        if range.has_gap_at(batch) {
            return BatchPlacement::FillsGap;
        }
        let forked = batch.last_sequence() > range.high
            || (batch.last_sequence() == range.high && batch.hash != range.hash);
        if forked {
            BatchPlacement::Fork
        } else {
            BatchPlacement::Duplicate
        }
    }

    /// Makes a place for a log that begins with this batch, where there is none. One author's oldest logs go first, then those of whoever has most, and
    /// who is linked is heard rather than who is not: no liar makes us deaf to others. `false`: there is no place.
    pub fn admit(&mut self, ctx: &mut Context, batch: &Batch) -> bool {
        let (log, own) = (&batch.log, ctx.own_id());
        if log.author == own || self.ranges.contains_key(log) {
            return true;
        }
        let of_author = |incarnation| LogId {
            incarnation,
            ..log.clone()
        };
        let same = self.ranges.range(of_author(0)..=of_author(u64::MAX));
        let goes = if same.clone().count() >= LOGS_PER_AUTHOR_MAX {
            let oldest = same.map(|(_, range)| range).min_by_key(|r| r.lamport);
            oldest.filter(|oldest| oldest.lamport < batch.lamport)
        } else {
            let all: Vec<&LogRange> = match log.target.room() {
                Some(room) => self.ranges_of_room(room).collect(),
                None => self.direct_ranges().collect(),
            };
            if all.len() < LOGS_PER_ROOM_MAX {
                return true;
            }
            let mut counts: SortedMap<PeerId, usize> = SortedMap::new();
            for range in &all {
                *counts.get_or_default(range.log.author) += 1;
            }
            let count = |author: &PeerId| counts.get(author).copied().unwrap_or(0);
            let linked = |author: &PeerId| ctx.stream_by_peer.contains_key(author);
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
        ctx.counters.logs_over_bound += 1;
        if !std::mem::replace(&mut self.eviction_reported, true) {
            let author = ctx.display_peer(&goes.as_ref().unwrap_or(log).author);
            let content = format!(
                "too many logs in {}: some, as of {author}, are not taken or passed on any more",
                log.target
            );
            let code = ErrorCode::TooManyLogs;
            ctx.notify(Notice::Error { code, content });
        }
        let Some(goes) = goes else {
            return false;
        };
        self.ranges.remove(&goes);
        true
    }

    /// A batch could not be stored: it is as if it had never been, for it was neither sent nor acknowledged. False: it filled a hole.
    pub fn roll_back(&mut self, batch: &Batch) -> bool {
        let Some(range) = self.ranges.get_mut(&batch.log) else {
            return true;
        };
        if range.high != batch.last_sequence() {
            range.reopen_gap(batch);
            return false;
        }
        match batch.previous {
            Some(previous) if batch.sequence > range.low => {
                (range.high, range.hash) = (batch.sequence - 1, previous)
            }
            _ => match range.gaps.pop_if(|hole| hole.to + 1 == batch.sequence) {
                Some(hole) => {
                    (range.low, range.high, range.hash) =
                        (hole.stored_from, hole.from - 1, hole.previous_hash)
                }
                None => {
                    self.ranges.remove(&batch.log);
                }
            },
        }
        if self.run_starts.get(&batch.log) == Some(&batch.sequence) {
            self.run_starts.remove(&batch.log);
        }
        true
    }

    /// The store gave up what is below `low`.
    pub fn raise_low(&mut self, log: &LogId, low: u64) {
        if let Some(range) = self.ranges.get_mut(log) {
            range.evict_below(low.min(range.high));
        }
    }

    /// It is carried no more.
    pub fn remove(&mut self, log: &LogId) {
        self.ranges.retain(|other, _| other != log);
    }

    /// The hash of the head, if the head has this number.
    pub fn head_hash_at(&self, log: &LogId, sequence: u64) -> Option<Hash> {
        self.ranges
            .get(log)
            .filter(|range| range.high == sequence)
            .map(|range| range.hash)
    }
}

/// It holds the line from which on we asked for this log.
fn covers_requested_line(batch: &Batch, wanted: Option<u64>) -> bool {
    wanted.is_some_and(|from| batch.sequence <= from && from <= batch.last_sequence())
}
