//! The limit of the number of TCP streams, which the available descriptors may lower.
use std::io;
use std::os::fd::OwnedFd;

use crate::shell::os::descriptors::{count_available, reserve_descriptor};

/// Maximum number of streams at a time, if enough descriptors are available. At the limit, every
/// further connection from a peer is accepted and closed at once.
const STREAMS_MAX: usize = 512;
/// How many of the descriptors that are available at the start are left to other uses: the history,
/// the sockets of the beacons, and the clients of `control.sock`.
const SPARE_DESCRIPTORS: usize = 16;
/// Minimum for the limit of the number of streams. A program with very few descriptors can still
/// send.
const STREAMS_MAX_MIN: usize = 4;

/// How many streams may be open, and whether descriptors were short.
pub struct StreamLimit {
    /// [`STREAMS_MAX`], or less if few descriptors are available.
    streams_max: usize,
    /// A descriptor that is given up to refuse a connection when no other is left.
    reserve: Option<OwnedFd>,
    shortage: Shortage,
}

/// Whether no descriptor was left for a connection, in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shortage {
    None,
    Unreported,
    Reported,
}

impl Default for StreamLimit {
    /// The limit for the descriptors that are available now.
    fn default() -> StreamLimit {
        let available = count_available(STREAMS_MAX + SPARE_DESCRIPTORS);
        let streams_max = available.saturating_sub(SPARE_DESCRIPTORS);
        StreamLimit {
            streams_max: streams_max.max(STREAMS_MAX_MIN),
            reserve: reserve_descriptor().ok(),
            shortage: Shortage::None,
        }
    }
}

impl StreamLimit {
    /// Whether no stream may be opened beside so many. Notes a shortage if more descriptors would
    /// allow further streams.
    pub fn is_reached(&mut self, streams: usize) -> bool {
        let is_full = streams >= self.streams_max;
        if is_full && self.streams_max < STREAMS_MAX {
            self.note_shortage();
        }
        is_full
    }

    /// Gives up the reserved descriptor, so that `refuse` can accept and close a connection for
    /// which no other is left. Notes a shortage if it did.
    ///
    /// # Errors
    /// Those of `refuse`. No descriptor could be reserved.
    pub fn refuse_by(&mut self, refuse: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        // Another use may have taken the last one before it was reserved again.
        let reserve = self.reserve.take().map_or_else(reserve_descriptor, Ok)?;
        drop(reserve);
        let refused = refuse();
        self.reserve = reserve_descriptor().ok();
        if refused.is_ok() {
            self.note_shortage();
        }
        refused
    }

    /// Records that no descriptor was left for a connection.
    pub fn note_shortage(&mut self) {
        if self.shortage == Shortage::None {
            self.shortage = Shortage::Unreported;
        }
    }

    /// Whether to tell the user that no descriptor was left for a connection. True once in a run.
    pub fn take_shortage(&mut self) -> bool {
        let is_new = self.shortage == Shortage::Unreported;
        if is_new {
            self.shortage = Shortage::Reported;
        }
        is_new
    }
}
