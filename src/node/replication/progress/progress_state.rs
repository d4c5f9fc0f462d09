//! The states of a [`Progress`](crate::node::replication::progress::progress::Progress) record:
//! what is known of one log on one link.
//!
//! A record has two halves. Each half is an enum, so states that exclude each other cannot be
//! combined. The halves are independent, because the peer may be a source of a log that we also
//! send to it. A gap is independent of both, because the peer may also send the log live.
//!
//! | part | state | meaning | ends with |
//! |---|---|---|---|
//! | sending | [`SendState::Idle`] | the peer requested nothing | a `want` |
//! | | [`SendState::Offered`] | we offered our log, and wait | a `want`, or 5 s |
//! | | [`SendState::Requested`] | the log is sent, see [`CursorState`] | a cancelling `want` |
//! | fetching | [`FetchState::Idle`] | the peer offers no line that we lack | an offer |
//! | | [`FetchState::Offered`] | another source is preferred, or none yet | a request |
//! | | [`FetchState::Requested`] | the peer is a source | another source, a fork |
//! | | [`FetchState::EvidenceWanted`] | one batch may prove a fork | that batch |
//! | | [`FetchState::Comparing`] | our own log is forked | the link's end |
//! | | [`FetchState::Refused`] | the peer contradicts us | the link's end |
//! | due | `due_ack`, `due_offer` | the next `have` names the log | that `have` |
//! | gap | `gap_lines` | the peer can fill our gaps | the lines, or a timeout |
//!
//! The end of the link, or of the shared room, ends every state.
use std::collections::VecDeque;

use crate::base::batch::batch::LogId;
use crate::base::event::load::Position;
use crate::base::identity::Hash;
use crate::base::time::Time;
use crate::node::replication::bisection::Bisection;

/// Maximum number of unacknowledged batches of one log on one link. At this bound, sending waits
/// for an acknowledgement.
const UNACKED_BATCHES_MAX: usize = 1024;
/// Maximum number of gap requests over one link that time out in succession.
const GAP_TIMEOUTS_MAX: u32 = 4;
/// Budget of one read from the store, in bytes.
pub const LOAD_BUDGET_BYTES: usize = 64 * 1024;

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

    /// Removes the batches that an acknowledgement of the line `high` covers. Returns the hash of
    /// the batch that ends at this line, if it was among them.
    pub fn take_acked(&mut self, high: u64) -> Option<Hash> {
        let mut hash = None;
        while let Some(end) = self.unacked.pop_front_if(|end| end.last <= high) {
            hash = (end.last == high).then_some(end.hash);
        }
        if self.unacked.is_empty() {
            // There is a cursor for each log and link, and most logs never grow again.
            self.unacked = VecDeque::new();
        }
        hash
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
    /// Answers a further digest of the peer. There may be thousands of such offers, at a limited
    /// rate.
    Answer,
    /// Offers a log again after it grew, or after its author left. The rate of these offers is
    /// limited. Those of the kind `Answer` do not delay them.
    Update,
    /// Offers a log for the first time over a link, or offers it to a carrier. Recipients of direct
    /// logs acknowledge such an offer again. It is sent at once.
    Initial,
}

impl OfferKind {
    /// All kinds, the most urgent one first.
    pub const ALL: [OfferKind; 3] = [OfferKind::Initial, OfferKind::Update, OfferKind::Answer];
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

/// Whether gaps are requested over a link. In both counting states, `timeouts` is the number of gap
/// requests that timed out since such a request last brought a batch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GapSource {
    /// Gaps are requested over the link.
    Ready {
        /// See [`GapSource`].
        timeouts: u32,
    },
    /// A gap request timed out. No gap is requested over the link until the next query.
    Paused {
        /// See [`GapSource`].
        timeouts: u32,
    },
    /// No gap is requested over the link any more.
    Excluded,
}

