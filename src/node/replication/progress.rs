//! What is known of one log on one link: a single record, as raft's `Progress` (raft-rs).
//!
//! [`progress_state`](crate::node::replication::progress_state) lists the states of a record.
//! [`ProgressTable`] holds all records, their indexes and their bounds. A record exists only while
//! it says something. Records are grouped by log, because a live line concerns all links of one
//! log, and because the id of a log is then stored once.
use std::collections::VecDeque;
use std::ops::RangeInclusive;

use crate::base::batch::LogId;
use crate::base::event::stream_id::StreamId;
use crate::base::name::{Room, Target};
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::node::link::LinkLog;
use crate::node::replication::bisection::Bisection;
use crate::node::replication::carrying::relayed_offers::RelayedOffers;
use crate::node::replication::logs::ack_times::AckTimes;
use crate::node::replication::logs::peer_acks::Ack;
use crate::node::replication::progress_state::{
    FetchState, GapSend, GapSource, LogRequest, Offer, OfferKind, SendCursor, SendState,
};

/// Maximum number of [`SendCursor`]s, over all links.
pub const CURSORS_MAX: usize = 65_536;
/// Maximum number of offers from one link. The bound keeps one peer from crowding out the offers of
/// others.
pub const OFFERS_PER_LINK_MAX: usize = 2_048;
/// Maximum number of logs requested over one link.
pub const REQUESTS_PER_LINK_MAX: usize = 4_096;
/// Maximum number of records in the state [`FetchState::EvidenceWanted`], over all links.
pub const EVIDENCE_MAX: usize = 256;
/// Maximum number of records in the state [`FetchState::EvidenceWanted`] on one link. A peer can
/// claim any number of forks. The bound leaves places for other peers.
pub const EVIDENCE_PER_LINK_MAX: usize = 16;
/// Maximum number of [`Bisection`]s, over all links. A completed one is kept until its link ends.
pub const BISECTIONS_MAX: usize = 1024;
/// Maximum number of records in the state [`FetchState::Refused`], over all links.
pub const REFUSALS_MAX: usize = 16_384;
/// Maximum number of offers to fill gaps, over all links.
pub const GAP_OFFERS_MAX: usize = 1024;

/// Up to this number of records, removing them one by one is faster than a pass over all records.
const REMOVED_ONE_BY_ONE_MAX: usize = 8;

/// What is known of one log on one link.
#[derive(Default)]
pub struct Progress {
    send: SendState,
    fetch: FetchState,
    /// A peer's acknowledgement of a log that we wrote, not checked yet. We do not know our hash at
    /// the acknowledged line. The batch after that line names this hash. We check the
    /// acknowledgement when the store has read that batch.
    pub(super) claim: Option<Box<Ack>>,
    /// The number of batches that the pending acknowledgement covers. `None`: none is pending.
    pub(super) due_ack: Option<u32>,
    /// The kind of our pending offer.
    pub(super) due_offer: Option<OfferKind>,
    /// The lines that the peer offers to fill our gaps.
    gap_lines: Option<Box<RangeInclusive<u64>>>,
}

/// The maximum number of records in a state.
struct Bound {
    per_link: usize,
    total: usize,
}

/// The bounds of [`Progress::counted_states`].
const BOUNDS: [Bound; 6] = [
    Bound::of_all_links(CURSORS_MAX),
    Bound::of_each_link(OFFERS_PER_LINK_MAX),
    Bound::of_each_link(REQUESTS_PER_LINK_MAX),
    Bound {
        per_link: EVIDENCE_PER_LINK_MAX,
        total: EVIDENCE_MAX,
    },
    Bound::of_all_links(BISECTIONS_MAX),
    Bound::of_all_links(REFUSALS_MAX),
];

impl Bound {
    const fn of_all_links(total: usize) -> Bound {
        let per_link = total;
        Bound { per_link, total }
    }

