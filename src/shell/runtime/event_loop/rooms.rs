//! Opens and leaves rooms and their folders. Reads folders for links that lag.
use std::io;

use crate::base::error_code::ErrorCode;
use crate::base::event::{Command, Input, LoadReply, LoadRequest, Notice};
use crate::base::name::{FolderName, Room};
use crate::base::range::LogRange;
use crate::shell::runtime::event_loop::event_loop::EventLoop;
use crate::wire::message::ROOMS_MAX;

impl EventLoop {
    /// Opens the folder of a room, and joins the room. Reports a failure as a notice. `is_shown`
    /// tells whether the session prints the room. It is false for a room that only clients join.
    pub(super) fn open_room_or_notify(&mut self, room: &Room, is_shown: bool) {
        if let Err(error) = self.open_room(room, is_shown) {
            self.notify(Notice::Error {
                code: ErrorCode::Room,
                content: format!("{room} cannot be opened: {error}"),
            });
        }
    }

    fn open_room(&mut self, room: &Room, is_shown: bool) -> io::Result<()> {
        let folder = FolderName::from(room);
        if self.node.joined_rooms().contains(room) {
            if is_shown && !self.session.is_shown(&folder) {
                self.begin_reader(room);
                self.session.open_folder(&self.store, &folder);
            }
            return Ok(());
        }
        // The core refuses more rooms than `ROOMS_MAX`, so no folder is created for them.
        if self.node.joined_rooms().len() < ROOMS_MAX {
            let ranges = self.store.open_folder(&folder)?;
            self.register_folder(folder, ranges, is_shown);
            return Ok(());
        }
        self.handle_input(Input::FolderOpened {
            folder,
            ranges: Vec::new(),
            existed: false,
        });
        Ok(())
    }

    /// Leaves a room. `None` means the current room. A shown room with unacknowledged lines of this
    /// run is hidden instead. [`Self::leave_drained_rooms`] then leaves the room later.
    pub(super) fn part_room(&mut self, room: Option<Room>) {
        let parted = room.clone().or_else(|| self.node.current_room().cloned());
        // A session without a transcript leaves at once. Such a session cannot hide a room, and
        // would go on sending to the room.
        let must_stay = |room: &Room| {
            self.session.is_shown(&FolderName::from(room)) && self.node.has_unacknowledged(room)
        };
        match parted.filter(must_stay) {
            Some(room) => {
                self.session.transcript.close(&FolderName::from(&room));
                self.rooms_to_leave.insert(room);
            }
            None => self.handle_input(Input::Command(Command::Part(room))),
        }
    }

    /// Leaves each hidden room in which every line of this run is acknowledged.
    pub(super) fn leave_drained_rooms(&mut self) {
        for room in std::mem::take(&mut self.rooms_to_leave) {
            let is_shown_again = self.session.is_shown(&FolderName::from(&room));
            if is_shown_again || !self.node.joined_rooms().contains(&room) {
                continue;
            }
            if self.node.has_unacknowledged(&room) {
                self.rooms_to_leave.insert(room);
            } else {
                self.handle_input(Input::Command(Command::Part(Some(room))));
            }
        }
    }

    /// Ensures that the current room is shown, because typed lines go to the current room. Leaves
    /// all rooms if none of them is shown. Does nothing if the session prints no transcript.
    pub(super) fn move_to_shown_room(&mut self) {
        while let Some(room) = self.node.current_room().cloned()
            && self.session.is_printing_transcript()
            && !self.session.is_shown(&FolderName::from(&room))
        {
            let is_shown = |room: &&Room| self.session.is_shown(&FolderName::from(*room));
            let next = self.node.joined_rooms().iter().find(is_shown).cloned();
            self.handle_input(Input::Command(match next {
                Some(next) => Command::Join(next),
                None => Command::Part(Some(room)),
            }));
        }
    }

    /// Tells the session and the core that the store has opened a folder. `ranges` are the stored
    /// lines of each log. `is_shown` tells whether the session prints the folder.
    pub(super) fn register_folder(
        &mut self,
        folder: FolderName,
        ranges: Vec<LogRange>,
        is_shown: bool,
    ) {
        let existed = self.store.existed_before(&folder);
        let room = folder.room();
        match &room {
            Some(room) if is_shown && self.session.is_printing_transcript() => {
                self.begin_reader(room);
            }
            Some(room) => self.open_reader(room),
            None => {}
        }
        if is_shown && folder != FolderName::carried() {
            self.session.open_folder(&self.store, &folder);
        }
        self.handle_input(Input::FolderOpened {
            folder,
            ranges,
            existed,
        });
    }

    /// Begins the reader of a room, unless it has begun, because somebody now reads the room. The
    /// room's folder must be open.
    pub(super) fn begin_reader(&mut self, room: &Room) {
        let now = self.clock.moment(self.now);
        self.store.begin_reader(&room.into(), &now);
        self.open_reader(room);
    }

    /// Tells the core when the reader of a room began, if it has begun.
    fn open_reader(&mut self, room: &Room) {
        let start = self.store.reader_start(&room.into(), &self.clock.started());
        if let Some(start) = start {
            let room = room.clone();
            self.handle_input(Input::ReaderOpened { room, start });
        }
    }

    /// Executes the waiting reads of the store. Reads that the core requests meanwhile wait for the
    /// next call.
    pub(super) fn load_pending(&mut self) {
        for _ in 0..self.pending_loads.len() {
            if let Some(request) = self.pending_loads.pop_front() {
                self.load_batches(request);
            }
        }
    }

    /// Reads the batches that the core has requested, and passes them to the core. Reports and
    /// skips parts of the store that cannot be read.
    fn load_batches(&mut self, request: LoadRequest) {
        let LoadRequest {
            purpose, log, from, ..
        } = request;
        let mut next_position = request.position;
        let batches = loop {
            let position_before = next_position;
            match self
                .store
                .load(&log, from, &mut next_position, request.budget_bytes)
            {
                Ok(batches) => break batches,
                Err(error) => self.session.report_read_error(&error),
            }
            if next_position == position_before {
                break Vec::new();
            }
        };
        self.handle_input(Input::Loaded(LoadReply {
            purpose,
            log,
            from,
            batches,
            next_position,
        }));
    }
}
