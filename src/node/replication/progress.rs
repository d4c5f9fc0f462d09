//! What is known of one log on one link: a single record, as raft's `Progress` (raft-rs).
//!
//! A record has two halves. Each half is an enum, so states that exclude each other cannot be
//! combined. Beside them stands what is due to be sent.
//!
//! | half | state | meaning |
//! |---|---|---|
//! | sending | [`SendState::Idle`] | the peer requested nothing |
//! | | [`SendState::Offered`] | we wrote the log, offered it, and wait for a request |
//! | | [`SendState::Requested`] | lines are sent: see [`CursorState`] |
//! | fetching | [`FetchState::Idle`] | nothing is requested for a comparison |
//! | | [`FetchState::EvidenceWanted`] | one batch is requested, which may prove a fork |
//! | | [`FetchState::Comparing`] | we wrote the log, and search where the peer's copy differs |
//! | | [`FetchState::Refused`] | the log is never requested over this link |
//! | due | `ack_batches`, `offer` | what the next `have` message says about the log |
//! | gaps | `gap_lines` | the lines with which the peer can fill our gaps |
//!
//! A record exists only while it says something. Records are grouped by log, because a live line
//! concerns all links of one log, and because the id of a log is then stored once.
use std::collections::VecDeque;
use std::ops::RangeInclusive;

use crate::base::batch::{Batch, LogId};
use crate::base::event::{Position, StreamId};
use crate::base::identity::Hash;
use crate::base::name::Room;
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::node::link::LinkLog;

/// Maximum number of unacknowledged batches of one log on one link. At this bound, sending waits
/// for an acknowledgement.
const UNACKED_BATCHES_MAX: usize = 1024;
/// Budget of one read from the store, in bytes.
pub const LOAD_BUDGET_BYTES: usize = 64 * 1024;
/// Maximum number of [`SendCursor`]s, over all links.
pub const CURSORS_MAX: usize = 65_536;
/// Maximum number of records in the state [`FetchState::EvidenceWanted`], over all links.
pub const EVIDENCE_MAX: usize = 256;
/// Maximum number of [`Bisection`]s, over all links. A completed one is kept until its link ends.
pub const BISECTIONS_MAX: usize = 1024;
/// Maximum number of records in the state [`FetchState::Refused`], over all links.
pub const REFUSALS_MAX: usize = 16_384;
/// Maximum number of offers to fill gaps, over all links.
pub const GAP_OFFERS_MAX: usize = 1024;

/// What is known of one log on one link.
#[derive(Default)]
pub struct Progress {
    send: SendState,
    fetch: FetchState,
    /// The peer's acknowledgement of a log that we wrote, if it cannot be checked yet, because we
    /// do not know our hash at the acknowledged line. The batch after that line names the hash. The
    /// check is made when the store has read that batch.
    pub(super) claim: Option<Box<BatchEnd>>,
    /// The number of batches that the pending acknowledgement covers. `None`: none is pending.
    pub(super) ack_batches: Option<u32>,
    /// The pending offer.
    pub(super) offer: Option<OfferKind>,
    /// The lines that the peer offers to fill our gaps.
    gap_lines: Option<Box<RangeInclusive<u64>>>,
}

/// How far a log was sent over a link.
#[derive(Default)]
pub enum SendState {
    /// The peer requested no line.
    #[default]
    Idle,
    /// We wrote the log, offered it at this time, and wait for a request. Meanwhile, our later logs
    /// to the same target are held back.
    Offered(Time),
    /// The peer requested the log, or the log began while the peer was linked.
    Requested(Box<SendCursor>),
}

/// Why batches of a log are requested over a link, or must not be requested.
#[derive(Default)]
pub enum FetchState {
    /// Nothing is requested for a comparison.
    #[default]
    Idle,
    /// The peer claims that its batch with this line differs from ours. The batch is requested,
    /// because only the signed batch proves a fork.
    EvidenceWanted(u64),
    /// We wrote the log, and the peer stores other lines under our sequences. The search for the
    /// first such line is under way or completed. The log is not requested otherwise.
    Comparing(Box<Bisection>),
    /// The log is never requested again. The peer sent a batch that contradicts ours, or our tables
    /// had no place for the log.
    Refused,
}

