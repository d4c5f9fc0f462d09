//! The file `known_peers`. Each line is one peer: `name id since`, and perhaps `banned`, or `bound`
//! and then perhaps `verified`. A peer may have several lines, of which a ban counts, or else the
//! highest level. Users may edit the file.
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use crate::base::event::output::KnownPeer;
use crate::base::name::Nick;
use crate::base::table::SortedMap;
use crate::base::time::WallTime;
use crate::base::trust::level::TrustLevel;
use crate::node::membership::known_peers::KEYS_PER_NAME_MAX;
use crate::shell::config::failure::Failure;
use crate::shell::os::file::{self, Access};

const KNOWN_PEERS_FILE: &str = "known_peers";
/// Maximum number of peers read from the file. Bound and banned peers are read beyond it. The
/// oldest peers are read first. A flood of new keys therefore displaces no older peer.
pub const KNOWN_PEERS_MAX: usize = 2048;
/// A start writes the file anew if more lines are surplus. A surplus line repeats another one, or
/// exceeds a bound.
const SURPLUS_LINES_MAX: usize = 256;
/// The file is full at this size, in bytes. No peer is then appended.
pub const KNOWN_PEERS_FILE_MAX_BYTES: u64 = 4 << 20;
/// Longest line that is parsed, in bytes.
const KNOWN_PEERS_LINE_MAX_BYTES: u64 = 4096;
/// What a line that is too long is read as.
const OVERLONG_LINE: &[u8] = b"\xff";

/// Reads the known peers. The result is empty if the file is missing. Malformed lines are skipped
/// and stay in the file. One warning covers all malformed lines.
///
/// # Errors
/// Exit status 78: the file exists and can't be read.
pub fn read_known_peers(
    directory: &Path,
    warnings: &mut Vec<String>,
) -> Result<Vec<KnownPeer>, Failure> {
    read(directory, warnings, false)
}

/// As [`read_known_peers`]. If the file has too many surplus lines, writes it anew without them.
/// The caller must hold the directory's lock. On a full or broken disk, the file stays unchanged.
///
/// # Errors
/// Exit status 78: the file exists and can't be read.
pub fn read_and_compact_known_peers(
    directory: &Path,
    warnings: &mut Vec<String>,
) -> Result<Vec<KnownPeer>, Failure> {
    read(directory, warnings, true)
}

fn read(
    directory: &Path,
    warnings: &mut Vec<String>,
    may_compact: bool,
) -> Result<Vec<KnownPeer>, Failure> {
    let path = directory.join(KNOWN_PEERS_FILE);
    let unusable = |error: io::Error| match error.kind() {
        // The error names the path.
        io::ErrorKind::InvalidInput => Failure::config(error.to_string()),
        _ => Failure::config(format!("{}: {error}", path.display())),
    };
    let opened = file::open_regular(&path, Access::Read);
    let Some(file) = file::if_exists(opened).map_err(unusable)? else {
        return Ok(Vec::new());
    };
    let list = KnownPeerList::read(&file).map_err(unusable)?;
    warnings.extend(list.warning(&path));
    if may_compact && list.surplus_count > SURPLUS_LINES_MAX {
        // The next start tries again.
        let _ = file::replace_file(&path, &mut |new| list.write(&file, new));
    }
    Ok(list.peers)
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
    line += &format_line(known);
    file.write_all(line.as_bytes())?;
    Ok(true)
}

