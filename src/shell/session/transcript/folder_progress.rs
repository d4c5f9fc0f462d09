//! How far a transcript is in one folder.
use std::ops::Range;

use crate::base::event::load::{Position, StoredBatch};
use crate::base::line_key::LineKey;
use crate::shell::store::reader::PrintedBacklog;
use crate::ui::session_event::{BacklogCursor, BacklogProgress, FolderCursor};

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
    /// How far the backlog of the folder is emitted. `None`: the folder has no backlog, or the
    /// first line of a backlog of several folders is unknown. The backlog consists of lines before
    /// `run_start`.
    pub(super) backlog: Option<BacklogProgress>,
    /// Whether the position after the backlog is still to be emitted. Set when the backlog ends.
    pub(super) is_end_due: bool,
    /// Where printing stops. `None` until the run ends or the room is left.
    pub(super) end: Option<Position>,
}

impl FolderProgress {
    /// Where another listener continues after the batches before `position`.
    pub(super) fn resume_at(&self, position: Position) -> FolderCursor {
        let has_backlog = |backlog: &BacklogProgress| {
            let begun = backlog.begun();
            begun.is_none_or(|begun| begun.has_more) || position < self.run_start
        };
        FolderCursor {
            position,
            run_start: self.run_start,
            backlog: self.backlog.filter(has_backlog).map(Box::new),
        }
    }

    /// The printed part of the backlog.
    fn printed_backlog(&self) -> Option<PrintedBacklog> {
        let BacklogCursor { first, end, .. } = self.backlog?.begun()?;
        Some(PrintedBacklog {
            folder_end: self.run_start,
            first,
            end,
        })
    }

    /// The lines of a batch that neither this folder's backlog nor one of `earlier` has printed.
    /// Returns ranges of indexes. No range is empty.
    pub(super) fn unprinted_lines(
        &self,
        entry: &StoredBatch,
        earlier: &[PrintedBacklog],
    ) -> Vec<Range<u64>> {
        let key = LineKey::in_batch(&entry.batch, 0);
        let mut unprinted: Vec<Range<u64>> = std::iter::once(0..entry.batch.count).collect();
        for printed in earlier.iter().copied().chain(self.printed_backlog()) {
            if entry.position < printed.folder_end {
                let first = key.lines_before(&printed.first);
                let end = key.lines_before(&printed.end).max(first);
                let around = |lines: Range<u64>| {
                    let before = lines.start..lines.end.min(first);
                    [before, lines.start.max(end)..lines.end]
                };
                unprinted = unprinted.into_iter().flat_map(around).collect();
            }
        }
        unprinted.retain(|lines| !lines.is_empty());
        unprinted
    }
}
