//! The requests for logs to carry that wait for a place. A carrier without a place for a batch ends
//! its request, and makes it again when a recipient has acknowledged carried lines. These take no
//! place any more.
use std::collections::VecDeque;

use crate::base::event::stream_id::StreamId;
use crate::node::link::LinkLog;

/// Maximum number of logs whose requests are paused. Further ones go on with the author's next
/// offer.
const PAUSED_REQUESTS_MAX: usize = 256;
/// Maximum number of paused requests that an acknowledgement can resume. Each costs a look at all
/// carried logs.
const RESUMED_PER_ACK_MAX: usize = 4;

/// The logs whose requests are paused, in the order in which they are tried again.
#[derive(Default)]
pub struct PausedRequests(VecDeque<LinkLog>);

impl PausedRequests {
    /// Adds a request, as the last one. Returns `false`, without any effect, if there are too many.
    pub fn add(&mut self, key: LinkLog) -> bool {
        let has_place = self.0.len() < PAUSED_REQUESTS_MAX;
        if has_place {
            self.0.push_back(key);
        }
        has_place
    }

    /// Takes the requests that one acknowledgement may resume.
    pub fn take_next(&mut self) -> Vec<LinkLog> {
        let count = self.0.len().min(RESUMED_PER_ACK_MAX);
        self.0.drain(..count).collect()
    }

    /// Forgets the requests over a link that ended.
    pub fn forget(&mut self, stream: StreamId) {
        self.0.retain(|key| key.stream != stream);
    }
}
