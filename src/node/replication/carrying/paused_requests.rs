//! The requests for logs to carry that wait for a place. A carrier without a place for a batch ends
//! its request, and makes it again when a recipient has acknowledged carried lines. These take no
//! place any more.
use std::collections::VecDeque;

use crate::base::event::stream_id::StreamId;
use crate::node::link::LinkLog;

/// Maximum number of logs whose requests are paused. Further ones go on with the author's next
/// offer.
const PAUSED_REQUESTS_MAX: usize = 256;
/// Maximum number of paused requests that a message can resume. Each costs a look at all
/// carried logs.
const RESUMED_PER_ACK_MAX: usize = 4;

/// The logs whose requests are paused, in the order in which they are tried again.
#[derive(Default)]
pub struct PausedRequests {
    keys: VecDeque<LinkLog>,
    /// Whether carried lines were acknowledged since a request was last resumed.
    has_place: bool,
}

impl PausedRequests {
    /// Adds a request, as the last one, unless it is there already. Returns `false`, without any
    /// effect, if there are too many.
    pub fn add(&mut self, key: LinkLog) -> bool {
        if self.keys.contains(&key) {
            return true;
        }
        let has_place = self.keys.len() < PAUSED_REQUESTS_MAX;
        if has_place {
            self.keys.push_back(key);
        }
        has_place
    }

    /// Records that carried lines were acknowledged for the first time.
    pub fn record_delivery(&mut self) {
        self.has_place = true;
    }

    /// Takes the requests that a message with acknowledgements may resume. None without a delivery
    /// since the last call.
    pub fn take_next(&mut self) -> Vec<LinkLog> {
        let count = match std::mem::take(&mut self.has_place) {
            true => self.keys.len().min(RESUMED_PER_ACK_MAX),
            false => 0,
        };
        self.keys.drain(..count).collect()
    }

    /// Forgets the requests over a link that ended.
    pub fn forget(&mut self, stream: StreamId) {
        self.keys.retain(|key| key.stream != stream);
    }
}