    const fn of_each_link(per_link: usize) -> Bound {
        let total = usize::MAX;
        Bound { per_link, total }
    }
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
            due_ack,
            due_offer,
            gap_lines,
        } = self;
        matches!(send, SendState::Idle)
            && matches!(fetch, FetchState::Idle)
            && claim.is_none()
            && due_ack.is_none()
            && due_offer.is_none()
            && gap_lines.is_none()
    }

    /// The lines that the peer offers to fill our gaps.
    pub fn gap_lines(&self) -> Option<&RangeInclusive<u64>> {
        self.gap_lines.as_deref()
    }

    /// Tells for each bounded state whether the record is in it, in the order of [`BOUNDS`].
    fn counted_states(&self) -> [bool; BOUNDS.len()] {
        [
            matches!(self.send, SendState::Requested(_)),
            self.offer().is_some(),
            self.request().is_some(),
            matches!(self.fetch, FetchState::EvidenceWanted(_)),
            matches!(self.fetch, FetchState::Comparing(_)),
            matches!(self.fetch, FetchState::Refused),
        ]
    }

    /// The fetching half.
    pub fn fetch(&self) -> &FetchState {
        &self.fetch
    }

    /// The peer's offer of lines that we lack.
    pub fn offer(&self) -> Option<&Offer> {
        match &self.fetch {
            FetchState::Offered(offer) => Some(offer),
            FetchState::Requested(request) => request.offer.as_ref(),
            _ => None,
        }
    }

    /// The request for the log over this link.
    pub fn request(&self) -> Option<&LogRequest> {
        match &self.fetch {
            FetchState::Requested(request) => Some(request),
            _ => None,
        }
    }

    /// Whether the peer's copy of this log, which we wrote, is compared with ours.
    pub fn is_comparing(&self) -> bool {
        matches!(self.fetch, FetchState::Comparing(_))
    }

    fn bisection_mut(&mut self) -> Option<&mut Bisection> {
        match &mut self.fetch {
            FetchState::Comparing(bisection) => Some(bisection),
            _ => None,
        }
    }
}

/// What is known of one link, and the indexes of its records.
#[derive(Default)]
pub struct LinkProgress {
    /// The logs whose record is [`SendState::Offered`] or whose cursor is not at the head. May
    /// contain other logs until the end of the turn.
    ///
    /// One author's logs to one target are sent one after another. The log with the oldest head is
    /// sent first. Lines thus arrive, and are shown, in their order of publication.
    pub lagging: SortedSet<LogId>,
    /// The logs with a pending acknowledgement. May contain other logs.
    pub due_acks: SortedSet<LogId>,
    /// When logs were acknowledged over this link.
    pub ack_times: AckTimes,
    /// For each [`OfferKind`], the logs with a pending offer of this kind, in the order in which
    /// the offers became due. May contain other logs.
    offers: [VecDeque<LogId>; OfferKind::ALL.len()],
    /// The last digests from the peer, by target.
    pub digests: SortedMap<Target, ReceivedDigest>,
    /// The gap whose lines are being sent. Each link has at most one.
    pub gap_send: Option<GapSend>,
    /// Whether gaps are requested over this link.
    pub gap_source: GapSource,
    /// Whether offers from this link were ignored because the link has too many. The next query
    /// asks for them again.
    pub has_ignored_offers: bool,
    /// The offers of authors that were passed on to the link's peer.
    pub relayed_offers: RelayedOffers,
    /// The number of records in each bounded state, in the order of [`BOUNDS`].
    counts: [usize; BOUNDS.len()],
}

/// The digest that a link's peer last sent for a target.
#[derive(Default)]
pub struct ReceivedDigest {
    /// When a digest for this target was last answered.
    pub answered_at: Option<Time>,
    /// The digest, if it waits for an answer.
    pub waiting: Option<String>,
}

impl LinkProgress {
    /// The logs with a pending offer of this kind. May contain other logs.
    pub fn offers(&self, kind: OfferKind) -> &VecDeque<LogId> {
        &self.offers[kind as usize]
    }

    /// Mutable access to [`LinkProgress::offers`].
    pub fn offers_mut(&mut self, kind: OfferKind) -> &mut VecDeque<LogId> {
        &mut self.offers[kind as usize]
    }

    /// Whether an acknowledgement or offer is pending, or a digest waits for its answer.
    fn has_reports(&self) -> bool {
        !self.due_acks.is_empty()
            || self.offers.iter().any(|offers| !offers.is_empty())
            || self.digests.values().any(|digest| digest.waiting.is_some())
    }

    /// Updates the counts after a record has changed. `before` and `after`: the record's
    /// [`Progress::counted_states`].
    fn recount(&mut self, before: [bool; BOUNDS.len()], after: [bool; BOUNDS.len()]) {
        for (count, (before, after)) in self.counts.iter_mut().zip(before.into_iter().zip(after)) {
            *count += usize::from(after);
            *count -= usize::from(before);
        }
    }
}

/// The records of all logs on all links.
#[derive(Default)]
pub struct ProgressTable {
    logs: SortedMap<LogId, SortedMap<StreamId, Progress>>,
    links: SortedMap<StreamId, LinkProgress>,
    /// The links for which [`LinkProgress::has_reports`] is true. May contain other links until the
    /// end of the turn. Each turn looks at these links only, as most links have nothing to report.
    reporting: SortedSet<StreamId>,
    /// The records with [`Progress::gap_lines`], in order of arrival.
    gap_offers: Vec<LinkLog>,
    /// The logs of the records with [`Progress::offer`]. May contain logs no longer offered.
    offered: SortedSet<LogId>,
}