/// Changes the peers of the file. For each line about a peer, `change` returns what the line shall
/// say, or `None` if it shall be removed. All other lines stay, unless they are too long to be
/// read. The peer `added` gets a line at the end. Returns false if the file is full; it is then
/// unchanged.
///
/// A program that appends at the same time may lose its line. So only the program that runs in the
/// directory may call this, or one that has locked the directory.
///
/// # Errors
/// The file can't be read or written. The old file stays.
pub fn edit_known_peers(
    directory: &Path,
    change: &dyn Fn(&KnownPeer) -> Option<KnownPeer>,
    added: Option<&KnownPeer>,
) -> io::Result<bool> {
    let path = directory.join(KNOWN_PEERS_FILE);
    let mut text = Vec::new();
    if let Some(old) = file::if_exists(file::open_regular(&path, Access::Read))? {
        for_each_line(&old, &mut |line| {
            match parse_line(line) {
                FileLine::Peer(peer, _) => match change(&peer) {
                    None => return,
                    Some(changed) if changed != peer => {
                        return text.extend_from_slice(format_line(&changed).as_bytes());
                    }
                    Some(_) => {}
                },
                FileLine::Malformed if line == OVERLONG_LINE => return,
                FileLine::Comment | FileLine::Malformed => {}
            }
            text.extend_from_slice(line.trim_ascii_end());
            text.push(b'\n');
        })?;
    }
    let added = added.map(format_line).unwrap_or_default();
    if !added.is_empty() && (text.len() + added.len()) as u64 > KNOWN_PEERS_FILE_MAX_BYTES {
        return Ok(false);
    }
    text.extend_from_slice(added.as_bytes());
    file::replace_file(&path, &mut |new| {
        new.write_all(&text)?;
        // A file system may write the name before the content.
        new.sync_all()
    })?;
    Ok(true)
}

/// The peers that the file lists, within the bounds.
#[derive(Default)]
struct KnownPeerList {
    /// The peers, in the order of their first lines.
    peers: Vec<KnownPeer>,
    /// For each name, the indexes of its peers in `peers`.
    of_name: SortedMap<Nick, Vec<usize>>,
    /// Number of lines that repeat an earlier one or exceed a bound.
    surplus_count: usize,
    malformed_count: usize,
    /// Number of the first malformed line.
    first_malformed: usize,
}

impl KnownPeerList {
    fn read(file: &File) -> io::Result<KnownPeerList> {
        let (mut list, mut line_number) = (KnownPeerList::default(), 0);
        for_each_line(file, &mut |line| {
            line_number += 1;
            match parse_line(line) {
                FileLine::Peer(peer, words) => {
                    let is_surplus = !list.add(peer) && words == Words::Known;
                    list.surplus_count += usize::from(is_surplus);
                }
                FileLine::Comment => {}
                FileLine::Malformed => {
                    list.malformed_count += 1;
                    if list.first_malformed == 0 {
                        list.first_malformed = line_number;
                    }
                }
            }
        })?;
        Ok(list)
    }

    /// Adds a peer. Returns false if its line repeats an earlier one or exceeds a bound.
    fn add(&mut self, peer: KnownPeer) -> bool {
        let of_name = self.of_name.get_or_default(peer.nick.clone());
        let is_seen = |at: &&usize| self.peers[**at].trust == TrustLevel::Seen;
        let unbound = of_name.iter().filter(is_seen);
        let has_place = unbound.count() < KEYS_PER_NAME_MAX && self.peers.len() < KNOWN_PEERS_MAX;
        if let Some(at) = of_name.iter().find(|at| self.peers[**at].id == peer.id) {
            self.peers[*at].trust = self.peers[*at].trust.with(peer.trust);
        } else if peer.trust != TrustLevel::Seen || has_place {
            of_name.push(self.peers.len());
            self.peers.push(peer);
            return true;
        }
        false
    }

    /// The warning about malformed lines.
    fn warning(&self, path: &Path) -> Option<String> {
        let (path, form) = (path.display(), "`name id since`");
        let first = self.first_malformed;
        match self.malformed_count {
            0 => None,
            1 => Some(format!(
                "{path}: line {first} is not {form} and was skipped"
            )),
            n => Some(format!(
                "{path}: {n} lines are not {form} and were skipped, the first is line {first}"
            )),
        }
    }

