//! What the loop does with the folders of the history: it opens them, and reads in them for links that lag.
use std::io;

use super::event_loop::{EventLoop, Load};
use crate::base::event::{Input, Notice};
use crate::base::name::{Folder, Room};
use crate::base::range::Range;
use crate::wire::message::ROOMS_MAX;

impl EventLoop {
    /// A room that is asked for later than at the start: one that cannot be opened stays unjoined, and who asked is told.
    pub(super) fn try_open(&mut self, room: &Room) {
        if let Err(error) = self.open(room) {
            self.tell(Notice::Error {
                code: "room",
                content: format!("{room} cannot be opened: {error}"),
            });
        }
    }

    fn open(&mut self, room: &Room) -> io::Result<()> {
        if self.node.rooms().contains(room) {
            return Ok(());
        }
        let folder = Folder::from(room);
        // One too many is refused by the core, and leaves no folder.
        if self.node.rooms().len() < ROOMS_MAX {
            return self.open_folder(folder);
        }
        self.feed(Input::Opened {
            folder,
            ranges: Vec::new(),
            before: false,
        });
        Ok(())
    }

    fn open_folder(&mut self, folder: Folder) -> io::Result<()> {
        let ranges = self.store.join(&folder)?;
        self.opened(folder, ranges);
        Ok(())
    }

    /// A folder stands open, with what it holds.
    pub(super) fn opened(&mut self, folder: Folder, ranges: Vec<Range>) {
        let before = self.store.was_there(&folder);
        if folder != Folder::carried() {
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
