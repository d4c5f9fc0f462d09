//! The record of one log: what is known of the log, independent of links.
//!
//! A record may outlive its stored lines. For example, a log that we wrote may still have to be
//! delivered after its room was left. [`Logs`] holds all records.
//!
//! What is known of one log on one link is a
//! [`Progress`](crate::node::replication::progress::progress::Progress).
//!
//! [`Logs`]: crate::node::replication::logs::table::Logs
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::base::batch::batch::{Batch, LogId};
use crate::base::identity::{Hash, PeerId};
use crate::base::name::Target;
use crate::base::range::{Gap, LogRange};
use crate::base::republished_lines::RepublishedLines;
use crate::base::table::{Record, SortedMap};
use crate::base::time::Time;
use crate::node::replication::logs::peer_acks::{Ack, PeerAcks};

/// What [`LogState::roll_back`] changed in the log.
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

/// The lines that this run published in a log.
pub struct RunLines {
    /// Sequence of the first of these lines.
    pub first: u64,
    /// Sequence of the log's last line when the log's room was left. `None`: the room was not left.
    pub left_head: Option<u64>,
}

impl RunLines {
    /// Lines from the sequence `first` on, in a room that was not left.
    pub fn new(first: u64) -> RunLines {
        RunLines {
            first,
            left_head: None,
        }
    }
}

/// What is known only of a log that we wrote.
#[derive(Default)]
pub struct OwnLog {
    /// The lines of this run. `None`: this run published nothing in the log.
    pub run: Option<RunLines>,
    /// The repair of this log, if it is forked.
    pub republication: Option<Republication>,
    /// In a direct log: sequence of the last line that was reported to the user as delivered.
    /// Reports of earlier runs count.
    pub reported_up_to: u64,
    /// In a direct log: sequence of the last line that the recipient's terminal has shown.
    pub read_up_to: u64,
}

/// Our role in a log. It follows from the log's author and target.
pub enum LogRole {
    /// We wrote the log.
    Author(Box<OwnLog>),
    /// Another author wrote the log to a room.
    Member,
    /// Another author wrote the log to us.
    Recipient {
        /// Sequence of the last line that a terminal has shown; 0 if none.
        shown_up_to: u64,
    },
    /// Another author wrote the log to another recipient.
    Carrier {
        /// When carrying ends, in milliseconds on the clock of
        /// [`Time`]. `None`: the log is not carried.
        ///
        /// The time is kept for a while after carrying has ended. If a restart then restores the
        /// log from the disk, the time shows that the log must be removed.
        until: Option<i64>,
    },
}

/// What is known of one log.
pub struct LogState {
    /// The log, and its stored lines. Its head is 0 if no line is stored.
    range: Arc<LogRange>,
    /// What each peer has acknowledged. Contains peers only if we wrote the log or carry it. In a
    /// direct log, contains only the recipient.
    pub acks: SortedMap<PeerId, PeerAcks>,
    /// Whether the author signed two different batches with the same sequences.
    pub is_forked: bool,
    /// Sequence of the last line that was printed before the disk lost the log's head; 0 if it lost
    /// none. Lines up to this one are no news when they come again.
    pub printed_up_to: u64,
    /// The host over whose link the first line came in this run. `None`: we wrote the log, or an
    /// earlier run stored it.
    pub source: Option<IpAddr>,
    /// When the last line came in this run. `None`: we wrote the log, or an earlier run stored it.
    pub received_at: Option<Time>,
    /// Our role in the log, with what is known only in this role.
    pub role: LogRole,
}

impl Record for LogState {
    type Key = LogId;

    fn key(&self) -> &LogId {
        self.log()
    }
}

impl LogState {
    /// A record of no log in particular, of which nothing is known.
    pub fn unknown() -> LogState {
        let nobody = PeerId([0; 32]);
        let log = LogId {
            target: Target::Peer(nobody),
            author: nobody,
            incarnation: 0,
        };
        LogState::with_role(log, LogRole::Member)
    }

    fn with_role(log: LogId, role: LogRole) -> LogState {
        LogState {
            range: Arc::new(LogRange::empty(log)),
            acks: SortedMap::new(),
            is_forked: false,
            printed_up_to: 0,
            source: None,
            received_at: None,
            role,
        }
    }

