//! Tracks the stored range of each log, our logical clock, and our next sequence. Decides which
//! logs to evict at the bounds.
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::batch::{Batch, LogId, UnsignedBatch};
use crate::base::error_code::ErrorCode;
use crate::base::event::Notice;
use crate::base::identity::{Hash, PeerId};
use crate::base::lines::Lines;
use crate::base::name::{FolderName, Room, Target};
use crate::base::range::LogRange;
use crate::base::republished_lines::RepublishedLines;
use crate::base::table::SortedMap;
use crate::node::context::{Context, ResumeState};
use crate::node::hybrid_clock::HybridClock;
use crate::wire::sealed;

/// Maximum number of logs of one room. The same bound holds for all direct logs together.
const LOGS_PER_ROOM_MAX: usize = 16_384;
/// Maximum number of logs of one author to one target. An author needs a new log after each run
/// that did not end cleanly.
const LOGS_PER_AUTHOR_MAX: usize = 64;

/// What [`Logs::roll_back`] changed in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolledBack {
    /// The batch was the head. The log now ends before the batch.
    Head,
    /// The batch had filled a gap. Its lines are missing again.
    Gap,
}

/// The repair of a forked log that we wrote: its last lines are published again.
pub struct Republication {
    /// The new log, in which the lines are published again.
    pub log: LogId,
    /// The lines of the forked log that are published again.
    pub lines: RepublishedLines,
}

/// What this run knows of a log that we wrote, beside its stored range.
#[derive(Default)]
struct OwnLog {
    /// Sequence of the first line that this run published. `None`: it published nothing.
    run_start: Option<u64>,
    /// Sequence of the last line when the log's room was left. Set only if this run had published
    /// lines in the log.
    left_head: Option<u64>,
    /// The repair of this log, if it is forked.
    republication: Option<Republication>,
}

/// The stored ranges of all logs, and the state of the logs that we write.
#[derive(Default)]
pub struct Logs {
    ranges: BTreeMap<LogId, LogRange>,
    clock: HybridClock,
    /// The incarnation of our next lines.
    incarnation: u64,
    /// The logs that we wrote and about which this run knows more than the range.
    own_logs: SortedMap<LogId, OwnLog>,
    /// The state from which our logs continue. Empty if the previous run did not end cleanly.
    resume: ResumeState,
    /// For each direct log whose recipient we are: the sequence of the last line that a terminal
    /// has shown.
    read_up_to: SortedMap<LogId, u64>,
    /// The logs that were forgotten in this turn.
    forgotten: Vec<LogId>,
    /// Whether the user was told that logs are refused or evicted.
    eviction_reported: bool,
}

impl Logs {
    /// Creates an empty table. Our lines get a new incarnation unless the previous run ended
    /// cleanly.
    pub fn new(ctx: &mut Context, resume: Option<ResumeState>) -> Logs {
        let resume = resume.unwrap_or_default();
        let incarnation = match resume.incarnation {
            0 => ctx.random_u64(),
            incarnation => incarnation,
        };
        Logs {
            incarnation,
            resume,
            ..Logs::default()
        }
    }

    /// Restores the ranges of an opened folder. Our lines get a new incarnation if our logs do not
    /// end where the previous run left them.
    pub fn restore_ranges(
        &mut self,
        ctx: &mut Context,
        folder: &FolderName,
        mut ranges: Vec<LogRange>,
    ) {
        // Our clock obeyed its bounds when it assigned the numbers of our lines.
        let own = ranges.iter();
        let own = own.filter(|range| range.log.author == ctx.own_id());
        own.for_each(|range| self.clock.restore(range.lamport));
        ranges.sort_by_key(|range| range.lamport);
        for range in ranges {
            self.clock.observe(range.lamport);
            self.ranges.insert(range.log.clone(), range);
        }
        let own = ctx.own_id();
        let stored = self.ranges_in_folder(folder, &own);
        let stored = stored
            .iter()
            .filter(|range| self.is_current(ctx, &range.log))
            .map(|range| (&range.log.target, (range.high, range.hash)));
        let left = self.resume.heads.iter();
        let left = left.filter(|(target, _)| FolderName::for_log(target, &own, &own) == *folder);
        if !stored.eq(left.map(|(target, head)| (target, *head))) {
            // No notice to the user: no peer reported a conflict, and this run has published
            // nothing yet.
            self.renew_incarnation(ctx);
        }
    }

