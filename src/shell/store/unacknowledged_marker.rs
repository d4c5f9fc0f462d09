//! The file `waiting` of a folder. It marks a room with lines of ours that perhaps no
//! other peer stores yet.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::shell::os::file;

const UNACKNOWLEDGED_FILE: &str = "waiting";

/// Marks a room with lines of ours that possibly no other peer stores. Every run opens the marked
/// rooms, so that peers can get these lines. A clean end removes the marker if a peer has
/// acknowledged our last line.
pub struct UnacknowledgedMarker {
    path: PathBuf,
    is_set: bool,
    was_set: bool,
}

impl UnacknowledgedMarker {
    /// Reads the marker of the folder in `dir`.
    pub fn load(dir: &Path) -> UnacknowledgedMarker {
        let is_set = UnacknowledgedMarker::is_set_in(dir);
        UnacknowledgedMarker {
            path: dir.join(UNACKNOWLEDGED_FILE),
            is_set,
            was_set: is_set,
        }
    }

    /// Whether an earlier run left the marker.
    pub fn was_set(&self) -> bool {
        self.was_set
    }

    /// Whether this run has set the marker, and not removed it.
    pub fn is_new(&self) -> bool {
        self.is_set && !self.was_set
    }

    /// Whether the folder in `dir` is marked.
    pub fn is_set_in(dir: &Path) -> bool {
        dir.join(UNACKNOWLEDGED_FILE).exists()
    }

    /// Sets the marker. Must be called before a line of ours is saved.
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

    /// Removes the marker. If the file can't be removed, the next run opens the room unnecessarily.
    pub fn clear(&mut self) {
        if self.is_set {
            self.is_set = fs::remove_file(&self.path).is_err();
        }
    }
}
