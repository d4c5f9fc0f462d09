//! What the loop does with the folders of the history: it opens them, and reads in them for links that lag.
use std::io;

use crate::base::event::{Command, Input, Notice};
use crate::base::name::{Folder, Room};
use crate::base::range::Range;
use crate::shell::runtime::event_loop::{EventLoop, Load};
use crate::wire::message::ROOMS_MAX;

impl EventLoop {
    /// A room that is asked for later than at the start: one that cannot be opened stays unjoined, and who asked is told. One that is not
    /// `shown` is there for those who act through this program: of it no more is printed than what is said by it.
    pub(super) fn try_open(&mut self, room: &Room, shown: bool) {
        if let Err(error) = self.open(room, shown) {
            self.tell(Notice::Error {
                code: "room",
                content: format!("{room} cannot be opened: {error}"),
            });
        }
    }

    fn open(&mut self, room: &Room, shown: bool) -> io::Result<()> {
        let folder = Folder::from(room);
        if self.node.rooms().contains(room) {
            if shown && !self.session.shows(&folder) {
                self.session.open(&self.store, &folder);
            }
            return Ok(());
        }
        // One too many is refused by the core, and leaves no folder.
        if self.node.rooms().len() < ROOMS_MAX {
            let ranges = self.store.join(&folder)?;
            self.opened(folder, ranges, shown);
            return Ok(());
        }
        self.feed(Input::Opened {
            folder,
            ranges: Vec::new(),
            before: false,
        });
        Ok(())
    }

    /// A room is left, or shown no more if something that was said there is still to go out.
    pub(super) fn part(&mut self, room: Option<Room>) {
        let named = room.clone().or_else(|| self.node.spoken().cloned());
        // Where nothing is shown, what is said next would still go there.
        match named.filter(|room| self.session.shows(&Folder::from(room)) && self.node.waits(room))
        {
            Some(room) => {
                self.session.transcript.close(&Folder::from(&room));
                self.leaving.insert(room);
            }
            None => self.feed(Input::Command(Command::Part(room))),
        }
    }

    /// Nothing keeps us any more in rooms that were to be left.
    pub(super) fn leave_rooms(&mut self) {
        for room in std::mem::take(&mut self.leaving) {
            let shown = self.session.shows(&Folder::from(&room));
            if shown || !self.node.rooms().contains(&room) {
                continue;
            }
            if self.node.waits(&room) {
                self.leaving.insert(room);
            } else {
                self.feed(Input::Command(Command::Part(Some(room))));
            }
        }
    }

    /// Nobody is to speak unawares in a room that is not shown.
    pub(super) fn speak_where_shown(&mut self) {
        while let Some(room) = self.node.spoken().cloned()
            && self.session.prints()
            && !self.session.shows(&Folder::from(&room))
        {
            let shown = |room: &&Room| self.session.shows(&Folder::from(*room));
            let next = self.node.rooms().iter().find(shown).cloned();
            self.feed(Input::Command(match next {
                Some(next) => Command::Join(next),
                None => Command::Part(Some(room)),
            }));
        }
    }

    /// A folder stands open, with what it holds.
    pub(super) fn opened(&mut self, folder: Folder, ranges: Vec<Range>, shown: bool) {
        let before = self.store.was_there(&folder);
        if shown && folder != Folder::carried() {
            self.session.open(&self.store, &folder);
        }
        self.feed(Input::Opened {
            folder,
            ranges,
            before,
        });
    }

    /// What cannot be read ends nothing: whoever lacks it is offered what comes behind it.
    pub(super) fn load(&mut self, load: Load) {
        let Load {
            stream,
            log,
            from,
            at: mut next,
            budget,
        } = load;
        let batches = loop {
            let before = next;
            match self.store.load(&log, from, &mut next, budget) {
                Ok(batches) => break batches,
                Err(error) => self.session.unread(&error),
            }
            if next == before {
                break Vec::new();
            }
        };
        self.feed(Input::Loaded {
            stream,
            log,
            from,
            batches,
            next,
        });
    }
}
