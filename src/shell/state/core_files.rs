//! Files whose text the core composes and parses: `receipts`, `addresses` and `profile`. Each is
//! written as a whole, and handed to the core at the next start.
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::base::identity::NetworkTag;
use crate::shell::os::file::{self, Access};

/// Maximum number of bytes read from such a file.
const CORE_FILE_MAX_BYTES: u64 = 4 << 20;

/// A file whose text the core composes and parses.
#[derive(Clone, Copy)]
pub enum CoreFile {
    /// Which lines of each direct log the recipient has acknowledged. A lost receipt does no harm:
    /// its message is sent again.
    Receipts,
    /// Addresses at which peers of this network were linked. A lost address does no harm where
    /// another peer is found.
    Addresses(NetworkTag),
    /// What the user says about itself.
    Profile,
}

impl CoreFile {
    fn path(self, directory: &Path) -> PathBuf {
        match self {
            CoreFile::Receipts => directory.join("receipts"),
            CoreFile::Profile => directory.join("profile"),
            CoreFile::Addresses(network) => {
                directory.join("addresses.".to_owned() + &network.dir_name())
            }
        }
    }

    /// Replaces the content of the file with `text`.
    ///
    /// # Errors
    /// The file can't be written. The old file stays.
    pub fn write(self, directory: &Path, text: &str) -> io::Result<()> {
        file::replace_file(&self.path(directory), &mut |file| {
            file.write_all(text.as_bytes())?;
            match self {
                // A file system may write the name before the content.
                CoreFile::Profile => file.sync_all(),
                CoreFile::Receipts | CoreFile::Addresses(_) => Ok(()),
            }
        })
    }

    /// Returns the text that [`CoreFile::write`] wrote last. A damaged byte costs its line only.
    /// Empty: the file is missing or unreadable.
    pub fn read(self, directory: &Path) -> String {
        let mut bytes = Vec::new();
        if let Ok(file) = file::open_regular(&self.path(directory), Access::Read) {
            let _ = file.take(CORE_FILE_MAX_BYTES).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
