//! The file `waiting` of a folder: own lines in it may be stored by no other peer yet.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::shell::os::file;

const UNACKNOWLEDGED_FILE: &str = "waiting";

/// The marker of one folder. Every run publishes the lines of a marked room, whatever rooms it
/// joins, until a peer acknowledges them.
pub struct UnacknowledgedMarker {
    path: PathBuf,
    is_set: bool,
}

impl UnacknowledgedMarker {
    /// The marker as an earlier run left it.
    pub fn load(dir: &Path) -> UnacknowledgedMarker {
        let path = dir.join(UNACKNOWLEDGED_FILE);
        UnacknowledgedMarker {
            is_set: path.exists(),
            path,
        }
    }

    /// Whether a folder is marked.
    pub fn is_set_in(dir: &Path) -> bool {
        dir.join(UNACKNOWLEDGED_FILE).exists()
    }

    /// Sets the marker; must precede the save of an own line.
    ///
    /// # Errors
    /// The disk is full or broken.
    pub fn set(&mut self) -> io::Result<()> {
        if !self.is_set {
            file::create_private_file(&self.path)?;
            self.is_set = true;
        }
        Ok(())
    }

    /// Removes the marker. One that can't be removed only makes the next run open the room.
    pub fn clear(&mut self) {
        if self.is_set {
            self.is_set = fs::remove_file(&self.path).is_err();
        }
    }
}