/// For each of [`Progress::counted_states`]: the maximum number of records, over all links.
const BOUNDS: [usize; 4] = [CURSORS_MAX, EVIDENCE_MAX, BISECTIONS_MAX, REFUSALS_MAX];

/// The end of a batch: the sequence of its last line, and the batch's hash. An acknowledgement
/// names both.
#[derive(Clone, Copy)]
pub struct BatchEnd {
    /// Sequence of the last line.
    pub last: u64,
    /// Hash of the batch.
    pub hash: Hash,
}

/// The position of one link in one log.
pub struct SendCursor {
    /// Sequence of the first line that the peer requested; 0 if it requested none.
    pub requested_from: u64,
    /// Sequence of the next line to send.
    pub next: u64,
    /// Position in the store of the line whose sequence is `next`. `None` if unknown.
    pub position: Option<Position>,
    /// Where the next line comes from.
    pub state: CursorState,
    /// The batches that were sent and are not acknowledged yet, in ascending order.
    pub unacked: VecDeque<BatchEnd>,
}

/// Where the next line of a cursor comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum CursorState {
    /// All stored lines were sent. A new batch is sent at once.
    AtHead,
    /// The next line must be read from the store.
    Lagging,
    /// The store is reading the line with this sequence and later lines. Replies to other reads are
    /// outdated and dropped.
    Loading(u64),
}

impl SendCursor {
    /// A cursor at the head of a log whose next line is `next`.
    pub fn new(requested_from: u64, next: u64) -> SendCursor {
        SendCursor {
            requested_from,
            next,
            position: None,
            state: CursorState::AtHead,
            unacked: VecDeque::new(),
        }
    }

    /// Whether no read is under way and the window of unacknowledged batches is not full.
    pub fn can_send(&self) -> bool {
        !matches!(self.state, CursorState::Loading(_)) && self.unacked.len() < UNACKED_BATCHES_MAX
    }

    /// Ends the state [`CursorState::Lagging`] if no line up to the sequence `last` is still to be
    /// sent. Returns the state.
    pub fn update_state(&mut self, last: u64) -> CursorState {
        if self.state == CursorState::Lagging && self.next > last {
            self.state = CursorState::AtHead;
        }
        self.state
    }
}

/// Why a log is offered. The reason decides how soon the offer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OfferKind {
    /// The log grew, or its author left. The rate of such offers is limited.
    Update,
    /// We stored the log before the link began, or before it shared the room. Offered at once.
    Initial,
}

impl Progress {
    /// How far the log was sent.
    pub fn send(&self) -> &SendState {
        &self.send
    }

    /// The position of the link in the log. `None`: the peer requested nothing.
    pub fn cursor(&self) -> Option<&SendCursor> {
        match &self.send {
            SendState::Requested(cursor) => Some(cursor),
            SendState::Idle | SendState::Offered(_) => None,
        }
    }

    /// Mutable access to [`Progress::cursor`].
    pub fn cursor_mut(&mut self) -> Option<&mut SendCursor> {
        match &mut self.send {
            SendState::Requested(cursor) => Some(cursor),
            SendState::Idle | SendState::Offered(_) => None,
        }
    }

    /// Whether the record says nothing.
    fn is_empty(&self) -> bool {
        let Progress {
            send,
            fetch,
            claim,
            ack_batches,
            offer,
            gap_lines,
        } = self;
        matches!(send, SendState::Idle)
            && matches!(fetch, FetchState::Idle)
            && claim.is_none()
            && ack_batches.is_none()
            && offer.is_none()
            && gap_lines.is_none()
    }

    /// The lines that the peer offers to fill our gaps.
    pub fn gap_lines(&self) -> Option<&RangeInclusive<u64>> {
        self.gap_lines.as_deref()
    }

    /// For each state whose number of records is bounded: whether the record is in it.
    fn counted_states(&self) -> [bool; BOUNDS.len()] {
        [
            matches!(self.send, SendState::Requested(_)),
            matches!(self.fetch, FetchState::EvidenceWanted(_)),
            matches!(self.fetch, FetchState::Comparing(_)),
            matches!(self.fetch, FetchState::Refused),
        ]
    }

