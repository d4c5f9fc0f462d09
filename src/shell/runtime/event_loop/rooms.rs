//! Opens and leaves rooms and their folders. Reads folders for links that lag.
use std::io;

use crate::base::error_code::ErrorCode;
use crate::base::event::command::Command;
use crate::base::event::input::Input;
use crate::base::event::load::{LoadReply, LoadRequest, LoadedLog, LogCursor, Position};
use crate::base::event::notice::Notice;
use crate::base::name::{FolderName, Nick, Room};
use crate::base::range::LogRanges;
use crate::base::time::ReaderStart;
use crate::shell::os::descriptors::is_shortage;
use crate::shell::runtime::event_loop::event_loop::EventLoop;
use crate::wire::message::ROOMS_MAX;

/// Milliseconds after which a read that lacked a file descriptor is executed again.
const LOAD_RETRY_MS: u64 = 1_000;

impl EventLoop {
    /// Opens the folder of a room, and joins the room. Reports a failure as a notice.
    pub(super) fn open_room_or_notify(&mut self, room: &Room) {
        if let Err(error) = self.open_room(room) {
            self.notify(Notice::Error {
                code: ErrorCode::Room,
                content: format!("{room} cannot be opened: {error}"),
            });
        }
    }

    fn open_room(&mut self, room: &Room) -> io::Result<()> {
        let folder = FolderName::from(room);
        if self.node.joined_rooms().contains(room) {
            return Ok(());
        }
        // The core refuses more rooms than `ROOMS_MAX`, so no folder is created for them.
        if self.node.joined_rooms().len() < ROOMS_MAX {
            let ranges = self.store.open_folder(&folder)?;
            self.register_folder(folder, ranges);
            return Ok(());
        }
        self.handle_input(Input::FolderOpened {
            folder,
            ranges: LogRanges::default(),
            existed: false,
        });
        Ok(())
    }

    /// Leaves the rooms that no session is in any more. Stays in a room until each line that this
    /// run published there is acknowledged.
    pub(super) fn leave_drained_rooms(&mut self) {
        for room in std::mem::take(&mut self.rooms_to_leave) {
            if self.is_in_use(&room) || !self.node.joined_rooms().contains(&room) {
                continue;
            }
            if self.node.has_unacknowledged(&room) {
                self.rooms_to_leave.insert(room);
            } else {
                self.handle_input(Input::Command(Command::Part(Some(room))));
            }
        }
    }

    /// Tells the core that the store has opened a folder. `ranges`: the stored lines of each log.
    pub(super) fn register_folder(&mut self, folder: FolderName, ranges: LogRanges) {
        let existed = self.store.existed_before(&folder);
        let room = folder.room();
        match &room {
            Some(room) if self.will_print(room) => {
                let reader = self.options.reading.reader.clone();
                self.begin_reader(room, reader.as_ref());
            }
            Some(room) => self.open_readers(room),
            None => {}
        }
        if self.frontend.is_printing_transcript() {
            let end = self.store.end(&folder);
            let now = self.now.time;
            self.audits.schedule_first(folder.clone(), now, end);
        }
        self.pass_printed_parts(&folder);
        self.handle_input(Input::FolderOpened {
            folder,
            ranges,
            existed,
        });
    }

    /// Whether this run prints the room's transcript from the start of the run.
    fn will_print(&self, room: &Room) -> bool {
        self.options.rooms.contains(room) && self.frontend.is_printing_transcript()
    }

    /// Begins a reader of a room, because somebody now reads the room. Without a name, `reader` is
    /// the directory's own. A reader that has already begun stays unchanged. The room's folder must
    /// be open. Returns false if there are too many readers.
    pub(super) fn begin_reader(&mut self, room: &Room, reader: Option<&Nick>) -> bool {
        let now = self.clock.moment(self.now);
        let has_begun = self.store.begin_reader(&room.into(), reader, &now);
        self.open_readers(room);
        has_begun
    }

    /// Tells the core that a session which is no reader listens from now on. What is said from now
    /// on is news for it, also if no reader has begun in the room.
    pub(super) fn open_listener(&mut self, room: Room) {
        let at_ms = i64::try_from(self.now.time.0).unwrap_or(i64::MAX);
        let start = ReaderStart::SameBoot { at_ms };
        self.handle_input(Input::ReaderOpened { room, start });
    }

    /// Tells the core when the readers of a room began, those that have begun.
    fn open_readers(&mut self, room: &Room) {
        let starts = self
            .store
            .reader_starts(&room.into(), &self.clock.started());
        for start in starts {
            let room = room.clone();
            self.handle_input(Input::ReaderOpened { room, start });
        }
    }

    /// Executes the waiting reads of the store. Reads that the core requests meanwhile wait for the
    /// next call. If no file descriptor is left for a read, it is executed a second later, and so
    /// are those behind it.
    pub(super) fn load_pending(&mut self) {
        let now = self.now.time;
        self.loads_paused_until.take_if(|at| *at <= now);
        for _ in 0..self.pending_loads.len() {
            if self.loads_paused_until.is_none()
                && let Some(request) = self.pending_loads.pop_front()
            {
                self.load_batches(request);
            }
        }
    }

    /// Reports that a part of the store can't be read. Returns whether the system was short of
    /// descriptors or memory. Reads then pause for a second.
    pub(super) fn report_read_error(&mut self, error: &io::Error) -> bool {
        self.frontend.report_read_error(error);
        let is_paused = is_shortage(error);
        if is_paused {
            self.loads_paused_until = Some(self.now.time + LOAD_RETRY_MS);
        }
        is_paused
    }

    /// Reads the batches that the core has requested, and passes them to the core. Reports and
    /// skips parts of the store that cannot be read.
    fn load_batches(&mut self, request: LoadRequest) {
        let mut cursors = request.cursors;
        let batches = loop {
            let positions_before = positions(&cursors);
            match self.store.load(&mut cursors, request.budget_bytes) {
                Ok(batches) => break batches,
                Err(error) => {
                    if self.report_read_error(&error) {
                        let request = LoadRequest { cursors, ..request };
                        return self.pending_loads.push_front(request);
                    }
                }
            }
            if positions(&cursors) == positions_before {
                break cursors.iter().map(|_| Some(Vec::new())).collect();
            }
        };
        let logs = cursors.into_iter().zip(batches);
        let logs = logs.map(|(cursor, batches)| LoadedLog { cursor, batches });
        self.handle_input(Input::Loaded(LoadReply {
            purpose: request.purpose,
            logs: logs.collect(),
        }));
    }
}

fn positions(cursors: &[LogCursor]) -> Vec<Option<Position>> {
    cursors.iter().map(|cursor| cursor.position).collect()
}
