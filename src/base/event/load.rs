//! Reads of the store: requests, and what they return.
use crate::base::batch::batch::{Batch, LocalFields, LogId};
use crate::base::event::stream_id::StreamId;

/// Why the core reads batches from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadPurpose {
    /// To send the batches over the link with this id. The linked peer lacks them.
    Send(StreamId),
    /// To send the batches over the link with this id. They fill a gap of the linked peer.
    SendGap(StreamId),
    /// To compare one of our batches with a peer's.
    Compare,
    /// To publish lines of our forked log again in a new incarnation.
    Republish,
}

/// The next line to read of a log, and where the store finds it.
#[derive(Clone, Debug)]
pub struct LogCursor {
    /// The log.
    pub log: LogId,
    /// Sequence of the line.
    pub from: u64,
    /// Where the store starts to read, as an earlier reply says. `None`: it searches for the line.
    pub position: Option<Position>,
}

/// Requests batches of some logs from the store. The store reads all of them in one pass.
#[derive(Debug)]
pub struct LoadRequest {
    /// Why the batches are read.
    pub purpose: LoadPurpose,
    /// The logs, sorted, and the first line requested of each. All belong to one folder.
    pub cursors: Vec<LogCursor>,
    /// About the size in bytes of all batches to read. The store reads at least one batch.
    pub budget_bytes: usize,
}

/// The store's answer to a [`LoadRequest`].
#[derive(Debug)]
pub struct LoadReply {
    /// The purpose of the request.
    pub purpose: LoadPurpose,
    /// The logs of the request.
    pub logs: Vec<LoadedLog>,
}

/// The batches that the store read of one log.
#[derive(Debug)]
pub struct LoadedLog {
    /// The cursor of the request, with the position for the next request.
    pub cursor: LogCursor,
    /// Batches in ascending order. Empty: none is stored. `None`: the budget was used up before.
    pub batches: Option<Vec<Batch>>,
}

/// A position in a folder of the history. Only the store interprets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Number of the segment.
    pub segment: u64,
    /// Offset in bytes, in the segment as it was before any eviction rewrote it.
    pub offset: u64,
    /// How often the segment had been rewritten when the store created the position.
    pub generation: u64,
}

/// A batch read from the history.
#[derive(Clone, Debug)]
pub struct StoredBatch {
    /// Where the batch begins.
    pub position: Position,
    /// The batch.
    pub batch: Batch,
    /// The local fields stored with the batch.
    pub local: LocalFields,
}