    /// The fetching half.
    pub fn fetch(&self) -> &FetchState {
        &self.fetch
    }

    fn bisection_mut(&mut self) -> Option<&mut Bisection> {
        match &mut self.fetch {
            FetchState::Comparing(bisection) => Some(bisection),
            FetchState::Idle | FetchState::EvidenceWanted(_) | FetchState::Refused => None,
        }
    }
}

/// A gap that a peer requested.
pub struct GapSend {
    /// The log with the gap.
    pub log: LogId,
    /// Sequence of the last line to send. The cursor gives the next line.
    pub to: u64,
    /// The position in the gap.
    pub cursor: SendCursor,
}

/// What is known of one link, and the indexes of its records.
#[derive(Default)]
pub struct LinkProgress {
    /// The logs whose record is [`SendState::Offered`] or whose cursor is not
    /// [`CursorState::AtHead`]. May contain other logs until the end of the turn.
    ///
    /// One author's logs to one target are sent one after another. The log with the oldest head is
    /// sent first. Lines thus arrive, and are shown, in their order of publication.
    pub lagging: SortedSet<LogId>,
    /// The logs with a pending acknowledgement or offer. May contain other logs.
    pub reportable: SortedSet<LogId>,
    /// The gap whose lines are being sent. Each link has at most one.
    pub gap_send: Option<GapSend>,
    /// A gap request over this link failed. No gap is requested over it again.
    pub fills_no_gap: bool,
    /// For each of [`Progress::counted_states`]: the number of records.
    counts: [usize; BOUNDS.len()],
}

impl LinkProgress {
    /// Counts that the state of a record has changed.
    fn recount(&mut self, before: [bool; BOUNDS.len()], after: [bool; BOUNDS.len()]) {
        for (count, (before, after)) in self.counts.iter_mut().zip(before.into_iter().zip(after)) {
            *count += usize::from(after);
            *count -= usize::from(before);
        }
    }
}

/// The search for the first line at which a peer's copy of our log differs from our own copy.
pub struct Bisection {
    /// Sequence before the first undecided line. This line and all earlier lines are equal in both
    /// copies, or cannot be compared because a copy lacks them.
    same_up_to: u64,
    /// Sequence after the last undecided line. This line and all later lines differ, or are missing
    /// in one copy.
    differs_from: u64,
    /// Initial value of `differs_from`. If `differs_from` is lower than `end`, a differing line was
    /// found.
    end: u64,
    /// The peer's batch, which waits until the store has read our batch.
    pub their_batch: Option<TheirBatch>,
}

/// A peer's batch of a log that we wrote.
#[derive(Clone, Copy)]
pub struct TheirBatch {
    /// Sequence of the first line.
    pub first: u64,
    /// Hash of the batch.
    pub hash: Hash,
}

impl Bisection {
    /// A search that has compared nothing yet. `low`: sequence of the first line that we store.
    /// `end`: sequence after the last line that both copies may contain.
    pub fn new(low: u64, end: u64) -> Bisection {
        Bisection {
            same_up_to: low.saturating_sub(1),
            differs_from: end,
            end,
            their_batch: None,
        }
    }

    /// Excludes the lines before the line `low` from the search. The peer has evicted these lines,
    /// so they cannot be compared.
    pub fn skip_evicted(&mut self, low: u64) {
        let evicted = low.saturating_sub(1);
        let last_undecided = self.differs_from.saturating_sub(1);
        self.same_up_to = self.same_up_to.max(evicted.min(last_undecided));
    }

    /// Sequence of the line to compare next: the middle of the undecided lines. `None`: no line is
    /// undecided.
    pub fn next_probe(&self) -> Option<u64> {
        let undecided = self.differs_from.saturating_sub(self.same_up_to + 1);
        (undecided > 0).then(|| self.same_up_to + 1 + undecided / 2)
    }

