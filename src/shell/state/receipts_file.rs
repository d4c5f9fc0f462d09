//! The file `receipts`. It tells the next run which lines of each direct log the recipient has
//! acknowledged. The core composes and parses the text of the file.
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use crate::shell::os::file::{self, Access};

const RECEIPTS_FILE: &str = "receipts";
/// Maximum number of bytes read from the file.
const RECEIPTS_FILE_MAX_BYTES: u64 = 4 << 20;

/// Replaces the content of the file with `text`.
///
/// # Errors
/// The file can't be written. The old file stays.
pub fn write_receipts(directory: &Path, text: &str) -> io::Result<()> {
    file::replace_file(&directory.join(RECEIPTS_FILE), &mut |file| {
        file.write_all(text.as_bytes())
    })
}

/// Returns the text that [`write_receipts`] wrote last. Empty: the file is missing or unreadable. A
/// lost receipt does no harm: its message is sent again.
pub fn read_receipts(directory: &Path) -> String {
    let mut text = String::new();
    let path = directory.join(RECEIPTS_FILE);
    if let Ok(file) = file::open_regular(&path, Access::Read) {
        let _ = file.take(RECEIPTS_FILE_MAX_BYTES).read_to_string(&mut text);
    }
    text
}