impl GapSource {
    /// The state after a gap request timed out.
    pub fn timed_out(self) -> GapSource {
        match self {
            GapSource::Ready { timeouts } if timeouts + 1 < GAP_TIMEOUTS_MAX => GapSource::Paused {
                timeouts: timeouts + 1,
            },
            _ => GapSource::Excluded,
        }
    }

    /// The state after a request timed out whose lines the peer no longer offers.
    pub fn paused(self) -> GapSource {
        match self {
            GapSource::Ready { timeouts } => GapSource::Paused { timeouts },
            source => source,
        }
    }

    /// The state after a query.
    pub fn queried(self) -> GapSource {
        match self {
            GapSource::Paused { timeouts } => GapSource::Ready { timeouts },
            source => source,
        }
    }
}

impl Default for GapSource {
    fn default() -> GapSource {
        GapSource::Ready { timeouts: 0 }
    }
}

/// Whether a log is requested over a link, and why.
#[derive(Default)]
pub enum FetchState {
    /// The peer offers no line that we lack.
    #[default]
    Idle,
    /// The peer offers lines that we lack. The log is not requested over this link.
    Offered(Box<Offer>),
    /// The log is requested over this link, which makes the peer a source of the log.
    Requested(Box<LogRequest>),
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

/// A peer's offer of a log. The peer stores lines that we lack.
#[derive(Clone, Copy)]
pub struct Offer {
    /// Sequence of the first offered line.
    pub low: u64,
    /// Sequence of the last offered line.
    pub high: u64,
    /// When we last requested the log because of this offer. Before the first request: when the
    /// offer arrived.
    pub offered_at: Time,
    /// How often we requested the log because of this offer. When we store all offered lines, the
    /// offer ends. A later offer counts from 0 again.
    pub tries: u32,
}

/// A request for a log over a link.
#[derive(Clone, Copy)]
pub struct LogRequest {
    /// Sequence of the first line that was requested.
    pub from: u64,
    /// Sequence of the last line that the source said it stores when the log was requested; 0 if it
    /// did not say. More lines may follow.
    pub announced: u64,
    /// How far the request may still move back, to older lines. It moves only while we store no
    /// line of the log. `None`: it never moves.
    pub backfill: Option<Backfill>,
    /// Whether the request was sent. If not, it waits until the store has recovered.
    pub is_sent: bool,
    /// When the request last brought a batch. Before its first batch: when the request was made.
    pub progress_at: Time,
    /// The peer's offer, if it names lines that we lack. When the request is cancelled, the offer
    /// remains.
    pub offer: Option<Offer>,
    /// When a recipient last made us request earlier lines of a log that we carry.
    pub lacked_at: Option<Time>,
}

impl LogRequest {
    /// A request of the line `from` and all later ones, made at this time.
    pub fn new(from: u64, now: Time) -> LogRequest {
        LogRequest {
            from,
            announced: 0,
            backfill: None,
            is_sent: true,
            progress_at: now,
            offer: None,
            lacked_at: None,
        }
    }

    /// Whether announced lines above `high`, our last line, are still to come, as far as the source
    /// stores them.
    pub fn is_behind(&self, high: u64) -> bool {
        let offered = self.offer.map_or(0, |offer| offer.high);
        !self.is_sent || self.announced.max(offered) >= self.from.max(high + 1)
    }

    /// Moves the request to the line `from`, because the source stores no line before it.
    pub fn skip_to(&mut self, from: u64) {
        self.from = from;
        if let Some(backfill) = &mut self.backfill {
            backfill.low = backfill.low.max(from);
        }
    }
}

/// A newcomer's request for the newest lines of a log in a room. If the first line that arrives is
/// news, older lines may be news as well. The request then moves back to older lines.
#[derive(Clone, Copy)]
pub struct Backfill {
    /// Sequence of the first line that the source stores.
    pub low: u64,
    /// Number of lines requested so far. Doubles with each move.
    pub lines: u64,
}