    /// Compares the peer's batch with our batch at the same line, and narrows the search.
    pub fn compare(&mut self, theirs: TheirBatch, ours: &Batch) {
        let last_undecided = self.differs_from.saturating_sub(1);
        if ours.hash == theirs.hash {
            self.same_up_to = ours.last_sequence().min(last_undecided);
        } else if ours.sequence <= theirs.first {
            self.differs_from = ours.sequence.max(self.same_up_to + 1);
        } else {
            // Our store has evicted the lines before this batch. They cannot be compared.
            let evicted = ours.sequence - 1;
            self.same_up_to = self.same_up_to.max(evicted).min(last_undecided);
        }
    }

    /// Whether this batch contains the line to compare next.
    pub fn is_answered_by(&self, batch: &Batch) -> bool {
        let line = self.next_probe();
        line.is_some_and(|line| batch.contains_line(line))
    }

    /// The first line that differs. `None`: lines are still undecided, or no line was found to
    /// differ.
    pub fn result(&self) -> Option<u64> {
        let is_found = self.next_probe().is_none() && self.differs_from < self.end;
        is_found.then_some(self.differs_from)
    }
}

/// The records of all logs on all links.
#[derive(Default)]
pub struct ProgressTable {
    logs: SortedMap<LogId, SortedMap<StreamId, Progress>>,
    links: SortedMap<StreamId, LinkProgress>,
    /// The records with [`Progress::gap_lines`], in order of arrival.
    gap_offers: Vec<LinkLog>,
}

static NO_PROGRESS: Progress = Progress {
    send: SendState::Idle,
    fetch: FetchState::Idle,
    claim: None,
    ack_batches: None,
    offer: None,
    gap_lines: None,
};

impl ProgressTable {
    /// Forgets what is known of a link that ended. With a room: forgets the logs of this room,
    /// which the link no longer shares.
    pub fn forget(&mut self, stream: StreamId, room: Option<&Room>) {
        let is_forgotten = |log: &LogId| room.is_none_or(|room| log.target.room() == Some(room));
        let Some(link) = self.links.get_mut(&stream) else {
            return;
        };
        link.lagging.retain(|log| !is_forgotten(log));
        link.reportable.retain(|log| !is_forgotten(log));
        link.gap_send.take_if(|gap| is_forgotten(&gap.log));
        self.gap_offers
            .retain(|key| key.stream != stream || !is_forgotten(&key.log));
        self.logs.retain(|log, records| {
            if is_forgotten(log)
                && let Some(record) = records.remove(&stream)
            {
                link.recount(record.counted_states(), [false; BOUNDS.len()]);
            }
            !records.is_empty()
        });
        if room.is_none() {
            self.links.remove(&stream);
        }
    }

    /// The record of a log on a link.
    pub fn get(&self, stream: StreamId, log: &LogId) -> &Progress {
        let records = self.logs.get(log);
        let record = records.and_then(|records| records.get(&stream));
        record.unwrap_or(&NO_PROGRESS)
    }

    /// Mutable access to a record. `None`: the record says nothing.
    pub fn get_mut(&mut self, stream: StreamId, log: &LogId) -> Option<&mut Progress> {
        self.logs.get_mut(log)?.get_mut(&stream)
    }

    /// Mutable access to a record. Creates it if there is none.
    pub fn get_or_create(&mut self, stream: StreamId, log: &LogId) -> &mut Progress {
        self.links.get_or_default(stream);
        let records = self.logs.get_or_default(log.clone());
        records.get_or_default(stream)
    }

    /// The streams of the links with at least one record.
    pub fn streams(&self) -> Vec<StreamId> {
        self.links.keys().copied().collect()
    }

    /// What is known of a link.
    pub fn link(&self, stream: StreamId) -> Option<&LinkProgress> {
        self.links.get(&stream)
    }

    /// Mutable access to [`ProgressTable::link`]. Creates the entry if there is none.
    pub fn link_mut(&mut self, stream: StreamId) -> &mut LinkProgress {
        self.links.get_or_default(stream)
    }

    /// The position of a link in a log.
    pub fn cursor_mut(&mut self, stream: StreamId, log: &LogId) -> Option<&mut SendCursor> {
        self.get_mut(stream, log)?.cursor_mut()
    }

