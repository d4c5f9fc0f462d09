//! How far stdout has taken the lines of each folder.
use std::collections::VecDeque;

use crate::base::name::FolderName;
use crate::shell::stdio::output_writer::OutputWriter;
use crate::ui::session_event::{BacklogCursor, BacklogProgress, FolderCursor};

/// Lines of a folder that are rendered, and that stdout may not have taken yet.
#[derive(Debug)]
struct InFlight {
    /// How many bytes of all output end with these lines. `None`: the lines are not passed to
    /// stdout yet.
    end: Option<u64>,
    folder: FolderName,
    /// Once stdout has taken the lines, all lines of the folder before this place are printed.
    cursor: FolderCursor,
    /// Where each of these lines ends, in bytes of all output. Empty: not recorded.
    line_ends: Vec<u64>,
}

impl InFlight {
    /// The place after the lines that stdout has taken. `None`: it has taken no line, or only the
    /// place after all lines can be recorded.
    fn partial_cursor(&self, written: u64) -> Option<FolderCursor> {
        let rest = self.line_ends.iter().filter(|end| **end > written).count();
        let backlog = self.cursor.backlog.as_ref().and_then(|it| it.begun());
        let backlog = backlog.filter(|backlog| backlog.has_more)?;
        (rest < self.line_ends.len()).then(|| FolderCursor {
            backlog: Some(Box::new(BacklogProgress::Begun(BacklogCursor {
                end: backlog.end.moved_back_by(rest as u64),
                ..backlog
            }))),
            ..self.cursor
        })
    }
}

/// How far stdout has taken the lines of each folder, counted in bytes of all output.
#[derive(Debug, Default)]
pub struct Printed {
    /// How many bytes were passed to stdout.
    sent: u64,
    /// How many bytes were written at the last call of [`Printed::take_written`].
    written: u64,
    in_flight: VecDeque<InFlight>,
    /// Whether the next output records where its lines end.
    is_line_end_due: bool,
    /// Where the lines of that output end, in bytes of all output.
    line_ends: Vec<u64>,
}

impl Printed {
    /// Has the next output record where its lines end, so that a part of them can count as printed.
    pub(super) fn record_line_ends(&mut self) {
        self.is_line_end_due = true;
    }

    /// Records that all waiting output was passed to stdout, and is this.
    pub(super) fn record_sent(&mut self, output: &[u8]) {
        if std::mem::take(&mut self.is_line_end_due) {
            self.line_ends.clear();
            for at in memchr::memchr_iter(b'\n', output) {
                self.line_ends.push(self.sent + at as u64 + 1);
            }
        }
        self.sent += output.len() as u64;
        let waiting = self.in_flight.iter_mut().rev();
        for chunk in waiting.take_while(|chunk| chunk.end.is_none()) {
            chunk.end = Some(self.sent);
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
        // A line of the history may be printed as several ones, or is a part of what waits.
        let mut line_ends = std::mem::take(&mut self.line_ends);
        self.is_line_end_due = false;
        if is_waiting || line_ends.len() as u64 != lines {
            line_ends = Vec::new();
        }
        self.in_flight.push_back(InFlight {
            end: (!is_waiting).then_some(self.sent),
            folder,
            cursor,
            line_ends,
        });
    }

    /// Removes the lines that stdout has written. For each folder of these lines, returns how far
    /// its lines are written.
    pub(super) fn take_written(
        &mut self,
        stdout: &OutputWriter,
    ) -> Vec<(FolderName, FolderCursor)> {
        let written = stdout.written_bytes();
        let mut printed: Vec<(FolderName, FolderCursor)> = Vec::new();
        let is_written = |chunk: &mut InFlight| chunk.end.is_some_and(|end| end <= written);
        while let Some(chunk) = self.in_flight.pop_front_if(is_written) {
            record_last(&mut printed, chunk.folder, chunk.cursor);
        }
        let is_new = std::mem::replace(&mut self.written, written) != written;
        if is_new
            && let Some(chunk) = self.in_flight.front()
            && let Some(cursor) = chunk.partial_cursor(written)
        {
            record_last(&mut printed, chunk.folder.clone(), cursor);
        }
        printed
    }
}

/// Records how far a folder is printed.
pub(super) fn record_last(
    printed: &mut Vec<(FolderName, FolderCursor)>,
    folder: FolderName,
    cursor: FolderCursor,
) {
    match printed.iter_mut().find(|(known, _)| *known == folder) {
        Some((_, known)) => *known = cursor,
        None => printed.push((folder, cursor)),
    }
}
