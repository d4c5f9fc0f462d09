//! The `want` message: requests lines of a log over one link, or cancels an earlier request.
use crate::base::batch::batch::LogId;
use crate::base::event::stream_id::StreamId;
use crate::base::table::SortedMap;
use crate::node::context::Context;
use crate::node::link::LinkLog;
use crate::wire::message::{LOGS_PER_MESSAGE_MAX, Message, WantEntry, format_incarnation};

/// The lines of one log that a `want` requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantRange {
    /// No lines. Cancels the earlier request for this log.
    Cancel,
    /// The line with this sequence and all later lines, even lines that are not published yet.
    From(u64),
    /// A gap in the requesting peer's copy of the log.
    Gap {
        /// Sequence of the first missing line.
        from: u64,
        /// Sequence of the last missing line.
        to: u64,
    },
}

impl WantRange {
    /// The range that a received `want` entry requests.
    pub fn from_entry(entry: &WantEntry) -> WantRange {
        match (entry.from, entry.to) {
            (0, _) => WantRange::Cancel,
            (from, 0) => WantRange::From(from),
            (from, to) => WantRange::Gap { from, to },
        }
    }
}

/// The `want` entry that requests this range of a log.
fn want_entry(log: &LogId, range: WantRange) -> WantEntry {
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

/// Sends one `want` message that requests this range of one log.
pub fn send_want(ctx: &mut Context, stream: StreamId, log: &LogId, range: WantRange) {
    let target = log.target.to_string();
    let logs = vec![want_entry(log, range)];
    ctx.send(stream, &Message::Want { target, logs });
}

/// Sends `want` entries for many logs. Entries for one link and target share messages.
pub fn send_wants(ctx: &mut Context, wants: Vec<(LinkLog, WantRange)>) {
    let mut messages: SortedMap<(StreamId, String), Vec<WantEntry>> = SortedMap::new();
    for (key, range) in wants {
        let message = messages.get_or_default((key.stream, key.log.target.to_string()));
        message.push(want_entry(&key.log, range));
    }
    for ((stream, target), wants) in messages.iter() {
        for part in wants.chunks(LOGS_PER_MESSAGE_MAX) {
            let (target, logs) = (target.clone(), part.to_vec());
            ctx.send(*stream, &Message::Want { target, logs });
        }
    }
}
