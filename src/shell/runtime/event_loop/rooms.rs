//! What the loop does with the folders of the history: it opens them, and reads in them for links that lag.
use std::io;

use crate::base::error_code::ErrorCode;
use crate::base::event::{Command, Input, LoadReply, LoadRequest, Notice};
use crate::base::name::{FolderName, Room};
use crate::base::range::LogRange;
use crate::shell::runtime::event_loop::event_loop::EventLoop;
use crate::wire::message::ROOMS_MAX;

impl EventLoop {
    /// A room that is asked for later than at the start: one that cannot be opened stays unjoined, and who asked is told. One that is not
    /// `shown` is there for those who act through this program: of it no more is printed than what is said by it.
    pub(super) fn open_room_or_notify(&mut self, room: &Room, shown: bool) {
        if let Err(error) = self.open_room(room, shown) {
            self.notify(Notice::Error {
                code: ErrorCode::Room,
                content: format!("{room} cannot be opened: {error}"),
            });
        }
    }

    fn open_room(&mut self, room: &Room, shown: bool) -> io::Result<()> {
        let folder = FolderName::from(room);
        if self.node.joined_rooms().contains(room) {
            if shown && !self.session.is_shown(&folder) {
                self.session.open_folder(&self.store, &folder);
            }
            return Ok(());
        }
        // One too many is refused by the core, and leaves no folder.
        if self.node.joined_rooms().len() < ROOMS_MAX {
            let ranges = self.store.open_folder(&folder)?;
            self.register_folder(folder, ranges, shown);
            return Ok(());
        }
        self.handle_input(Input::FolderOpened {
            folder,
            ranges: Vec::new(),
            existed: false,
        });
        Ok(())
    }

    /// A room is left, or shown no more if something that was said there is still to go out.
    pub(super) fn part_room(&mut self, room: Option<Room>) {
        let named = room.clone().or_else(|| self.node.current_room().cloned());
        // Where nothing is shown, what is said next would still go there.
        match named.filter(|room| {
            self.session.is_shown(&FolderName::from(room)) && self.node.has_unacknowledged(room)
        }) {
            Some(room) => {
                self.session.transcript.close(&FolderName::from(&room));
                self.rooms_to_leave.insert(room);
            }
            None => self.handle_input(Input::Command(Command::Part(room))),
        }
    }

    /// Nothing keeps us any more in rooms that were to be left.
    pub(super) fn leave_drained_rooms(&mut self) {
        for room in std::mem::take(&mut self.rooms_to_leave) {
            let shown = self.session.is_shown(&FolderName::from(&room));
            if shown || !self.node.joined_rooms().contains(&room) {
                continue;
            }
            if self.node.has_unacknowledged(&room) {
                self.rooms_to_leave.insert(room);
            } else {
                self.handle_input(Input::Command(Command::Part(Some(room))));
            }
        }
    }

    /// Nobody is to speak unawares in a room that is not shown.
    pub(super) fn move_to_shown_room(&mut self) {
        while let Some(room) = self.node.current_room().cloned()
            && self.session.is_printing_transcript()
            && !self.session.is_shown(&FolderName::from(&room))
        {
            let shown = |room: &&Room| self.session.is_shown(&FolderName::from(*room));
            let next = self.node.joined_rooms().iter().find(shown).cloned();
            self.handle_input(Input::Command(match next {
                Some(next) => Command::Join(next),
                None => Command::Part(Some(room)),
            }));
        }
    }

    /// A folder stands open, with what it holds.
    pub(super) fn register_folder(
        &mut self,
        folder: FolderName,
        ranges: Vec<LogRange>,
        shown: bool,
    ) {
        let before = self.store.existed_before(&folder);
        if shown && folder != FolderName::carried() {
            self.session.open_folder(&self.store, &folder);
        }
        self.handle_input(Input::FolderOpened {
            folder,
            ranges,
            existed: before,
        });
    }

    /// Executes the reads that waited when the turn began.
    pub(super) fn load_pending(&mut self) {
        for _ in 0..self.pending_loads.len() {
            if let Some(request) = self.pending_loads.pop_front() {
                self.load_batches(request);
            }
        }
    }

    /// What cannot be read ends nothing: whoever lacks it is offered what comes behind it.
    fn load_batches(&mut self, request: LoadRequest) {
        let LoadRequest {
            purpose, log, from, ..
        } = request;
        let mut next = request.position;
        let batches = loop {
            let before = next;
            match self.store.load(&log, from, &mut next, request.budget_bytes) {
                Ok(batches) => break batches,
                Err(error) => self.session.report_read_error(&error),
            }
            if next == before {
                break Vec::new();
            }
        };
        self.handle_input(Input::Loaded(LoadReply {
            purpose,
            log,
            from,
            batches,
            next_position: next,
        }));
    }
}
