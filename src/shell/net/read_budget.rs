//! How much is read from a stream in a turn: more from one that is alone.
use std::time::{Duration, Instant};

use crate::base::event::stream_id::StreamId;

/// Maximum number of bytes read from one stream in a turn. The limit leaves time for the other
/// streams.
pub const READ_BUDGET_BYTES: usize = 64 * 1024;
/// The same of a stream that has more to read, while no other stream brings bytes. The batches of a
/// log in one turn need only one verification, and are printed together.
const LONE_READ_BUDGET_BYTES: usize = 256 * 1024;
/// How long the turns leave time for other streams after they have brought bytes, in milliseconds.
/// A peer that has just come answers within a few.
const SHARED_MS: u64 = 100;

/// Whether several streams bring bytes.
#[derive(Default)]
pub struct ReadBudget {
    /// The stream that brought the last bytes. `None`: another was opened since.
    last_stream: Option<StreamId>,
    /// Until when the turns leave time for other streams. `None`: no stream was opened yet.
    shared_until: Option<Instant>,
}

impl ReadBudget {
    /// Records that a stream has brought bytes.
    pub fn record_read(&mut self, stream: StreamId, now: Instant) {
        if self.last_stream != Some(stream) {
            self.last_stream = Some(stream);
            self.share(now);
        }
    }

    /// Records that a stream was opened: it will bring bytes.
    pub fn record_opened(&mut self, now: Instant) {
        self.last_stream = None;
        self.share(now);
    }

    fn share(&mut self, now: Instant) {
        self.shared_until = Some(now + Duration::from_millis(SHARED_MS));
    }

    /// Maximum number of bytes to read in a turn from a stream whose last read returned
    /// `last_read_bytes`.
    pub fn bytes(&self, last_read_bytes: usize, now: Instant) -> usize {
        let is_shared = self.shared_until.is_some_and(|until| now < until);
        match last_read_bytes >= READ_BUDGET_BYTES && !is_shared {
            true => LONE_READ_BUDGET_BYTES,
            false => READ_BUDGET_BYTES,
        }
    }
}
