//! What the loop does with the folders of the history: it opens them, and reads in them for links that lag.
use std::io;

use super::event_loop::{EventLoop, Load};
use crate::base::event::{Command, Input, Notice};
use crate::base::name::{Folder, Room};
use crate::base::range::Range;
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
