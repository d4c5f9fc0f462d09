//! How far a transcript is in one folder.
use std::ops::Range;

use crate::base::event::{Position, StoredBatch};
use crate::base::line_key::LineKey;
use crate::ui::session_event::{BacklogCursor, FolderCursor};

/// The cursor over one folder.
#[derive(Clone, Copy, Debug, Default)]
pub struct FolderProgress {
    /// Position of the next batch to print.
    pub(super) position: Position,
    /// The value of `position` when the folder was opened.
    pub(super) start: Position,
    /// End of the folder when this run opened the folder. Earlier runs stored all batches before
    /// this position.
    pub(super) run_start: Position,
    /// How far the backlog of the folder is emitted. `None`: the folder has no backlog, or its
    /// first line is unknown. The backlog consists of lines before `run_start`.
    pub(super) backlog: Option<BacklogCursor>,
    /// Whether the position after the backlog is still to be emitted. Set when the backlog ends.
    pub(super) is_end_due: bool,
    /// Where this run stops printing; `None` until the run ends. The next run continues there.
    pub(super) end: Option<Position>,
}

impl FolderProgress {
    /// Where another listener continues after the batches before `position`.
    pub(super) fn resume_at(&self, position: Position) -> FolderCursor {
        let has_backlog = |backlog: &BacklogCursor| backlog.has_more || position < self.run_start;
        FolderCursor {
            position,
            run_start: self.run_start,
            backlog: self.backlog.filter(has_backlog),
        }
    }

    /// The lines of a batch that the backlog has not printed, as two ranges of indexes. The first
    /// range lies before the printed lines, the second range after them. Each range may be empty.
    pub(super) fn unprinted_lines(&self, entry: &StoredBatch) -> [Range<u64>; 2] {
        let batch = &entry.batch;
        match self.backlog {
            Some(BacklogCursor { first, end, .. }) if entry.position < self.run_start => {
                let key = LineKey::in_batch(batch, 0);
                let before = |other| key.lines_before(other).min(batch.count);
                [0..before(&first), before(&end)..batch.count]
            }
            _ => [0..batch.count, batch.count..batch.count],
        }
    }
}
