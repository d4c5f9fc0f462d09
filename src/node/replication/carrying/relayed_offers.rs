//! The offers of authors that a carrier passes on to a recipient.
use crate::base::batch::LogId;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::replication::logs::eviction::LOGS_PER_AUTHOR_MAX;

/// Maximum number of logs that we offer to one recipient on behalf of their authors, while its link
/// lasts. Of one author, at most [`LOGS_PER_AUTHOR_MAX`]. Offers name logs that their authors may
/// have invented: half of the recipient's places for offers are left for our own ones.
const RELAYED_LOGS_MAX: usize = 1_024;
/// Minimum milliseconds between two offers of one log that we pass on. Authors offer a log at most
/// once a second.
const RELAY_INTERVAL_MS: u64 = 500;

/// The logs whose offers were passed on to a link's peer, and when each was last.
#[derive(Default)]
pub struct RelayedOffers(SortedMap<LogId, Time>);

impl RelayedOffers {
    /// Whether an offer of this log to the link's peer may be passed on now. Records it then.
    pub fn admit(&mut self, log: &LogId, now: Time) -> bool {
        if let Some(at) = self.0.get_mut(log) {
            let is_due = now.ms_since(*at) >= RELAY_INTERVAL_MS;
            *at = if is_due { now } else { *at };
            return is_due;
        }
        let of_author = self
            .0
            .keys()
            .filter(|other| other.author == log.author)
            .count();
        let has_place = self.0.len() < RELAYED_LOGS_MAX && of_author < LOGS_PER_AUTHOR_MAX;
        if has_place {
            self.0.insert(log.clone(), now);
        }
        has_place
    }
}
