//! How many offers of authors a carrier passes on to their recipients.
use crate::base::time::Time;
use crate::wire::message::LOGS_PER_MESSAGE_MAX;

/// Maximum number of offers that we pass on for one author in [`RELAY_INTERVAL_MS`].
const RELAYED_OFFERS_MAX: usize = LOGS_PER_MESSAGE_MAX;
/// See [`RELAYED_OFFERS_MAX`]. Authors send as many offers in a second.
const RELAY_INTERVAL_MS: u64 = 500;
/// How many offers of a link's peer were passed on lately.
#[derive(Default)]
pub struct RelayedOffers {
    since: Time,
    count: usize,
}

impl RelayedOffers {
    /// Whether one more offer may be passed on now. Counts it then.
    pub fn admit(&mut self, now: Time) -> bool {
        if now.ms_since(self.since) >= RELAY_INTERVAL_MS {
            (self.since, self.count) = (now, 0);
        }
        self.count += 1;
        self.count <= RELAYED_OFFERS_MAX
    }
}
