//! How far stdout has taken the lines of each folder.
use std::collections::VecDeque;

use crate::base::lines::count_line_ends;
use crate::base::name::FolderName;
use crate::shell::stdio::output_writer::OutputWriter;
use crate::ui::session_event::{BacklogCursor, BacklogProgress, FolderCursor};

/// Lines of a folder that are rendered, and that stdout may not have taken yet.
#[derive(Debug)]
struct InFlight {
    /// How many units of all output end with these lines. `None`: the lines are not passed to
    /// stdout yet.
    end: Option<u64>,
    folder: FolderName,
    /// Once stdout has taken the lines, all lines of the folder before this place are printed.
    cursor: FolderCursor,
    /// How many lines there are. 0: the event had only a place, or lines are not counted.
    lines: u64,
}

impl InFlight {
    /// The place after the lines that stdout has taken. `None`: it has taken no line, or only the
    /// place after all lines can be recorded.
    fn partial_cursor(&self, written: u64) -> Option<FolderCursor> {
        let rest = self.end?.saturating_sub(written);
        let backlog = self.cursor.backlog.as_ref().and_then(|it| it.begun());
        let backlog = backlog.filter(|backlog| backlog.has_more)?;
        (rest < self.lines).then(|| FolderCursor {
            backlog: Some(Box::new(BacklogProgress::Begun(BacklogCursor {
                end: backlog.end.moved_back_by(rest),
                ..backlog
            }))),
            ..self.cursor
        })
    }
}

/// What of the output is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputUnit {
    /// Lines. Each line of the history is one.
    #[default]
    Line,
    /// Bytes, because not each line of the history is printed as one line.
    Byte,
}

/// How far stdout has taken the lines of each folder. Counts lines of all output, so that it knows
/// which lines of a chunk are written. Counts bytes if a line of the history is not one of output;
/// then it knows only which whole chunks are written.
#[derive(Debug, Default)]
pub struct Printed {
    unit: OutputUnit,
    /// How many units were passed to stdout.
    sent: u64,
    /// How many units were written at the last call of [`Printed::take_written`].
    written: u64,
    in_flight: VecDeque<InFlight>,
}

impl Printed {
    /// Counts the output in this unit.
    pub(super) fn new(unit: OutputUnit) -> Printed {
        Printed {
            unit,
            ..Printed::default()
        }
    }

    /// Records that all waiting output was passed to stdout, and is this.
    pub(super) fn record_sent(&mut self, output: &[u8]) {
        self.sent += match self.unit {
            OutputUnit::Line => count_line_ends(output),
            OutputUnit::Byte => output.len() as u64,
        };
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
        self.in_flight.push_back(InFlight {
            end: (!is_waiting).then_some(self.sent),
            folder,
            cursor,
            lines: match self.unit {
                // The last one of several waiting events is not alone at the end.
                OutputUnit::Line if !is_waiting => lines,
                _ => 0,
            },
        });
    }

    /// Removes the lines that stdout has written. For each folder of these lines, returns how far
    /// its lines are written.
    pub(super) fn take_written(
        &mut self,
        stdout: &OutputWriter,
    ) -> Vec<(FolderName, FolderCursor)> {
        let written = match self.unit {
            OutputUnit::Line => stdout.written_lines(),
            OutputUnit::Byte => stdout.written_bytes(),
        };
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