    /// Draws a new incarnation for our next lines. To be called if our sequences may be in use
    /// already.
    pub fn renew_incarnation(&mut self, ctx: &mut Context) {
        self.incarnation = ctx.random_u64();
        self.resume = ResumeState::default();
    }

    /// Draws a new incarnation for our next lines, because a peer stores other lines under our
    /// sequences. Notifies the user.
    pub fn renew_after_conflict(&mut self, ctx: &mut Context) {
        self.renew_incarnation(ctx);
        let content = "a peer stores other lines under our numbers: this directory is an old \
            copy, or used twice; new lines get new numbers"
            .to_owned();
        ctx.notify(Notice::Error {
            code: ErrorCode::Incarnation,
            content,
        });
    }

    /// Sets the incarnation of our next lines. Returns the previous incarnation.
    pub fn replace_incarnation(&mut self, incarnation: u64) -> u64 {
        std::mem::replace(&mut self.incarnation, incarnation)
    }

    /// Records that a forked log is published again from the line `from` on. For peers, the forked
    /// log then ends before this line. If this run published no earlier line in the forked log,
    /// that log no longer counts as a log of this run.
    ///
    /// If an earlier run began to publish these lines again, its new log is continued. Otherwise
    /// the new log gets a random incarnation.
    pub fn mark_republished(&mut self, ctx: &mut Context, forked: &LogId, from: u64) {
        let Some(range) = self.ranges.get(forked) else {
            return;
        };
        let lines = RepublishedLines {
            incarnation: forked.incarnation,
            sequence: from,
            hash: range.hash,
        };
        let begun = self
            .logs_of_author(forked)
            .find(|range| range.republishes == Some(lines))
            .map(|range| range.log.incarnation);
        let log = LogId {
            incarnation: begun.unwrap_or_else(|| ctx.random_u64()),
            ..forked.clone()
        };
        let own_log = self.own_logs.get_or_default(forked.clone());
        own_log.republication = Some(Republication { log, lines });
        own_log.run_start.take_if(|start| from <= *start);
    }

    /// The forked logs that we wrote, each with its repair.
    pub fn republications(&self) -> impl Iterator<Item = (&LogId, &Republication)> {
        let logs = self.own_logs.iter();
        logs.filter_map(|(log, own_log)| Some((log, own_log.republication.as_ref()?)))
    }

    /// The repair of this log. `None`: the log is not forked, or another author wrote it.
    pub fn republication(&self, log: &LogId) -> Option<&Republication> {
        self.own_logs.get(log)?.republication.as_ref()
    }

    /// Sequence of the last line of this log that peers may get. Excludes lines that are published
    /// again in another log.
    pub fn last_served(&self, range: &LogRange) -> u64 {
        match self.republication(&range.log) {
            Some(repair) => range.high.min(repair.lines.sequence - 1),
            None => range.high,
        }
    }

    /// Treats lines of an earlier run as lines of this run: the line `sequence` of our log and all
    /// later lines. No effect if this run has already published in the log.
    pub fn adopt_lines(&mut self, ctx: &Context, log: LogId, sequence: u64) {
        if log.author == ctx.own_id() && self.ranges.contains_key(&log) {
            self.own_logs
                .get_or_default(log)
                .run_start
                .get_or_insert(sequence);
        }
    }

    /// The state from which the next run continues our logs after a clean end.
    pub fn resume_state(&self, ctx: &Context) -> ResumeState {
        let mut heads = self.resume.heads.clone();
        for (log, range) in &self.ranges {
            if self.is_current(ctx, log) {
                heads.insert(log.target.clone(), (range.high, range.hash));
            }
        }
        ResumeState {
            incarnation: self.incarnation,
            heads,
        }
    }

    /// The id of our log to this target in the present incarnation.
    pub fn own_log(&self, ctx: &Context, target: &Target) -> LogId {
        LogId {
            target: target.clone(),
            author: ctx.own_id(),
            incarnation: self.incarnation,
        }
    }