    /// A record that says nothing yet. `own_id`: our id.
    pub fn new(own_id: &PeerId, log: &LogId) -> LogState {
        let role = match log.target.recipient() {
            _ if log.author == *own_id => LogRole::Author(Box::default()),
            None => LogRole::Member,
            Some(recipient) if recipient == *own_id => LogRole::Recipient { shown_up_to: 0 },
            Some(_) => LogRole::Carrier { until: None },
        };
        LogState::with_role(log.clone(), role)
    }

    /// The log.
    pub fn log(&self) -> &LogId {
        &self.range.log
    }

    /// The stored lines. `None`: no line is stored.
    pub fn range(&self) -> Option<&LogRange> {
        self.shared_range().map(|range| &**range)
    }

    /// As [`LogState::range`], to be shared with the store. A change makes a copy, while the store
    /// has the range.
    pub fn shared_range(&self) -> Option<&Arc<LogRange>> {
        Some(&self.range).filter(|range| range.high > 0)
    }

    /// Mutable access to [`LogState::range`].
    pub fn range_mut(&mut self) -> Option<&mut LogRange> {
        Some(&mut self.range)
            .filter(|range| range.high > 0)
            .map(Arc::make_mut)
    }

    /// Replaces the stored lines.
    pub fn set_range(&mut self, range: Arc<LogRange>) {
        self.range = range;
    }

    fn clear_range(&mut self) {
        self.range = Arc::new(LogRange::empty(self.log().clone()));
    }

    /// Whether the record says nothing that is still needed.
    pub fn is_empty(&self) -> bool {
        let LogState {
            range,
            acks,
            is_forked,
            printed_up_to,
            source: _,
            received_at: _,
            role,
        } = self;
        let is_role_empty = match role {
            LogRole::Author(own) => own.run.is_none() && own.republication.is_none(),
            LogRole::Member => true,
            LogRole::Recipient { shown_up_to } => *shown_up_to == 0,
            LogRole::Carrier { until } => until.is_none(),
        };
        let is_lost = *printed_up_to > 0;
        range.high == 0 && acks.is_empty() && !is_forked && !is_lost && is_role_empty
    }

    /// Forgets the stored lines, and what was found out about them. Remembers how far the log was
    /// acknowledged and is carried.
    pub fn forget_lines(&mut self) {
        self.clear_range();
        self.is_forked = false;
        if let LogRole::Recipient { shown_up_to } = &mut self.role {
            *shown_up_to = 0;
        }
    }

    /// Sequence of the last stored line; 0 if none.
    pub fn high(&self) -> u64 {
        self.range.high
    }

    /// Sequence of the last line that peers may get; 0 if none. Excludes lines that are published
    /// again in another log.
    pub fn last_served(&self) -> u64 {
        let repair = self.republication();
        repair.map_or(self.high(), |repair| {
            self.high().min(repair.lines.sequence - 1)
        })
    }

    /// What is known of a log that we wrote. `None`: another author wrote the log.
    pub fn own(&self) -> Option<&OwnLog> {
        match &self.role {
            LogRole::Author(own) => Some(own),
            _ => None,
        }
    }

    /// Mutable access to [`LogState::own`].
    pub fn own_mut(&mut self) -> Option<&mut OwnLog> {
        match &mut self.role {
            LogRole::Author(own) => Some(own),
            _ => None,
        }
    }

    /// The repair of this log. `None`: the log is not forked, or another author wrote it.
    pub fn republication(&self) -> Option<&Republication> {
        self.own()?.republication.as_ref()
    }

    /// The lines that this run published in the log. `None`: it published nothing there.
    pub fn run(&self) -> Option<&RunLines> {
        self.own()?.run.as_ref()
    }

    /// In a log in which this run published lines: the sequence of the last line. Also known after
    /// the log's room was left.
    pub fn run_head(&self) -> Option<u64> {
        let run = self.run()?;
        self.range().map(|range| range.high).or(run.left_head)
    }

    /// The lines that this run published in the log. Also known after the log's room was left.
    pub fn run_lines(&self) -> Option<RangeInclusive<u64>> {
        Some(self.run()?.first..=self.run_head()?)
    }

    /// In a direct log to us: the sequence of the last line that a terminal has shown; 0 if none.
    pub fn shown_up_to(&self) -> u64 {
        match self.role {
            LogRole::Recipient { shown_up_to } => shown_up_to,
            _ => 0,
        }
    }

    /// Sequence of the last line that is delivered to this peer; 0 if none.
    pub fn delivered_to(&self, peer: &PeerId) -> u64 {
        self.acks.get(peer).map_or(0, |acks| acks.delivered_up_to)
    }

