//! The lines that a run has printed beyond others that it has passed over for the next run. A
//! position alone cannot say which of them are printed.
use crate::base::batch::batch::Batch;
use crate::base::event::load::Position;
use crate::base::line_key::LineKey;
use crate::base::name::FolderName;
use crate::base::table::SortedMap;
use crate::shell::store::reader::{BACKLOGS_MAX, PrintedBacklog};

/// Maximum number of passed-over batches that are remembered in a folder. Behind more of them, each
/// printed batch has a range of its own.
const PASSED_OVER_MAX: usize = 1024;

/// The printed lines of all folders in which a batch was passed over.
#[derive(Default)]
pub struct PrintedBeyond(SortedMap<FolderName, FolderLines>);

#[derive(Default)]
struct FolderLines {
    /// The keys of the passed-over batches: of the first line, and behind the last line.
    passed_over: Vec<(LineKey, LineKey)>,
    /// Whether lines were passed over whose keys are not known. Any of them may lie between two
    /// printed batches, so each of these has a range of its own.
    has_unread: bool,
    /// The printed lines, the latest last, in at most [`BACKLOGS_MAX`] ranges: the reader's file
    /// has no more. No range contains a passed-over line.
    printed: Vec<PrintedBacklog>,
}

impl PrintedBeyond {
    /// Records that the next run prints lines of this folder that this run does not read.
    pub fn pass_over_unread(&mut self, folder: &FolderName) {
        self.0.get_or_default(folder.clone()).has_unread = true;
    }

    /// Records that the next run prints this batch.
    pub fn pass_over(&mut self, folder: &FolderName, batch: &Batch) {
        let lines = self.0.get_or_default(folder.clone());
        if lines.passed_over.len() < PASSED_OVER_MAX {
            lines.passed_over.push(keys(batch));
        }
    }

    /// Records that this run prints a batch, which ends at `end`.
    pub fn record(&mut self, folder: &FolderName, batch: &Batch, end: Position) {
        let Some(lines) = self.0.get_mut(folder) else {
            return;
        };
        let (first, behind) = keys(batch);
        let new = PrintedBacklog {
            folder_end: end,
            first,
            end: behind,
        };
        match lines.printed.last_mut() {
            Some(last) if !lines.has_unread && can_join(&lines.passed_over, last, &new) => {
                last.folder_end = end;
                last.first = last.first.min(first);
                last.end = last.end.max(behind);
            }
            _ => lines.printed.push(new),
        }
        let surplus = lines.printed.len().saturating_sub(BACKLOGS_MAX);
        lines.printed.drain(..surplus);
    }

    /// Takes the ranges of printed lines before this position.
    pub fn take(&mut self, folder: &FolderName, position: Position) -> Vec<PrintedBacklog> {
        let Some(lines) = self.0.get_mut(folder) else {
            return Vec::new();
        };
        let at = |it: &PrintedBacklog| (it.folder_end.segment, it.folder_end.offset);
        let ready = lines
            .printed
            .iter()
            .take_while(|it| at(it) <= (position.segment, position.offset));
        let ready: Vec<PrintedBacklog> = ready.copied().collect();
        // The last one may still grow.
        lines.printed.drain(..ready.len().saturating_sub(1));
        ready
    }
}

fn keys(batch: &Batch) -> (LineKey, LineKey) {
    let first = LineKey::in_batch(batch, 0);
    (first, first.advanced_by(batch.count))
}

/// Whether no passed-over line lies in the range that two ranges make together.
fn can_join(passed_over: &[(LineKey, LineKey)], a: &PrintedBacklog, b: &PrintedBacklog) -> bool {
    let (first, end) = (a.first.min(b.first), a.end.max(b.end));
    passed_over.len() < PASSED_OVER_MAX
        && !passed_over
            .iter()
            .any(|(other_first, other_end)| *other_first < end && first < *other_end)
}
