//! All [`Progress`] records, their indexes and their bounds. A record exists only while it says
//! something. Records are grouped by log, because a live line concerns all links of one log, and
//! because the id of a log is then stored once.
use std::ops::RangeInclusive;

use crate::base::batch::batch::LogId;
use crate::base::event::stream_id::StreamId;
use crate::base::name::{Room, Target};
use crate::base::table::{SortedMap, SortedSet};
use crate::node::link::LinkLog;
use crate::node::replication::bisection::Bisection;
use crate::node::replication::progress::link_progress::LinkProgress;
use crate::node::replication::progress::progress::{BOUNDS, Progress};
use crate::node::replication::progress::progress_state::{
    FetchState, LogRequest, Offer, SendCursor, SendState,
};

/// Maximum number of offers to fill gaps, over all links.
pub const GAP_OFFERS_MAX: usize = 1024;
/// Up to this number of records, removing them one by one is faster than a pass over all records.
const REMOVED_ONE_BY_ONE_MAX: usize = 8;

static NO_PROGRESS: Progress = Progress {
    send: SendState::Idle,
    fetch: FetchState::Idle,
    claim: None,
    due_ack: None,
    due_offer: None,
    gap_lines: None,
};

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
            let own = || self.links.get(&stream).map_or(0, count);
            let all = || self.links.values().map(count).sum();
            before[state] || !after[state] || BOUNDS[state].has_place(own(), all())
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
