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

/// What the file `format` says.
enum FoundFormat {
    /// There is no history yet.
    NoHistory,
    Version(u32),
    /// The file contains no number. The frontier lines name the version as well, so data of another
    /// version does not pass for valid.
    Damaged,
}

/// Checks the format of the history in the directory `history`. A missing or empty history is
/// accepted, and so is one whose file `format` is damaged.
///
/// # Errors
/// Exit status 78: the history has another format, or can't be read.
pub fn check_history_format(history: &Path) -> Result<(), Failure> {
    find_usable_format(history).map(|_| ())
}

fn find_usable_format(history: &Path) -> Result<FoundFormat, Failure> {
    match read_format(history).map_err(|error| unusable(history, &error))? {
        FoundFormat::Version(found) if found != FORMAT => {
            let history = history.display();
            Err(Failure::config(format!(
                "{history} has format {found}, and this program uses format {FORMAT}: move it \
                 away (mv {history} {history}.{found}), or choose another directory with --dir"
            )))
        }
        usable => Ok(usable),
    }
}

/// Checks the format like [`check_history_format`], and records it if there is no history yet. If
/// the file is damaged, writes it anew and adds a warning.
///
/// # Errors
/// Exit status 78: the history has another format, or can't be read or written.
pub fn open_history_format(history: &Path, warnings: &mut Vec<String>) -> Result<(), Failure> {
    let path = history.join(FORMAT_FILE);
    match find_usable_format(history)? {
        FoundFormat::Version(_) => return Ok(()),
        FoundFormat::NoHistory => {}
        FoundFormat::Damaged => warnings.push(format!(
            "{} was damaged, and is written anew",
            path.display()
        )),
    }
    let write = || {
        file::create_private_dir(history)?;
        file::replace_file(&path, &mut |file| writeln!(file, "{FORMAT}"))
    };
    write().map_err(|error| unusable(history, &error))
}

fn read_format(history: &Path) -> io::Result<FoundFormat> {
    let Some(mut entries) = file::if_exists(fs::read_dir(history))? else {
        return Ok(FoundFormat::NoHistory);
    };
    if let Some(bytes) = file::if_exists(fs::read(history.join(FORMAT_FILE)))? {
        let number = str::from_utf8(&bytes).ok();
        let number = number.and_then(|text| text.trim_end().parse().ok());
        return Ok(number.map_or(FoundFormat::Damaged, FoundFormat::Version));
    }
    // A crash may have left a draft of the file.
    let draft = format!("{FORMAT_FILE}.new");
    let is_new = entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == *draft));
    Ok(match is_new {
        true => FoundFormat::NoHistory,
        false => FoundFormat::Version(1),
    })
}

fn unusable(history: &Path, error: &io::Error) -> Failure {
    Failure::config(format!(
        "the history {} can't be used: {error}",
        history.display()
    ))
}
