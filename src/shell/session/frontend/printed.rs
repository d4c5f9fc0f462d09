//! How far stdout has taken the lines of each folder.
use std::collections::VecDeque;

use crate::base::name::FolderName;
use crate::ui::session_event::{BacklogCursor, BacklogProgress, FolderCursor};

/// Lines of a folder that are rendered, and that stdout may not have taken yet.
#[derive(Debug)]
struct InFlight {
    /// How many lines of all output end with these lines. `None`: the lines are not passed to
    /// stdout yet.
    end: Option<u64>,
    folder: FolderName,
    /// Once stdout has taken the lines, all lines of the folder before this place are printed.
    cursor: FolderCursor,
    /// How many lines there are. 0: the event had only a place.
    lines: u64,
}

impl InFlight {
    /// The place after the lines that stdout has taken. `None`: it has taken no line, or only the
    /// place after all lines can be recorded.
    fn partial_cursor(&self, written_lines: u64) -> Option<FolderCursor> {
        let rest = self.end?.saturating_sub(written_lines);
        let backlog = self.cursor.backlog.and_then(BacklogProgress::begun);
        let backlog = backlog.filter(|backlog| backlog.has_more)?;
        (rest < self.lines).then(|| FolderCursor {
            backlog: Some(BacklogProgress::Begun(BacklogCursor {
                end: backlog.end.moved_back_by(rest),
                ..backlog
            })),
            ..self.cursor
        })
    }
}

/// How far stdout has taken the lines of each folder. Counts lines of all output, so that it knows
/// which lines of a chunk are written.
#[derive(Debug, Default)]
pub struct Printed {
    /// How many lines were passed to stdout.
    sent_lines: u64,
    /// How many lines were written at the last call of [`Printed::take_written`].
    written_lines: u64,
    in_flight: VecDeque<InFlight>,
}

impl Printed {
    /// Records that all waiting output was passed to stdout, with this number of lines.
    pub(super) fn record_sent(&mut self, lines: u64) {
        self.sent_lines += lines;
        let waiting = self.in_flight.iter_mut().rev();
        for chunk in waiting.take_while(|chunk| chunk.end.is_none()) {
            chunk.end = Some(self.sent_lines);
        }
    }

    /// Records that the frontend has rendered the lines of a folder before `cursor`. `lines`: how
    /// many of them the last event had. `is_waiting`: whether the event is not passed to stdout
    /// yet.
    pub(super) fn track(
        &mut self,
        folder: FolderName,
        cursor: FolderCursor,
        lines: u64,
        is_waiting: bool,
    ) {
        self.in_flight.push_back(InFlight {
            end: (!is_waiting).then_some(self.sent_lines),
            folder,
            cursor,
            lines: match is_waiting {
                // The last one of several waiting events is not alone at the end.
                true => 0,
                false => lines,
            },
        });
    }

    /// Removes the lines that are written. `written_lines`: how many lines of all output are
    /// written. For each folder of these lines, returns how far its lines are written.
    pub(super) fn take_written(&mut self, written_lines: u64) -> Vec<(FolderName, FolderCursor)> {
        let mut printed: Vec<(FolderName, FolderCursor)> = Vec::new();
        let is_written = |chunk: &mut InFlight| chunk.end.is_some_and(|end| end <= written_lines);
        while let Some(chunk) = self.in_flight.pop_front_if(is_written) {
            record_last(&mut printed, chunk.folder, chunk.cursor);
        }
        let is_new = std::mem::replace(&mut self.written_lines, written_lines) != written_lines;
        if is_new
            && let Some(chunk) = self.in_flight.front()
            && let Some(cursor) = chunk.partial_cursor(written_lines)
        {
            record_last(&mut printed, chunk.folder.clone(), cursor);
        }
        printed
    }
}

fn record_last(
    printed: &mut Vec<(FolderName, FolderCursor)>,
    folder: FolderName,
    cursor: FolderCursor,
) {
    match printed.iter_mut().find(|(known, _)| *known == folder) {
        Some((_, known)) => *known = cursor,
        None => printed.push((folder, cursor)),
    }
}