    /// The bisection of a log that we wrote, with a link's peer.
    pub fn bisection_mut(&mut self, stream: StreamId, log: &LogId) -> Option<&mut Bisection> {
        self.get_mut(stream, log)?.bisection_mut()
    }

    /// All bisections of a log that we wrote.
    pub fn bisections_mut(
        &mut self,
        log: &LogId,
    ) -> impl Iterator<Item = (StreamId, &mut Bisection)> {
        let records = self.logs.get_mut(log).into_iter();
        let records = records.flat_map(SortedMap::iter_mut);
        records.filter_map(|(stream, record)| Some((*stream, record.bisection_mut()?)))
    }

    /// Replaces the sending half of a record. Returns `false`, without any effect, if a bound is
    /// reached.
    pub fn set_send(&mut self, stream: StreamId, log: &LogId, mut send: SendState) -> bool {
        self.swap(stream, log, &mut |record| {
            std::mem::swap(&mut record.send, &mut send)
        })
    }

    /// Replaces the fetching half of a record. Returns `false`, without any effect, if a bound is
    /// reached.
    pub fn set_fetch(&mut self, stream: StreamId, log: &LogId, mut fetch: FetchState) -> bool {
        self.swap(stream, log, &mut |record| {
            std::mem::swap(&mut record.fetch, &mut fetch)
        })
    }

    /// Changes a record with `swap`, and keeps the counts. If a bound is exceeded, a second `swap`
    /// restores the record, and the result is `false`.
    fn swap(&mut self, stream: StreamId, log: &LogId, swap: &mut dyn FnMut(&mut Progress)) -> bool {
        let record = self.get_or_create(stream, log);
        let before = record.counted_states();
        swap(record);
        let after = record.counted_states();
        let has_place = (0..BOUNDS.len()).all(|state| {
            let total = self.links.values().map(|link| link.counts[state]);
            before[state] || !after[state] || total.sum::<usize>() < BOUNDS[state]
        });
        if has_place {
            self.link_mut(stream).recount(before, after);
        } else if let Some(record) = self.get_mut(stream, log) {
            swap(record);
        }
        self.remove_empty(stream, log);
        has_place
    }

    /// Records the lines that a peer offers to fill our gaps. Returns `false`, without any effect,
    /// if there are too many such offers.
    pub fn set_gap_lines(
        &mut self,
        stream: StreamId,
        log: &LogId,
        lines: RangeInclusive<u64>,
    ) -> bool {
        let is_known = self.get(stream, log).gap_lines.is_some();
        let has_place = is_known || self.gap_offers.len() < GAP_OFFERS_MAX;
        if has_place {
            self.get_or_create(stream, log).gap_lines = Some(Box::new(lines));
        }
        if has_place && !is_known {
            self.gap_offers.push(LinkLog::new(stream, log));
        }
        has_place
    }

    /// The oldest offer to fill a gap, with its lines.
    pub fn first_gap_offer(&self) -> Option<(&LinkLog, &RangeInclusive<u64>)> {
        let key = self.gap_offers.first()?;
        Some((key, self.get(key.stream, &key.log).gap_lines()?))
    }

    /// Forgets all offers to fill gaps that `is_forgotten` selects.
    pub fn forget_gap_offers(&mut self, is_forgotten: impl Fn(&LinkLog) -> bool) {
        let (forgotten, kept) = std::mem::take(&mut self.gap_offers)
            .into_iter()
            .partition(is_forgotten);
        self.gap_offers = kept;
        for key in forgotten {
            let key: LinkLog = key;
            if let Some(record) = self.get_mut(key.stream, &key.log) {
                record.gap_lines = None;
            }
            self.remove_empty(key.stream, &key.log);
        }
    }

    /// Removes a record that says nothing.
    pub fn remove_empty(&mut self, stream: StreamId, log: &LogId) {
        let Some(records) = self.logs.get_mut(log) else {
            return;
        };
        if records.get(&stream).is_some_and(Progress::is_empty) {
            records.remove(&stream);
            if records.is_empty() {
                self.logs.remove(log);
            }
        }
    }
}
