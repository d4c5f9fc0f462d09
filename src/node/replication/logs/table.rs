//! The records of all logs, our logical clock, and the incarnation of our next lines.
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};

use crate::base::batch::batch::{Batch, LocalFields, LogId};
use crate::base::batch::batch_signing::UnsignedBatch;
use crate::base::error_code::ErrorCode;
use crate::base::event::notice::Notice;
use crate::base::identity::{Hash, PeerId};
use crate::base::lines::Lines;
use crate::base::name::{FolderName, Room, Target};
use crate::base::range::{LogRange, LogRanges};
use crate::base::republished_lines::RepublishedLines;
use crate::base::request_id::RequestId;
use crate::base::table::{RecordMap, SortedMap, SortedSet};
use crate::base::text::line_form::LineForm;
use crate::base::time::Time;
use crate::node::config::ResumeState;
use crate::node::context::Context;
use crate::node::hybrid_clock::{HybridClock, TRUSTED_MAX};
use crate::node::replication::logs::log_places::LogPlaces;
use crate::node::replication::logs::log_state::{
    LogRole, LogState, OwnLog, Republication, RolledBack, RunLines,
};
use crate::wire::sealed;
/// Maximum number of forked logs that are reported to the user in one run. A peer can fork any
/// number of logs, and nobody reads so many reports.
const FORK_REPORTS_MAX: usize = 256;

static UNKNOWN: LazyLock<LogState> = LazyLock::new(LogState::unknown);

/// The records of all logs, and what our next lines continue.
#[derive(Default)]
pub struct Logs {
    /// The records. Contains each record that says something.
    states: RecordMap<Box<LogState>>,
    /// The logs whose [`OwnLog`] names lines of this run or a repair. May contain other logs.
    active: SortedSet<LogId>,
    clock: HybridClock,
    /// The incarnation of our next lines.
    incarnation: u64,
    /// The state from which our logs continue. Empty if the previous run did not end cleanly.
    resume: ResumeState,
    /// The logs whose lines were forgotten in this turn.
    forgotten: Vec<LogId>,
    /// Number of forked logs that were reported to the user.
    fork_reports: usize,
    /// The places for new logs of each room. `None`: of all direct logs.
    places: SortedMap<Option<Room>, LogPlaces>,
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
    pub fn restore_ranges(&mut self, ctx: &mut Context, folder: &FolderName, ranges: LogRanges) {
        // Our clock obeyed its bounds when it assigned the numbers of our lines.
        let own = ranges.iter();
        let own = own.filter(|range| range.log.author == ctx.own_id());
        own.for_each(|range| self.clock.restore(range.lamport));
        self.places.clear();
        let own = ctx.own_id();
        // Only the order of implausible numbers matters.
        let lamports = ranges.iter().map(|range| range.lamport);
        let implausible: SortedSet<u64> = lamports
            .inspect(|lamport| self.clock.restore((*lamport).min(TRUSTED_MAX)))
            .filter(|lamport| *lamport > TRUSTED_MAX)
            .collect();
        implausible
            .iter()
            .for_each(|lamport| self.clock.observe(*lamport));
        for range in ranges {
            let log = range.log.clone();
            self.get_or_create(&own, &log).set_range(range);
        }
        let stored = self
            .ranges_in_folder(folder, own)
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
        let Some(range) = self.get(forked) else {
            return;
        };
        let lines = RepublishedLines {
            incarnation: forked.incarnation,
            sequence: from,
            hash: range.hash,
        };
        let begun = self
            .ranges_of_author(forked)
            .find(|range| range.republishes.as_deref() == Some(&lines))
            .map(|range| range.log.incarnation);
        let log = LogId {
            incarnation: begun.unwrap_or_else(|| ctx.random_u64()),
            ..forked.clone()
        };
        if let Some(own) = self.own_mut(forked) {
            own.republication = Some(Republication { log, lines });
            own.run.take_if(|run| from <= run.first);
        }
    }

    /// The logs in which this run published lines, and the forked logs that we wrote. May contain
    /// other logs that we wrote.
    pub fn active_logs(&self) -> impl Iterator<Item = (&LogId, &LogState)> {
        self.active.iter().map(|log| (log, self.state(log)))
    }

    /// Mutable access to the [`OwnLog`] of a log. Adds the log to `active`. `None`: the log has no
    /// record, or another author wrote the log.
    fn own_mut(&mut self, log: &LogId) -> Option<&mut OwnLog> {
        let own = self.states.get_mut(log)?.own_mut()?;
        if !self.active.contains(log) {
            self.active.insert(log.clone());
        }
        Some(own)
    }