    /// Has this peer received all these lines?
    pub fn is_held_by(&self, peer: &PeerId, lines: &RangeInclusive<u64>) -> bool {
        self.acks.get(peer).is_some_and(|acks| acks.covers(lines))
    }

    /// Sequence of the last line that is delivered to any peer; 0 if none.
    pub fn max_delivered(&self) -> u64 {
        let delivered = self.acks.values().map(|acks| acks.delivered_up_to);
        delivered.max().unwrap_or(0)
    }

    /// The highest sequence that this peer has acknowledged; 0 if none. The peer may lack earlier
    /// lines.
    pub fn acked_by(&self, peer: &PeerId) -> u64 {
        self.acks.get(peer).map_or(0, PeerAcks::acked_up_to)
    }

    /// The highest sequence that any peer has acknowledged; 0 if none. The peer may lack earlier
    /// lines.
    pub fn max_acked(&self) -> u64 {
        let acked = self.acks.values().map(PeerAcks::acked_up_to);
        acked.max().unwrap_or(0)
    }

    /// The hash of our batch that ends at the line `high`. Known only if this peer's last
    /// acknowledgement named this line.
    pub fn acked_hash_at(&self, peer: &PeerId, high: u64) -> Option<Hash> {
        let last = self.acks.get(peer)?.last?;
        (last.high == high).then_some(last.hash)
    }

    /// Sequence of the last line that need not be kept, because one peer has it or will never
    /// request it; 0 if none. See [`PeerAcks::released_up_to`].
    pub fn released_up_to(&self) -> u64 {
        let released = self.acks.values().map(PeerAcks::released_up_to);
        released.max().unwrap_or(0)
    }

    /// Sequence of the first line of this run that must be kept, although no linked peer requests
    /// it. If there is none, the sequence after the last released line. `None`: this run published
    /// nothing in the log.
    pub fn first_unreleased_of_run(&self) -> Option<u64> {
        Some(self.run()?.first.max(self.released_up_to() + 1))
    }

    /// Records an acknowledgement, whose hash the caller has compared. Returns whether it delivers
    /// lines that were not delivered to the peer before.
    pub fn record_ack(&mut self, peer: PeerId, ack: Ack) -> bool {
        let required_from = self.required_from(&peer);
        let acks = self.acks.get_or_default(peer);
        if ack.high >= acks.acked_up_to() {
            acks.last = Some(ack);
        }
        let is_delivered = ack.complete_from <= required_from && ack.high > acks.delivered_up_to;
        if is_delivered {
            acks.delivered_from = match ack.complete_from <= acks.delivered_up_to.saturating_add(1)
            {
                true => acks.delivered_from.min(ack.complete_from),
                false => ack.complete_from,
            };
            acks.delivered_up_to = ack.high;
        }
        is_delivered
    }

    /// Sequence of the first line that this peer must store. An acknowledgement that is complete
    /// only from a later line delivers nothing.
    ///
    /// The peer need not store the lines of earlier runs, since these may be lost forever. It need
    /// not store lines that are delivered, or that we no longer store.
    fn required_from(&self, peer: &PeerId) -> u64 {
        let reported = self.own().map_or(0, |own| own.reported_up_to);
        let delivered = self.delivered_to(peer).max(reported);
        let stored_from = self.range().map_or(1, |range| match self.own() {
            // Lines of ours that the disk has lost are not delivered before they come back.
            Some(_) => range.gaps.first().map_or(range.low, |gap| gap.stored_from),
            None => range.low,
        });
        let published_from = self.run().map_or(1, |run| run.first);
        let undelivered_from = delivered.saturating_add(1);
        undelivered_from.max(stored_from).max(published_from)
    }

    /// Removes a batch from the log, because the batch could not be stored. The batch was neither
    /// sent nor acknowledged.
    pub fn roll_back(&mut self, batch: &Batch) -> RolledBack {
        let Some(range) = self.range_mut() else {
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
                Some(Gap {
                    previous_hash: Some(previous),
                    stored_from,
                    from,
                    ..
                }) => (range.low, range.high, range.hash) = (stored_from, from - 1, previous),
                _ => self.clear_range(),
            },
        }
        if let Some(own) = self.own_mut() {
            own.run.take_if(|run| run.first == batch.sequence);
        }
        RolledBack::Head
    }
}