static NO_PROGRESS: Progress = Progress {
    send: SendState::Idle,
    fetch: FetchState::Idle,
    claim: None,
    due_ack: None,
    due_offer: None,
    gap_lines: None,
};

impl ProgressTable {
    /// Forgets the logs of a room on a link. `room`: the room that the link no longer shares.
    /// `None`: the link ended, so all of it is forgotten. Adds the requested logs to `lost`.
    pub fn forget(&mut self, stream: StreamId, room: Option<&Room>, lost: &mut Vec<LogId>) {
        let is_of = |target: &Target| room.is_none_or(|room| target.room() == Some(room));
        let is_forgotten = |log: &LogId| is_of(&log.target);
        let Some(link) = self.links.get_mut(&stream) else {
            return;
        };
        link.lagging.retain(|log| !is_forgotten(log));
        link.due_acks.retain(|log| !is_forgotten(log));
        for offers in &mut link.offers {
            offers.retain(|log| !is_forgotten(log));
        }
        for (target, digest) in link.digests.iter_mut() {
            digest.waiting.take_if(|_| is_of(target));
        }
        link.gap_send.take_if(|gap| is_forgotten(&gap.log));
        self.gap_offers
            .retain(|key| key.stream != stream || !is_forgotten(&key.log));
        self.logs.retain(|log, records| {
            if is_forgotten(log)
                && let Some(record) = records.remove(&stream)
            {
                link.recount(record.counted_states(), [false; BOUNDS.len()]);
                if record.request().is_some() {
                    lost.push(log.clone());
                }
            }
            !records.is_empty()
        });
        if room.is_none() {
            self.links.remove(&stream);
        }
    }

    /// Stops sending, acknowledging and offering a log that is no longer stored. Also forgets the
    /// peers' offers to fill its gaps. Our requests for the log remain.
    pub fn forget_log(&mut self, log: &LogId) {
        let streams: Vec<StreamId> = self.of_log(log).map(|(stream, _)| stream).collect();
        for stream in streams {
            if let Some(record) = self.get_mut(stream, log) {
                (record.claim, record.due_ack, record.due_offer) = (None, None, None);
            }
            self.set_send(stream, log, SendState::Idle);
        }
        self.forget_gap_offers(|key| key.log == *log);
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
        let records = self
            .logs
            .get_or_insert_with(log.clone(), || SortedMap::with_capacity(1));
        records.get_or_default(stream)
    }

    /// What is known of each link. Contains at least the links with a record.
    pub fn links(&self) -> impl Iterator<Item = (StreamId, &LinkProgress)> {
        let links = self.links.iter();
        links.map(|(stream, link)| (*stream, link))
    }

    /// What is known of a link.
    pub fn link(&self, stream: StreamId) -> Option<&LinkProgress> {
        self.links.get(&stream)
    }

    /// What is known of each link with something to report.
    pub fn reporting(&self) -> impl Iterator<Item = (StreamId, &LinkProgress)> {
        let streams = self.reporting.iter();
        streams.filter_map(|stream| Some((*stream, self.links.get(stream)?)))
    }

    /// Mutable access to a link that is about to have something to report. Creates the entry if
    /// there is none.
    pub fn report_mut(&mut self, stream: StreamId) -> &mut LinkProgress {
        self.reporting.insert(stream);
        self.link_mut(stream)
    }

    /// Removes the links with nothing to report from [`ProgressTable::reporting`]. Called at the
    /// end of a turn.
    pub fn prune_reporting(&mut self) {
        let links = &self.links;
        let has_reports =
            |stream: &StreamId| links.get(stream).is_some_and(LinkProgress::has_reports);
        self.reporting.retain(has_reports);
    }

