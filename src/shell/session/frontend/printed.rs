//! How far stdout has taken the lines of each folder.
use std::collections::VecDeque;

use crate::base::name::FolderName;
use crate::ui::session_event::FolderCursor;

/// A chunk of output that was passed to stdout and may not be written yet.
#[derive(Debug)]
struct InFlight {
    /// The chunk's token, which the writer of stdout reports once the chunk is written.
    token: u64,
    folder: FolderName,
    /// Once stdout has taken the chunk, all lines of the folder before this place are printed.
    cursor: FolderCursor,
}

/// How far stdout has taken the lines of each folder.
#[derive(Debug, Default)]
pub struct Printed {
    /// The token of the last chunk passed to stdout.
    token: u64,
    in_flight: VecDeque<InFlight>,
}

impl Printed {
    /// The token of the next chunk.
    pub(super) fn next_token(&mut self) -> u64 {
        self.token += 1;
        self.token
    }

    /// Records that the frontend has rendered the lines of a folder before `cursor`. `is_waiting`:
    /// whether the newest lines belong to the next chunk. Otherwise these lines belong to the last
    /// chunk.
    pub(super) fn track(&mut self, folder: FolderName, cursor: FolderCursor, is_waiting: bool) {
        let token = self.token + u64::from(is_waiting);
        match self.in_flight.back_mut() {
            Some(last) if last.token == token && last.folder == folder => last.cursor = cursor,
            _ => self.in_flight.push_back(InFlight {
                token,
                folder,
                cursor,
            }),
        }
    }

    /// Removes the chunks up to `written_token`. For each folder of these chunks, returns how far
    /// its lines are written.
    pub(super) fn take_written(&mut self, written_token: u64) -> Vec<(FolderName, FolderCursor)> {
        let taken = self
            .in_flight
            .partition_point(|chunk| chunk.token <= written_token);
        let mut printed: Vec<(FolderName, FolderCursor)> = Vec::new();
        for chunk in self.in_flight.drain(..taken) {
            match printed
                .iter_mut()
                .find(|(folder, _)| *folder == chunk.folder)
            {
                Some((_, cursor)) => *cursor = chunk.cursor,
                None => printed.push((chunk.folder, chunk.cursor)),
            }
        }
        printed
    }
}
