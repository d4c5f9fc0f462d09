//! The file `clean`. A run writes the file when it ends cleanly, and the next run removes it. The
//! file contains the incarnation and the heads of our logs, which the next run continues.
use std::fs::{self, Metadata};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::hex;
use crate::base::identity::Hash;
use crate::base::name::Target;
use crate::base::table::SortedMap;
use crate::node::config::ResumeState;
use crate::shell::os::file::{self, Access};

const CLEAN_FILE: &str = "clean";
/// Longest accepted marker file, in bytes. The file has one line for each of our logs.
const CLEAN_FILE_MAX_BYTES: u64 = 1 << 20;
/// Largest accepted difference between the file's last write (mtime) and its last inode change
/// (ctime), in seconds. A larger difference shows that the file is a copy. A copy can keep the
/// mtime of the original, but gets a new ctime.
const CLEAN_CTIME_SKEW_MAX_SECS: u64 = 10;
/// The last line of the file. If this line is missing, the file is truncated.
const END_LINE: &str = "end\n";

/// Reads and removes the marker, the file that a run writes when it ends cleanly. Syncs the removal
/// to disk, because a crash must not bring the marker back. Two runs that resume from one marker
/// would use the same sequences. `None`: the marker is missing, malformed, or a copy that a backup
/// restored.
///
/// # Errors
/// The marker can't be read or removed. The run must begin a new incarnation.
pub fn take_clean_marker(directory: &Path) -> io::Result<Option<ResumeState>> {
    let path = directory.join(CLEAN_FILE);
    let Some(file) = file::if_exists(file::open_regular(&path, Access::Read))? else {
        return Ok(None);
    };
    let meta = file.metadata()?;
    let is_copy = meta.ctime().abs_diff(meta.mtime()) > CLEAN_CTIME_SKEW_MAX_SECS;
    let mut text = Vec::new();
    file.take(CLEAN_FILE_MAX_BYTES + 1).read_to_end(&mut text)?;
    fs::remove_file(&path)?;
    file::sync_directory(directory)?;
    let text = std::str::from_utf8(&text).ok().filter(|_| !is_copy);
    Ok(text.and_then(|text| parse_clean_marker(text, created_ns(&meta))))
}

/// Writes the marker, which tells the next run that this run ended cleanly. Every published line
/// must be synced to disk before this call. The marker itself need not be: where a power cut takes
/// it, or a part of it, the next run begins a new incarnation.
///
/// # Errors
/// The marker can't be written. The next run begins a new incarnation.
pub fn write_clean_marker(directory: &Path, resume: &ResumeState) -> io::Result<()> {
    file::replace_file(&directory.join(CLEAN_FILE), &mut |file| {
        let mut text = format!(
            "{}\n{}\n",
            hex::format(resume.incarnation),
            created_ns(&file.metadata()?)
        );
        for (target, (sequence, hash)) in &resume.heads {
            text += &format!("{target} {sequence} {hash}\n");
        }
        text += END_LINE;
        file.write_all(text.as_bytes())
    })
}

/// The time when the file was created, in nanoseconds since 1970. 0: the file system does not
/// record that time.
fn created_ns(meta: &Metadata) -> u64 {
    let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).ok();
    let since = meta.created().ok().and_then(since);
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// Parses the text of the marker. `created_ns` is the creation time of the file. `None`: the text
/// is malformed, or the file is a copy. The text of a copy records another creation time.
fn parse_clean_marker(text: &str, created_ns: u64) -> Option<ResumeState> {
    let mut lines = text.strip_suffix(END_LINE)?.lines();
    let incarnation = hex::parse(lines.next()?)?;
    lines.next().filter(|line| line.parse() == Ok(created_ns))?;
    let mut heads = SortedMap::new();
    for line in lines {
        let mut words = line.split(' ');
        let target = Target::parse(words.next()?)?;
        let sequence = words.next()?.parse().ok()?;
        heads.insert(target, (sequence, Hash::parse(words.next()?)?));
    }
    Some(ResumeState { incarnation, heads })
}