    /// Whether we write this log in the present incarnation.
    pub fn is_current(&self, ctx: &Context, log: &LogId) -> bool {
        log.author == ctx.own_id() && log.incarnation == self.incarnation
    }

    /// The stored range of a log.
    pub fn get(&self, log: &LogId) -> Option<&LogRange> {
        self.ranges.get(log)
    }

    /// Sequence of the last stored line of a log; 0 if none.
    pub fn high(&self, log: &LogId) -> u64 {
        self.get(log).map_or(0, |range| range.high)
    }

    /// The ranges of all logs to this target, and to all targets sorted after it. Rooms are sorted
    /// before peers.
    fn ranges_from(&self, target: Target) -> impl Iterator<Item = &LogRange> {
        let first = LogId {
            target,
            author: PeerId([0; 32]),
            incarnation: 0,
        };
        self.ranges.range(first..).map(|(_, range)| range)
    }

    /// The ranges of all logs to one target, sorted by log.
    pub fn ranges_to(&self, target: Target) -> impl Iterator<Item = &LogRange> {
        let all = self.ranges_from(target.clone());
        all.take_while(move |range| range.log.target == target)
    }

    /// The ranges of all logs of a room, sorted by log.
    pub fn ranges_of_room(&self, room: &Room) -> impl Iterator<Item = &LogRange> + use<'_> {
        self.ranges_to(Target::Room(room.clone()))
    }

    /// The ranges of all direct logs, sorted by recipient.
    pub fn direct_ranges(&self) -> impl Iterator<Item = &LogRange> {
        self.ranges_from(Target::Peer(PeerId([0; 32])))
    }

    /// The ranges of all logs that belong into this folder, sorted by log. `own`: our id.
    pub fn ranges_in_folder(&self, folder: &FolderName, own: &PeerId) -> Vec<LogRange> {
        let is_in = |log: &LogId| FolderName::for_log(&log.target, &log.author, own) == *folder;
        let ranges = self.ranges.values().filter(|range| is_in(&range.log));
        ranges.cloned().collect()
    }

    /// Whether any log to this target has a gap.
    pub fn has_gaps(&self, target: &Target) -> bool {
        self.ranges_to(target.clone())
            .any(|range| !range.gaps.is_empty())
    }

    /// Forgets the logs of a room that was left. Keeps the head of our log, so that this log
    /// continues if we join the room again.
    pub fn forget_room(&mut self, ctx: &Context, room: &Room) {
        let target = Target::Room(room.clone());
        if let Some(range) = self.ranges.get(&self.own_log(ctx, &target)) {
            let head = (range.high, range.hash);
            self.resume.heads.insert(target, head);
        }
        for (log, own_log) in self.own_logs.iter_mut() {
            if log.target.room() == Some(room)
                && own_log.run_start.is_some()
                && let Some(range) = self.ranges.get(log)
            {
                own_log.left_head = Some(range.high);
            }
        }
        self.ranges.retain(|log, _| log.target.room() != Some(room));
    }

    /// Sequence of the last line of a log that we wrote. Also known after the log's room was left.
    pub fn head(&self, log: &LogId) -> Option<u64> {
        let stored = self.ranges.get(log).map(|range| range.high);
        stored.or_else(|| self.own_logs.get(log)?.left_head)
    }

    /// Sequence of the first line that this run published in a log. `None`: it published nothing
    /// there.
    pub fn run_start(&self, log: &LogId) -> Option<u64> {
        self.own_logs.get(log)?.run_start
    }

    /// The logs in which this run published lines, each with the sequence of the first of these
    /// lines.
    pub fn run_logs(&self) -> impl Iterator<Item = (&LogId, u64)> {
        let logs = self.own_logs.iter();
        logs.filter_map(|(log, own_log)| Some((log, own_log.run_start?)))
    }

    /// Records that a terminal has shown line `sequence` of a direct log to us, and all earlier
    /// lines. Returns `false` if this line is not stored.
    pub fn mark_read(&mut self, ctx: &Context, log: &LogId, sequence: u64) -> bool {
        let is_to_us = log.target.recipient() == Some(ctx.own_id());
        let is_stored = is_to_us && sequence <= self.high(log);
        if is_stored {
            let read = self.read_up_to.get_or_default(log.clone());
            *read = sequence.max(*read);
        }
        is_stored
    }

    /// In a direct log to us: the sequence of the last line that a terminal has shown; 0 if none.
    pub fn read_up_to(&self, log: &LogId) -> u64 {
        self.read_up_to.get(log).copied().unwrap_or(0)
    }

    /// Signs lines as the next batch of our log to this target. Seals them if the target is a peer.
    /// `None`: the peer's id is not a key for which lines can be sealed.
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
        let repair = |(_, repair): (_, &Republication)| (repair.log == log).then_some(repair.lines);
        let republishes = self.republications().find_map(repair);
        let unsigned = UnsignedBatch {
            log: log.clone(),
            username: ctx.nick.clone(),
            sequence,
            lamport: self.clock.next(ctx.now.wall),
            timestamp: ctx.now.wall,
            run: ctx.run,
            uptime: ctx.now.time.0,
            previous: head.map(|range| range.hash),
            action,
            republishes,
            lines,
            sealed: sealed.as_deref(),
            salt: ctx.random_u64(),
        };
        let batch = Arc::new(Batch::sign(&ctx.identity, &ctx.network, unsigned));
        self.own_logs
            .get_or_default(log)
            .run_start
            .get_or_insert(sequence);
        self.advance(&batch);
        Some(batch)
    }

    /// Adds a batch at the beginning of a gap in its log. See [`LogRange::fill_gap`].
    pub fn fill_gap(&mut self, batch: &Batch) -> Option<bool> {
        self.ranges.get_mut(&batch.log)?.fill_gap(batch)
    }

    /// Makes a batch the head of its log. The batch must lie beyond the present head.
    pub fn advance(&mut self, batch: &Batch) {
        let lamport = batch.lamport + batch.count - 1;
        self.clock.observe(lamport);
        let range = self
            .ranges
            .entry(batch.log.clone())
            .or_insert_with(|| LogRange {
                log: batch.log.clone(),
                low: batch.sequence,
                high: 0,
                hash: batch.hash,
                lamport,
                republishes: batch.republishes,
                gaps: Vec::new(),
            });
        if batch.sequence > range.high + 1 {
            range.skip_to(batch);
        }
        (range.high, range.hash, range.lamport) = (batch.last_sequence(), batch.hash, lamport);
    }

    /// Makes place for the log of this batch. If there are too many logs, evicts another log, or
    /// refuses the batch's log. Returns `false` if the batch's log is refused.
    pub fn admit(&mut self, ctx: &mut Context, batch: &Batch) -> bool {
        let log = &batch.log;
        if log.author == ctx.own_id() || self.ranges.contains_key(log) {
            return true;
        }
        let has_place = self.logs_of_author(log).count() < LOGS_PER_AUTHOR_MAX
            && self.logs_beside(log).count() < LOGS_PER_ROOM_MAX;
        if has_place {
            return true;
        }
        let evicted = self.eviction_candidate(ctx, batch);
        ctx.counters.logs_over_bound += 1;
        if !std::mem::replace(&mut self.eviction_reported, true) {
            let author = ctx.display_peer(&evicted.as_ref().unwrap_or(log).author);
            let content = format!(
                "too many logs in {}: some, as those of {author}, are no longer stored or \
                 forwarded",
                log.target
            );
            let code = ErrorCode::TooManyLogs;
            ctx.notify(Notice::Error { code, content });
        }
        if let Some(evicted) = &evicted {
            self.remove(evicted);
        }
        evicted.is_some()
    }

    /// The log to evict in favour of the batch's log. `None`: the batch's log is refused.
    ///
    /// If the batch's author has too many logs, the author's oldest log is evicted. But if the
    /// batch is not newer than that log, the batch's log is refused.
    ///
    /// If the room has too many logs, the author with the most logs may lose its oldest log. Our
    /// own logs are never evicted. Among equals, an author without a link is chosen. One of these
    /// conditions must hold:
    ///
    /// - The chosen author has at least two logs more than the batch's author.
    /// - The batch's author is linked, and the chosen author is not.
    ///
    /// So a liar with many keys cannot displace linked peers.
    fn eviction_candidate(&self, ctx: &Context, batch: &Batch) -> Option<LogId> {
        let log = &batch.log;
        if self.logs_of_author(log).count() >= LOGS_PER_AUTHOR_MAX {
            let oldest = self.logs_of_author(log).min_by_key(|range| range.lamport)?;
            return (oldest.lamport < batch.lamport).then(|| oldest.log.clone());
        }
        let mut counts: SortedMap<PeerId, usize> = SortedMap::new();
        for range in self.logs_beside(log) {
            *counts.get_or_default(range.log.author) += 1;
        }
        let count = |author: &PeerId| counts.get(author).copied().unwrap_or(0);
        let is_linked = |author: &PeerId| ctx.stream_by_peer.contains_key(author);
        let others = self.logs_beside(log);
        let others = others.filter(|range| range.log.author != ctx.own_id());
        let candidate = others.max_by_key(|range| {
            let author = &range.log.author;
            (count(author), !is_linked(author), Reverse(range.lamport))
        })?;
        let author = &candidate.log.author;
        let yields =
            count(author) > count(&log.author) + 1 || is_linked(&log.author) && !is_linked(author);
        yields.then(|| candidate.log.clone())
    }

    /// The ranges of all logs with the same author and target as this log.
    fn logs_of_author(&self, log: &LogId) -> impl Iterator<Item = &LogRange> {
        let of_author = |incarnation| LogId {
            incarnation,
            ..log.clone()
        };
        let logs = self.ranges.range(of_author(0)..=of_author(u64::MAX));
        logs.map(|(_, range)| range)
    }

    /// The ranges of all logs that share a bound with this log: the logs of its room, or all direct
    /// logs.
    fn logs_beside(&self, log: &LogId) -> Box<dyn Iterator<Item = &LogRange> + '_> {
        match log.target.room() {
            Some(room) => Box::new(self.ranges_of_room(room)),
            None => Box::new(self.direct_ranges()),
        }
    }

    /// Removes a batch from its log, because the batch could not be stored. The batch was neither
    /// sent nor acknowledged.
    pub fn roll_back(&mut self, batch: &Batch) -> RolledBack {
        let Some(range) = self.ranges.get_mut(&batch.log) else {
            return RolledBack::Head;
        };
        if range.high != batch.last_sequence() {
            range.reopen_gap(batch);
            return RolledBack::Gap;
        }
        match batch.previous {
            Some(previous) if batch.sequence > range.low => {
                (range.high, range.hash) = (batch.sequence - 1, previous)
            }
            _ => match range.gaps.pop_if(|gap| gap.to + 1 == batch.sequence) {
                Some(gap) => {
                    (range.low, range.high, range.hash) =
                        (gap.stored_from, gap.from - 1, gap.previous_hash)
                }
                None => {
                    self.ranges.remove(&batch.log);
                }
            },
        }
        if let Some(own_log) = self.own_logs.get_mut(&batch.log) {
            own_log.run_start.take_if(|start| *start == batch.sequence);
        }
        RolledBack::Head
    }

    /// Forgets the lines before the line `low`. The store has evicted these lines.
    pub fn raise_low(&mut self, log: &LogId, low: u64) {
        if let Some(range) = self.ranges.get_mut(log) {
            range.evict_below(low.min(range.high + 1));
        }
    }

    /// Forgets a log that is no longer stored.
    pub fn remove(&mut self, log: &LogId) {
        self.ranges.remove(log);
        self.read_up_to.remove(log);
        self.forgotten.push(log.clone());
    }

    /// Takes the logs that were forgotten in this turn.
    pub fn take_forgotten(&mut self) -> Vec<LogId> {
        std::mem::take(&mut self.forgotten)
    }

    /// The hash of a log's last batch, if the log's head is the line `sequence`.
    pub fn head_hash_at(&self, log: &LogId, sequence: u64) -> Option<Hash> {
        let range = self.ranges.get(log)?;
        (range.high == sequence).then_some(range.hash)
    }
}
