//! The file `receipts`: which direct messages were acknowledged, as text that the core composes.
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use crate::shell::os::file;

const RECEIPTS_FILE: &str = "receipts";
/// Most bytes of the file that are read.
const RECEIPTS_FILE_MAX_BYTES: u64 = 4 << 20;

/// Replaces the file.
///
/// # Errors
/// The file can't be written; the old one stays.
pub fn write_receipts(directory: &Path, text: &str) -> io::Result<()> {
    file::replace_file(&directory.join(RECEIPTS_FILE), &mut |file| {
        file.write_all(text.as_bytes())
    })
}

/// The text written last; empty if the file is missing or unreadable. Lost receipts only cost
/// sending the messages again.
pub fn read_receipts(directory: &Path) -> String {
    let mut text = String::new();
    if let Ok(file) = File::open(directory.join(RECEIPTS_FILE)) {
        let _ = file.take(RECEIPTS_FILE_MAX_BYTES).read_to_string(&mut text);
    }
    text
}
