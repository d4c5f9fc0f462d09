//! The offers of neighbours, each for a log whose lines we lack. `fetch` decides which offers
//! lead to a request.
use crate::base::batch::LogId;
use crate::base::event::StreamId;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::link::LinkLog;
use crate::wire::message::HaveEntry;

/// Most offers kept from one link. The bound keeps one peer from crowding out the offers of
/// others.
const OFFERS_PER_LINK_MAX: usize = 2_048;

/// A `have` entry that a peer sent us.
pub struct ReceivedEntry<'a> {
    /// The offered log, and the link over which the offer came.
    pub key: LinkLog,
    /// The content of the entry.
    pub entry: &'a HaveEntry,
}

/// A neighbour's offer of a log. The neighbour stores lines that we lack.
pub struct Offer {
    /// The latest entry in which the neighbour advertised the log.
    pub entry: HaveEntry,
    /// When we last requested the log because of this offer. Before the first request: when the
    /// offer arrived.
    pub offered_at: Time,
    /// How often we requested the log because of this offer. When we store all offered lines, the
    /// offer ends. A later offer counts from 0 again.
    pub tries: u32,
}

/// All offers, sorted by log and then by link.
#[derive(Default)]
pub struct Offers {
    by_log: SortedMap<LogId, SortedMap<StreamId, Offer>>,
    /// Number of offers from each link.
    counts: SortedMap<StreamId, usize>,
}

impl Offers {
    /// Removes the offers for which `keeps` is false.
    pub fn retain(&mut self, keeps: impl Fn(StreamId, &LogId, &Offer) -> bool) {
        self.counts.clear();
        let counts = &mut self.counts;
        self.by_log.retain(|log, offers| {
            offers.retain(|stream, offer| {
                let keep = keeps(*stream, log, offer);
                if keep {
                    *counts.get_or_default(*stream) += 1;
                }
                keep
            });
            !offers.is_empty()
        });
    }

    /// Removes an offer. Returns `false` if there was none.
    pub fn remove(&mut self, key: &LinkLog) -> bool {
        let offers = self.by_log.get_mut(&key.log);
        let removed = offers.and_then(|offers| offers.remove(&key.stream));
        if removed.is_some() {
            *self.counts.get_or_default(key.stream) -= 1;
        }
        removed.is_some()
    }

    /// Records a new offer or updates a known one. Returns `false` if the link already has too many
    /// offers.
    pub fn record(&mut self, now: Time, received: &ReceivedEntry) -> bool {
        let ReceivedEntry { key, entry } = received;
        let offers = self.by_log.get(&key.log);
        let is_known = offers.is_some_and(|offers| offers.contains_key(&key.stream));
        let count = self.counts.get_or_default(key.stream);
        if !is_known && *count >= OFFERS_PER_LINK_MAX {
            return false;
        }
        *count += usize::from(!is_known);
        let offers = self.by_log.get_or_default(key.log.clone());
        let offer = offers.get_or_insert_with(key.stream, || Offer {
            entry: (*entry).clone(),
            offered_at: now,
            tries: 0,
        });
        offer.entry = (*entry).clone();
        true
    }

    /// All offers of one log, sorted by link.
    pub fn of_log(&self, log: &LogId) -> impl Iterator<Item = (StreamId, &Offer)> {
        let offers = self.by_log.get(log).into_iter().flat_map(SortedMap::iter);
        offers.map(|(stream, offer)| (*stream, offer))
    }

    /// The offer of this log over this link.
    pub fn get_mut(&mut self, key: &LinkLog) -> Option<&mut Offer> {
        self.by_log.get_mut(&key.log)?.get_mut(&key.stream)
    }

    /// All logs that have an offer.
    pub fn logs(&self) -> impl Iterator<Item = &LogId> {
        self.by_log.keys()
    }
}
