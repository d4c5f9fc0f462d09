//! The file `known_peers`. Each line is one peer: `name id since`, and perhaps `bound`. A peer may
//! have several lines, and is bound if one of them says `bound`. Users may edit the file.
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use crate::base::event::KnownPeer;
use crate::base::name::Nick;
use crate::base::time::WallTime;
use crate::shell::config::failure::Failure;
use crate::shell::os::file::{self, Access};

const KNOWN_PEERS_FILE: &str = "known_peers";
/// Maximum number of peers read from the file. The oldest peers are read first. A flood of new keys
/// therefore displaces no older peer.
pub const KNOWN_PEERS_MAX: usize = 10_000;
/// The file is full at this size, in bytes. No peer is then appended.
pub const KNOWN_PEERS_FILE_MAX_BYTES: u64 = 4 << 20;
/// Longest line that is parsed, in bytes.
const KNOWN_PEERS_LINE_MAX_BYTES: u64 = 4096;

/// Reads the known peers. The result is empty if the file is missing. Malformed lines are skipped
/// and stay in the file. One warning covers all malformed lines.
///
/// # Errors
/// Exit status 78: the file exists and can't be read.
pub fn read_known_peers(
    directory: &Path,
    warnings: &mut Vec<String>,
) -> Result<Vec<KnownPeer>, Failure> {
    let path = directory.join(KNOWN_PEERS_FILE);
    let unusable = |error: io::Error| Failure::config(format!("{}: {error}", path.display()));
    let opened = file::open_regular(&path, Access::Read);
    match file::if_exists(opened).map_err(unusable)? {
        Some(file) => parse_known_peers(file, &path, warnings).map_err(unusable),
        None => Ok(Vec::new()),
    }
}

/// Appends a peer. Returns false if the file is full; the peer is then not recorded.
///
/// # Errors
/// The file can't be written.
pub fn append_known_peer(directory: &Path, known: &KnownPeer) -> io::Result<bool> {
    let mut file = file::append_private_file(&directory.join(KNOWN_PEERS_FILE))?;
    let size = file.metadata()?.len();
    if size >= KNOWN_PEERS_FILE_MAX_BYTES {
        return Ok(false);
    }
    let mut line = String::new();
    if size > 0 {
        // The last line may lack its line end, after a crash or after an edit.
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            line.push('\n');
        }
    }
    let bound = if known.is_bound { " bound" } else { "" };
    line += &format!("{} {} {}{bound}\n", known.nick, known.id, known.first_seen);
    file.write_all(line.as_bytes())?;
    Ok(true)
}

fn parse_known_peers(
    file: File,
    path: &Path,
    warnings: &mut Vec<String>,
) -> io::Result<Vec<KnownPeer>> {
    let mut reader =
        BufReader::new(file.take(KNOWN_PEERS_FILE_MAX_BYTES + KNOWN_PEERS_LINE_MAX_BYTES));
    let (mut known, mut line) = (Vec::new(), Vec::new());
    let (mut malformed_count, mut first_malformed, mut line_number) = (0, 0, 0);
    while known.len() < KNOWN_PEERS_MAX {
        if read_line_part(&mut reader, &mut line)? == 0 {
            break;
        }
        line_number += 1;
        let mut is_whole = true;
        // Discards the rest of a line that is too long.
        while line.last() != Some(&b'\n') && line.len() as u64 == KNOWN_PEERS_LINE_MAX_BYTES {
            is_whole = false;
            read_line_part(&mut reader, &mut line)?;
        }
        match std::str::from_utf8(&line).map(str::trim) {
            Ok(text) if is_whole && (text.is_empty() || text.starts_with('#')) => continue,
            Ok(text) if is_whole => {
                if let Some(peer) = parse_known_peer(text) {
                    known.push(peer);
                    continue;
                }
            }
            _ => {}
        }
        malformed_count += 1;
        if first_malformed == 0 {
            first_malformed = line_number;
        }
    }
    if malformed_count > 0 {
        let (path, form) = (path.display(), "`name id since`");
        warnings.push(match malformed_count {
            1 => format!("{path}: line {first_malformed} is not {form} and was skipped"),
            n => format!(
                "{path}: {n} lines are not {form} and were skipped, the first is line \
                 {first_malformed}"
            ),
        });
    }
    Ok(known)
}

/// Reads into `line` until a line end, but at most [`KNOWN_PEERS_LINE_MAX_BYTES`]. Returns the
/// number of bytes read. 0: the file has ended.
fn read_line_part(reader: &mut BufReader<io::Take<File>>, line: &mut Vec<u8>) -> io::Result<usize> {
    line.clear();
    reader
        .by_ref()
        .take(KNOWN_PEERS_LINE_MAX_BYTES)
        .read_until(b'\n', line)
}

/// Parses one line. `None`: the line is malformed. Any word after the fourth is ignored, so that
/// later versions can add words.
fn parse_known_peer(line: &str) -> Option<KnownPeer> {
    let mut columns = line.split_ascii_whitespace();
    Some(KnownPeer {
        nick: Nick::new(columns.next()?).ok()?,
        id: columns.next()?.parse().ok()?,
        first_seen: WallTime::parse(columns.next()?)?,
        is_bound: columns.next() == Some("bound"),
    })
}