    /// Treats the line `sequence` of our log and all later lines as lines of this run, although an
    /// earlier run published them.
    pub fn adopt_lines(&mut self, log: &LogId, sequence: u64) {
        if self.get(log).is_some()
            && let Some(own) = self.own_mut(log)
        {
            let run = own.run.get_or_insert(RunLines::new(sequence));
            run.first = run.first.min(sequence);
        }
    }

    /// The state from which the next run continues our logs after a clean end.
    pub fn resume_state(&self, ctx: &Context) -> ResumeState {
        let mut heads = self.resume.heads.clone();
        let ranges = self.states.iter().filter_map(|state| state.range());
        for range in ranges.filter(|range| self.is_current(ctx, &range.log)) {
            heads.insert(range.log.target.clone(), (range.high, range.hash));
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

    /// The record of a log.
    pub fn state(&self, log: &LogId) -> &LogState {
        self.states.get(log).map_or(&UNKNOWN, |state| state)
    }

    /// Mutable access to a record. `None`: nothing is known of the log.
    pub fn state_mut(&mut self, log: &LogId) -> Option<&mut LogState> {
        self.states.get_mut(log).map(|state| &mut **state)
    }

    /// Mutable access to a record. Creates it if there is none. `own_id`: our id.
    pub fn get_or_create(&mut self, own_id: &PeerId, log: &LogId) -> &mut LogState {
        self.states
            .get_or_insert_with(log, || Box::new(LogState::new(own_id, log)))
    }

    /// The stored range of a log.
    pub fn get(&self, log: &LogId) -> Option<&LogRange> {
        self.state(log).range()
    }

    /// Sequence of the last stored line of a log; 0 if none.
    pub fn high(&self, log: &LogId) -> u64 {
        self.state(log).high()
    }

    /// The ranges of all logs to this target, and to all targets sorted after it. Rooms are sorted
    /// before peers.
    fn ranges_from(&self, target: Target) -> impl Iterator<Item = &LogRange> {
        let states = self.states.iter_from(&first_log_to(target));
        states.filter_map(|state| state.range())
    }

    /// The ranges of all logs to one target, sorted by log.
    pub fn ranges_to(&self, target: Target) -> impl Iterator<Item = &LogRange> {
        let all = self.ranges_from(target.clone());
        all.take_while(move |range| range.log.target == target)
    }

    /// The ranges of all logs of one author to one target, sorted by incarnation.
    pub fn ranges_by(&self, author: PeerId, target: Target) -> impl Iterator<Item = &LogRange> {
        let first = LogId {
            author,
            ..first_log_to(target.clone())
        };
        let states = self.states.iter_from(&first);
        let is_theirs = move |log: &LogId| log.author == author && log.target == target;
        states
            .take_while(move |state| is_theirs(state.log()))
            .filter_map(|state| state.range())
    }

    /// The ranges of all logs of a room, sorted by log.
    pub fn ranges_of_room(&self, room: &Room) -> impl Iterator<Item = &LogRange> + use<'_> {
        self.ranges_to(Target::Room(room.clone()))
    }

    /// The ranges of all direct logs, sorted by recipient.
    pub fn direct_ranges(&self) -> impl Iterator<Item = &LogRange> {
        self.ranges_from(Target::Peer(PeerId([0; 32])))
    }

    /// The ranges of all direct logs whose recipient is another peer, sorted by recipient.
    pub fn direct_ranges_to_others(&self, own_id: PeerId) -> impl Iterator<Item = &LogRange> {
        let to_us = Target::Peer(own_id);
        let before = self.ranges_from(Target::Peer(PeerId([0; 32])));
        let before = before.take_while(move |range| range.log.target < to_us);
        // Begins with the last possible log to us, which no author has.
        let behind = self.states.iter_from(&last_log_to(Target::Peer(own_id)));
        before.chain(behind.filter_map(|state| state.range()))
    }

    /// The records of all direct logs, sorted by recipient.
    pub fn direct_states_mut(&mut self) -> impl Iterator<Item = &mut Box<LogState>> {
        let first = first_log_to(Target::Peer(PeerId([0; 32])));
        self.states.iter_mut_from(&first)
    }

    /// The ranges of all logs that belong into this folder, sorted by log. `own`: our id.
    pub fn ranges_in_folder(
        &self,
        folder: &FolderName,
        own: PeerId,
    ) -> impl Iterator<Item = &Arc<LogRange>> {
        let is_in =
            move |log: &LogId| FolderName::for_log(&log.target, &log.author, &own) == *folder;
        let ranges = self.states.iter().filter_map(|state| state.shared_range());
        ranges.filter(move |range| is_in(&range.log))
    }

    /// Whether any log to this target has a gap that peers may fill. Lines of banned authors are
    /// not requested.
    pub fn has_gaps(&self, ctx: &Context, target: &Target) -> bool {
        self.ranges_to(target.clone())
            .any(|range| !range.gaps.is_empty() && !ctx.acquaintances.is_banned(&range.log.author))
    }

    /// Forgets the lines of a room that was left. Keeps the head of our log, so that this log
    /// continues if we join the room again.
    pub fn forget_room(&mut self, ctx: &Context, room: &Room) {
        let target = Target::Room(room.clone());
        if let Some(range) = self.get(&self.own_log(ctx, &target)) {
            let head = (range.high, range.hash);
            self.resume.heads.insert(target.clone(), head);
        }
        let of_room = self.states.iter_mut_from(&first_log_to(target));
        for state in of_room.take_while(|state| state.log().target.room() == Some(room)) {
            let head = state.run_head();
            if let Some(run) = state.own_mut().and_then(|own| own.run.as_mut()) {
                run.left_head = head;
            }
            state.forget_lines();
        }
        self.remove_empty();
    }

    /// Removes the records that say nothing.
    fn remove_empty(&mut self) {
        self.states.retain(|state| !state.is_empty());
        self.active.retain(|log| self.states.get(log).is_some());
    }

    /// Forgets all acknowledgements of a peer. Removes the records that then say nothing.
    pub fn forget_acks(&mut self, peer: &PeerId) {
        let states = &mut self.states;
        states.retain(|state| state.acks.remove(peer).is_none() || !state.is_empty());
    }

    /// Forgets the lines of a log that is no longer stored.
    pub fn forget_lines(&mut self, log: &LogId) {
        if let Some(state) = self.states.get_mut(log) {
            state.forget_lines();
            self.forgotten.push(log.clone());
            if state.is_empty() {
                self.states.remove(log);
            }
        }
    }

    /// Forgets the lines of a log that we carry. The log begins again with the next batch.
    pub fn restart(&mut self, log: &LogId) {
        if let Some(state) = self.states.get_mut(log) {
            state.forget_lines();
        }
    }

    /// Takes the logs whose lines were forgotten in this turn.
    pub fn take_forgotten(&mut self) -> Vec<LogId> {
        std::mem::take(&mut self.forgotten)
    }

    /// Records that a log is forked. Returns whether to report it to the user: each log is reported
    /// once, up to the bound.
    pub fn mark_forked(&mut self, log: &LogId) -> bool {
        let Some(state) = self.states.get_mut(log) else {
            return false;
        };
        let is_new = !std::mem::replace(&mut state.is_forked, true);
        let is_reported = is_new && self.fork_reports < FORK_REPORTS_MAX;
        self.fork_reports += usize::from(is_reported);
        is_reported
    }

    /// Records that a terminal has shown line `sequence` of a direct log to us, and all earlier
    /// lines. Returns `false` if this line is not stored.
    pub fn mark_shown(&mut self, log: &LogId, sequence: u64) -> bool {
        let state = self.states.get_mut(log);
        let Some(state) = state.filter(|state| sequence <= state.high()) else {
            return false;
        };
        let LogRole::Recipient { shown_up_to } = &mut state.role else {
            return false;
        };
        *shown_up_to = sequence.max(*shown_up_to);
        true
    }

    /// Signs lines as the next batch of our log to this target. Seals them if the target is a peer.
    /// `None`: the peer's id is not a key for which lines can be sealed.
    pub fn append(
        &mut self,
        ctx: &mut Context,
        target: &Target,
        form: LineForm,
        request: Option<RequestId>,
        lines: &Lines,
    ) -> Option<Arc<Batch>> {
        let log = self.own_log(ctx, target);
        let head = self.get(&log);
        let sequence = head.map_or(1, |range| range.high + 1);
        let sealed = match target {
            Target::Room(_) => None,
            Target::Peer(_) => {
                let seed = ctx.random_bytes();
                Some(sealed::seal(seed, &ctx.network, &log, sequence, lines)?)
            }
        };
        let repair = self.active_logs().find_map(|(_, state)| {
            let repair = state.republication()?;
            (repair.log == log).then_some(repair.lines)
        });
        let unsigned = UnsignedBatch {
            log: log.clone(),
            username: ctx.nick.clone(),
            sequence,
            lamport: self.clock.next(ctx.now.wall),
            timestamp: ctx.now.wall,
            run: ctx.run,
            uptime: ctx.now.time.0,
            previous: head.map(|range| range.hash),
            form,
            republishes: repair,
            lines,
            sealed: sealed.as_deref(),
            salt: ctx.random_u64(),
        };
        let mut batch = Batch::sign(&ctx.identity, &ctx.network, unsigned);
        batch.request = request;
        let batch = Arc::new(batch);
        let local = LocalFields {
            backfill: true,
            ..LocalFields::default()
        };
        self.advance(&ctx.own_id(), &batch, local);
        if let Some(own) = self.own_mut(&log) {
            own.run.get_or_insert(RunLines::new(sequence));
        }
        Some(batch)
    }

    /// Adds a batch to a gap in its log. See [`LogRange::fill_gap`].
    pub fn fill_gap(&mut self, batch: &Batch) -> bool {
        let state = self.states.get_mut(&batch.log);
        let range = state.and_then(|state| state.range_mut());
        range.is_some_and(|range| range.fill_gap(batch))
    }

    /// Makes a batch the head of its log. The batch must lie beyond the present head. Returns the
    /// lines that are missing before the batch. `own_id`: our id. `local`: the local fields that
    /// the batch is stored with.
    pub fn advance(
        &mut self,
        own_id: &PeerId,
        batch: &Batch,
        local: LocalFields,
    ) -> Option<RangeInclusive<u64>> {
        self.clock.observe(batch.lamport + batch.count - 1);
        let state = self.get_or_create(own_id, &batch.log);
        match state.range_mut() {
            Some(range) => range.extend(batch),
            None => state.set_range(Arc::new(LogRange::begin(batch, !local.backfill))),
        }
        let range = state.range_mut()?;
        range.record_news(batch, local);
        range.gap_before(batch)
    }

    /// The ranges of all logs with the same author and target as this log.
    pub fn ranges_of_author(&self, log: &LogId) -> impl Iterator<Item = &LogRange> {
        self.ranges_by(log.author, log.target.clone())
    }

    /// The places for logs to the target of this log.
    pub fn places_mut(&mut self, log: &LogId) -> &mut LogPlaces {
        self.places.get_or_default(log.target.room().cloned())
    }

    /// Records the arrival of a line, over a link with the host `source`.
    pub fn record_arrival(&mut self, log: &LogId, source: Option<IpAddr>, now: Time) {
        if let Some(state) = self.states.get_mut(log) {
            state.source = state.source.or(source);
            state.received_at = Some(now);
        }
    }

    /// The host over whose link lines of this author first came to a room in this run.
    pub fn source_of(&self, room: &Room, author: &PeerId) -> Option<IpAddr> {
        let first = LogId {
            author: *author,
            ..first_log_to(Target::Room(room.clone()))
        };
        let is_theirs = |log: &LogId| log.author == *author && log.target.room() == Some(room);
        let states = self.states.iter_from(&first);
        let mut of_author = states.take_while(|state| is_theirs(state.log()));
        of_author.find_map(|state| state.source)
    }

    /// Removes a batch from its log. See [`LogState::roll_back`]. Removes the log's record if it
    /// then says nothing.
    pub fn roll_back(&mut self, batch: &Batch) -> RolledBack {
        let Some(state) = self.states.get_mut(&batch.log) else {
            return RolledBack::Head;
        };
        let rolled_back = state.roll_back(batch);
        if state.is_empty() {
            self.states.remove(&batch.log);
        }
        rolled_back
    }

    /// Forgets the lines before the line `low`. The store has evicted these lines.
    pub fn raise_low(&mut self, log: &LogId, low: u64) {
        let state = self.states.get_mut(log);
        if let Some(range) = state.and_then(|state| state.range_mut()) {
            range.evict_below(low.min(range.high + 1));
        }
    }

    /// The hash of a log's last batch, if the log's head is the line `sequence`.
    pub fn head_hash_at(&self, log: &LogId, sequence: u64) -> Option<Hash> {
        let range = self.get(log)?;
        (range.high == sequence).then_some(range.hash)
    }
}

/// The id that is sorted before all logs to this target.
fn first_log_to(target: Target) -> LogId {
    LogId {
        target,
        author: PeerId([0; 32]),
        incarnation: 0,
    }
}

/// The id that is sorted after all logs to this target.
fn last_log_to(target: Target) -> LogId {
    LogId {
        target,
        author: PeerId([u8::MAX; 32]),
        incarnation: u64::MAX,
    }
}