    /// Writes the file without its surplus lines. Comments, malformed lines and lines with unknown
    /// words stay, unless they are too long to be read.
    fn write(&self, old: &File, new: &mut File) -> io::Result<()> {
        let (mut text, mut left) = (Vec::new(), self.peers.iter().peekable());
        for_each_line(old, &mut |line| {
            let line_of = parse_line(line);
            if let FileLine::Peer(peer, words) = &line_of {
                let is_next = |kept: &&KnownPeer| (&kept.nick, kept.id) == (&peer.nick, peer.id);
                let kept = left.next_if(is_next);
                let is_whole = *words == Words::Unknown;
                if let Some(kept) = kept.filter(|kept| !is_whole || kept.trust != TrustLevel::Seen)
                {
                    text.extend_from_slice(format_line(kept).as_bytes());
                }
                if !is_whole {
                    return;
                }
            }
            text.extend_from_slice(line.trim_ascii_end());
            text.push(b'\n');
        })?;
        new.write_all(&text)?;
        // A file system may write the name before the content.
        new.sync_all()
    }
}

/// Whether this version knows all words of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Words {
    Known,
    /// A later version, or the user, has added words at the end.
    Unknown,
}

/// One line of the file.
enum FileLine {
    Peer(KnownPeer, Words),
    /// A comment, or a blank line.
    Comment,
    Malformed,
}

fn parse_line(line: &[u8]) -> FileLine {
    let Ok(text) = std::str::from_utf8(line).map(str::trim) else {
        return FileLine::Malformed;
    };
    match parse_known_peer(text) {
        _ if text.is_empty() || text.starts_with('#') => FileLine::Comment,
        Some((peer, words)) => FileLine::Peer(peer, words),
        None => FileLine::Malformed,
    }
}

fn format_line(known: &KnownPeer) -> String {
    let words = match known.trust {
        TrustLevel::Banned => " banned",
        TrustLevel::Seen => "",
        TrustLevel::Bound => " bound",
        TrustLevel::Verified => " bound verified",
    };
    format!("{} {} {}{words}\n", known.nick, known.id, known.first_seen)
}

/// Calls `visit` for each line from the beginning of the file. Of a line that is too long, passes
/// a beginning that is no UTF-8.
fn for_each_line(mut file: &File, visit: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let max_bytes = KNOWN_PEERS_FILE_MAX_BYTES + KNOWN_PEERS_LINE_MAX_BYTES;
    let mut reader = BufReader::new(file.take(max_bytes));
    let mut line = Vec::new();
    while read_line_part(&mut reader, &mut line)? > 0 {
        let is_whole = is_whole_line(&line);
        while !is_whole_line(&line) {
            read_line_part(&mut reader, &mut line)?;
        }
        visit(if is_whole { &line } else { OVERLONG_LINE });
    }
    Ok(())
}

/// Whether the line ends here. A line that is as long as a part continues in the next part.
fn is_whole_line(line: &[u8]) -> bool {
    line.last() == Some(&b'\n') || (line.len() as u64) < KNOWN_PEERS_LINE_MAX_BYTES
}

/// Reads into `line` until a line end, but at most [`KNOWN_PEERS_LINE_MAX_BYTES`]. Returns the
/// number of bytes read. 0: the file has ended.
fn read_line_part(
    reader: &mut BufReader<io::Take<&File>>,
    line: &mut Vec<u8>,
) -> io::Result<usize> {
    line.clear();
    reader
        .by_ref()
        .take(KNOWN_PEERS_LINE_MAX_BYTES)
        .read_until(b'\n', line)
}

/// Parses one line. `None`: the line is malformed. Unknown words at the end are allowed, so that
/// later versions can add words.
fn parse_known_peer(line: &str) -> Option<(KnownPeer, Words)> {
    let mut columns = line.split_ascii_whitespace();
    let mut peer = KnownPeer {
        nick: Nick::new(columns.next()?).ok()?,
        id: columns.next()?.parse().ok()?,
        first_seen: WallTime::parse(columns.next()?)?,
        trust: TrustLevel::Seen,
    };
    let mut word = columns.next();
    if word == Some("banned") {
        peer.trust = TrustLevel::Banned;
        word = columns.next();
    } else if word == Some("bound") {
        peer.trust = TrustLevel::Bound;
        word = columns.next();
        if word == Some("verified") {
            peer.trust = TrustLevel::Verified;
            word = columns.next();
        }
    }
    let words = match word {
        None => Words::Known,
        Some(_) => Words::Unknown,
    };
    Some((peer, words))
}
