//! The file `ignored`: the keys whose lines are not printed. Each line is one: `name id`. Users may
//! edit the file.
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use crate::base::event::peer::Peer;
use crate::base::name::Nick;
use crate::shell::os::file::{self, Access};

const IGNORED_FILE: &str = "ignored";
/// Maximum number of ignored keys. Further lines are not read.
pub const IGNORED_MAX: usize = 1024;
/// Maximum number of bytes read from the file.
const IGNORED_FILE_MAX_BYTES: u64 = 1 << 20;

/// Reads the ignored keys, with the names under which they were ignored. Skips malformed lines.
///
/// # Errors
/// The file exists and can't be read.
pub fn read_ignored(directory: &Path) -> io::Result<Vec<Peer>> {
    let mut ignored: Vec<Peer> = Vec::new();
    let opened = file::open_regular(&directory.join(IGNORED_FILE), Access::Read);
    let Some(file) = file::if_exists(opened)? else {
        return Ok(ignored);
    };
    let mut bytes = Vec::new();
    file.take(IGNORED_FILE_MAX_BYTES).read_to_end(&mut bytes)?;
    for line in String::from_utf8_lossy(&bytes).lines() {
        if let Some(peer) = parse_line(line)
            && ignored.len() < IGNORED_MAX
            && ignored.iter().all(|other| other.id != peer.id)
        {
            ignored.push(peer);
        }
    }
    Ok(ignored)
}

/// Replaces the ignored keys.
///
/// # Errors
/// The file can't be written. The old file stays.
pub fn write_ignored(directory: &Path, ignored: &[Peer]) -> io::Result<()> {
    let lines = ignored.iter().map(|it| format!("{} {}\n", it.nick, it.id));
    let text: String = lines.collect();
    file::replace_file(&directory.join(IGNORED_FILE), &mut |new| {
        new.write_all(text.as_bytes())?;
        // A file system may write the name before the content.
        new.sync_all()
    })
}

fn parse_line(line: &str) -> Option<Peer> {
    let mut words = line.split_ascii_whitespace();
    Some(Peer {
        nick: Nick::new(words.next()?).ok()?,
        id: words.next()?.parse().ok()?,
    })
}
