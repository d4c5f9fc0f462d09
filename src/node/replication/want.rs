//! The `want` message: requests lines of a log over one link, or ends an earlier request.
use crate::base::batch::LogId;
use crate::node::context::Context;
use crate::node::link::LinkLog;
use crate::wire::message::{Message, WantEntry, format_incarnation};

/// The lines of one log that a `want` requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantRange {
    /// No more lines: ends the request for this log.
    Cancel,
    /// Every line from this one on, including lines that are published later.
    From(u64),
    /// The lines `from` to `to`, which are missing in the middle of the log.
    Gap {
        /// The first missing line.
        from: u64,
        /// The last missing line.
        to: u64,
    },
}

impl WantRange {
    /// The range that a received entry requests.
    pub fn from_entry(entry: &WantEntry) -> WantRange {
        match (entry.from, entry.to) {
            (0, _) => WantRange::Cancel,
            (from, 0) => WantRange::From(from),
            (from, to) => WantRange::Gap { from, to },
        }
    }
}

/// The entry that requests this range of a log.
pub fn want_entry(log: &LogId, range: WantRange) -> WantEntry {
    let (from, to) = match range {
        WantRange::Cancel => (0, 0),
        WantRange::From(from) => (from, 0),
        WantRange::Gap { from, to } => (from, to),
    };
    WantEntry {
        sender: log.author,
        incarnation: format_incarnation(log.incarnation),
        from,
        to,
    }
}

/// Requests a range of one log in a message of its own.
pub fn send_want(ctx: &mut Context, key: &LinkLog, range: WantRange) {
    let target = key.log.target.to_string();
    let logs = vec![want_entry(&key.log, range)];
    ctx.send(key.stream, &Message::Want { target, logs });
}