    /// Mutable access to what is known of each link.
    pub fn links_mut(&mut self) -> impl Iterator<Item = &mut LinkProgress> {
        self.links.values_mut()
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

    /// The records of a log, sorted by link.
    pub fn of_log(&self, log: &LogId) -> impl Iterator<Item = (StreamId, &Progress)> {
        let records = self.logs.get(log).into_iter().flat_map(SortedMap::iter);
        records.map(|(stream, record)| (*stream, record))
    }

    /// All records.
    pub fn records(&self) -> impl Iterator<Item = (StreamId, &LogId, &Progress)> {
        self.logs.iter().flat_map(|(log, records)| {
            let records = records.iter();
            records.map(move |(stream, record)| (*stream, log, record))
        })
    }

    /// The logs whose request was not sent yet, on all links.
    pub fn unsent_requests(&self) -> Vec<LinkLog> {
        let unsent = self.records().filter(|(_, _, record)| {
            let request = record.request();
            request.is_some_and(|request| !request.is_sent)
        });
        unsent
            .map(|(stream, log, _)| LinkLog::new(stream, log))
            .collect()
    }

    /// Mutable access to [`Progress::request`].
    pub fn request_mut(&mut self, stream: StreamId, log: &LogId) -> Option<&mut LogRequest> {
        match &mut self.get_mut(stream, log)?.fetch {
            FetchState::Requested(request) => Some(request),
            _ => None,
        }
    }

    /// The logs that any peer offers. May contain logs that are no longer offered.
    pub fn offered(&self) -> &SortedSet<LogId> {
        &self.offered
    }

    /// Replaces the offer of a log on a link. Returns `false`, without any effect, if the link has
    /// too many offers, or if the log is not to be requested over it.
    pub fn set_offer(&mut self, stream: StreamId, log: &LogId, offer: Option<Offer>) -> bool {
        let fetch = match (self.get(stream, log).fetch(), offer) {
            (FetchState::Requested(request), offer) => {
                FetchState::Requested(Box::new(LogRequest { offer, ..**request }))
            }
            (FetchState::Idle | FetchState::Offered(_), None) => FetchState::Idle,
            (FetchState::Idle | FetchState::Offered(_), Some(offer)) => {
                FetchState::Offered(Box::new(offer))
            }
            _ => return false,
        };
        let is_set = self.set_fetch(stream, log, fetch);
        if is_set && offer.is_some() {
            self.offered.insert(log.clone());
        }
        is_set
    }

    /// Forgets the offers of a log that name no line above `high`.
    pub fn forget_offers_up_to(&mut self, log: &LogId, high: u64) {
        let is_stored = |record: &Progress| record.offer().is_some_and(|it| it.high <= high);
        let forgotten = self.of_log(log).filter(|(_, record)| is_stored(record));
        let forgotten: Vec<StreamId> = forgotten.map(|(stream, _)| stream).collect();
        for stream in forgotten {
            self.set_offer(stream, log, None);
        }
    }

    /// Forgets the offers that `is_forgotten` selects.
    pub fn forget_offers(&mut self, is_forgotten: &dyn Fn(&LogId, &Offer) -> bool) {
        let mut offered = std::mem::take(&mut self.offered);
        offered.retain(|log| {
            let offers = self.of_log(log);
            let offers = offers.filter_map(|(stream, record)| Some((stream, record.offer()?)));
            let (forgotten, kept): (Vec<_>, Vec<_>) =
                offers.partition(|(_, offer)| is_forgotten(log, offer));
            let is_kept = !kept.is_empty();
            let forgotten: Vec<StreamId> = forgotten.iter().map(|(stream, _)| *stream).collect();
            for stream in forgotten {
                self.set_offer(stream, log, None);
            }
            is_kept
        });
        self.offered = offered;
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
            let count = |link: &LinkProgress| link.counts[state];
            before[state]
                || !after[state]
                || self.links.get(&stream).map_or(0, count) < BOUNDS[state].per_link
                    && self.links.values().map(count).sum::<usize>() < BOUNDS[state].total
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

    /// The best offer to fill a gap, with its lines. Links with fewer timed-out gap requests come
    /// first. Among equals, the oldest offer comes first.
    pub fn first_gap_offer(&self) -> Option<(&LinkLog, &RangeInclusive<u64>)> {
        let source = |key: &&LinkLog| self.link(key.stream).map(|link| link.gap_source);
        let key = self.gap_offers.iter().min_by_key(source)?;
        Some((key, self.get(key.stream, &key.log).gap_lines()?))
    }

    /// Forgets all offers to fill gaps that `is_forgotten` selects.
    pub fn forget_gap_offers(&mut self, is_forgotten: impl Fn(&LinkLog) -> bool) {
        let offers = std::mem::take(&mut self.gap_offers).into_iter();
        let (forgotten, kept): (Vec<LinkLog>, Vec<LinkLog>) = offers.partition(is_forgotten);
        self.gap_offers = kept;
        for key in forgotten {
            if let Some(record) = self.get_mut(key.stream, &key.log) {
                record.gap_lines = None;
            }
            self.remove_empty(key.stream, &key.log);
        }
    }

    /// Removes the records of these logs that say nothing.
    pub fn remove_all_empty(&mut self, stream: StreamId, logs: &[LogId]) {
        if logs.len() <= REMOVED_ONE_BY_ONE_MAX {
            return logs.iter().for_each(|log| self.remove_empty(stream, log));
        }
        self.logs.retain(|_, records| {
            if records.get(&stream).is_some_and(Progress::is_empty) {
                records.remove(&stream);
            }
            !records.is_empty()
        });
    }

    /// Removes a record if it says nothing.
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
