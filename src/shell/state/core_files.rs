//! Files whose text the core composes and parses: `receipts` and `addresses`. Each is written as a
//! whole, and handed to the core at the next start.
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use crate::shell::os::file::{self, Access};

/// Maximum number of bytes read from such a file.
const CORE_FILE_MAX_BYTES: u64 = 4 << 20;

/// A file whose text the core composes and parses.
#[derive(Clone, Copy)]
pub enum CoreFile {
    /// Which lines of each direct log the recipient has acknowledged. A lost receipt does no harm:
    /// its message is sent again.
    Receipts,
    /// Addresses at which peers were linked. A lost address does no harm where another peer is
    /// found.
    Addresses,
}

impl CoreFile {
    fn name(self) -> &'static str {
        match self {
            CoreFile::Receipts => "receipts",
            CoreFile::Addresses => "addresses",
        }
    }

    /// Replaces the content of the file with `text`.
    ///
    /// # Errors
    /// The file can't be written. The old file stays.
    pub fn write(self, directory: &Path, text: &str) -> io::Result<()> {
        file::replace_file(&directory.join(self.name()), &mut |file| {
            file.write_all(text.as_bytes())
        })
    }

    /// Returns the text that [`CoreFile::write`] wrote last. Empty: the file is missing or
    /// unreadable.
    pub fn read(self, directory: &Path) -> String {
        let mut text = String::new();
        let path = directory.join(self.name());
        if let Ok(file) = file::open_regular(&path, Access::Read) {
            let _ = file.take(CORE_FILE_MAX_BYTES).read_to_string(&mut text);
        }
        text
    }
}
