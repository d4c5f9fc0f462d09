//! What the loop does with the folders of the history: it opens them, and reads in them for links that lag.
use std::io;

use super::event_loop::{EventLoop, Load};
use crate::base::event::Input;
use crate::base::name::{Folder, Room};
use crate::wire::message::ROOMS_MAX;

impl EventLoop {
    pub(super) fn open(&mut self, room: &Room) -> io::Result<()> {
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

    pub(super) fn open_folder(&mut self, folder: Folder) -> io::Result<()> {
        let ranges = self.store.join(&folder)?;
        let before = self.store.was_there(&folder);
        if folder != Folder::carried() {
            self.session.open(&self.store, &folder)?;
        }
        self.feed(Input::Opened {
            folder,
            ranges,
            before,
        });
        Ok(())
    }

    pub(super) fn load(&mut self, load: Load) -> io::Result<()> {
        let Load {
            stream,
            log,
            from,
            at,
            budget,
        } = load;
        let (batches, next) = self.store.load(&log, from, at, budget)?;
        self.feed(Input::Loaded {
            stream,
            log,
            from,
            batches,
            next,
        });
        Ok(())
    }
}
