//! The file `format` in the history directory. It contains the version number of the history's
//! format. A history of version 1 has no such file.
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use crate::shell::config::failure::Failure;
use crate::shell::os::file;

/// The version that this program reads and writes.
const FORMAT: u32 = 2;
const FORMAT_FILE: &str = "format";

/// Checks the format of the history in the directory `history`. A missing or empty history is
/// accepted.
///
/// # Errors
/// Exit status 78: the history has another format, or can't be read.
pub fn check_history_format(history: &Path) -> Result<(), Failure> {
    let found = read_format(history).map_err(|error| unusable(history, &error))?;
    match found {
        None | Some(FORMAT) => Ok(()),
        Some(found) => {
            let history = history.display();
            Err(Failure::config(format!(
                "{history} has format {found}, and this program uses format {FORMAT}: move it \
                 away (mv {history} {history}.{found}), or choose another directory with --dir"
            )))
        }
    }
}

/// Checks the format like [`check_history_format`], and records it if there is no history yet.
///
/// # Errors
/// Exit status 78: the history has another format, or can't be read or written.
pub fn open_history_format(history: &Path) -> Result<(), Failure> {
    check_history_format(history)?;
    let path = history.join(FORMAT_FILE);
    if path.exists() {
        return Ok(());
    }
    let write = || {
        file::create_private_dir(history)?;
        file::replace_file(&path, &mut |file| writeln!(file, "{FORMAT}"))
    };
    write().map_err(|error| unusable(history, &error))
}

/// The version of the history's format. `None`: there is no history yet.
fn read_format(history: &Path) -> io::Result<Option<u32>> {
    let Some(mut entries) = file::if_exists(fs::read_dir(history))? else {
        return Ok(None);
    };
    if let Some(text) = file::if_exists(fs::read_to_string(history.join(FORMAT_FILE)))? {
        return Ok(Some(text.trim_end().parse().unwrap_or(0)));
    }
    // A crash may have left a draft of the file.
    let draft = format!("{FORMAT_FILE}.new");
    let is_new = entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == *draft));
    Ok(if is_new { None } else { Some(1) })
}

fn unusable(history: &Path, error: &io::Error) -> Failure {
    Failure::config(format!(
        "the history {} can't be used: {error}",
        history.display()
    ))
}
