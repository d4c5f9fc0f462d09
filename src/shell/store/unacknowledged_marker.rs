//! The file `waiting` of a folder. It marks own lines that perhaps no other peer stores yet.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::shell::os::file;

const UNACKNOWLEDGED_FILE: &str = "waiting";

/// The marker of one folder. Every run opens the marked rooms, even rooms that the user did not
/// name. Peers can thus get the lines. A clean end removes the marker if a peer has acknowledged
/// the lines.
pub struct UnacknowledgedMarker {
    path: PathBuf,
    is_set: bool,
}

impl UnacknowledgedMarker {
    /// Reads the marker that an earlier run left.
    pub fn load(dir: &Path) -> UnacknowledgedMarker {
        let path = dir.join(UNACKNOWLEDGED_FILE);
        UnacknowledgedMarker {
            is_set: path.exists(),
            path,
        }
    }

    /// Whether the folder in `dir` is marked.
    pub fn is_set_in(dir: &Path) -> bool {
        dir.join(UNACKNOWLEDGED_FILE).exists()
    }

    /// Sets the marker. Call it before an own line is saved.
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

    /// Removes the marker. If that fails, the next run opens the room without need.
    pub fn clear(&mut self) {
        if self.is_set {
            self.is_set = fs::remove_file(&self.path).is_err();
        }
    }
}
