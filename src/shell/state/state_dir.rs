//! The state directory: who we are, whom we know, where our numbers stood; and the lock that keeps others out.
//!
//! The history in it belongs to [`crate::shell::store::store`].
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;

use crate::base::event::KnownPeer;
use crate::base::identity::{Hash, Identity};
use crate::base::name::{Nick, Target};
use crate::base::table::SortedMap;
use crate::base::time::WallTime;
use crate::node::context::ResumeState;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::config::options::Options;
use crate::shell::state::identity_file::{
    generate_identity, is_readable_by_others, load_or_create_identity,
};
use crate::wire::secret::{NetworkKeys, SECRET_MAX_BYTES, zeroize};

/// Most peers read from `known_peers`; the oldest stay, so that nobody can be pushed out by a flood of new keys.
pub const KNOWN_PEERS_MAX: usize = 10_000;
/// Size after which nothing is added to `known_peers`, in bytes.
pub const KNOWN_PEERS_FILE_MAX_BYTES: u64 = 4 << 20;
/// Longest line of `known_peers` that is understood, in bytes.
const KNOWN_PEERS_LINE_MAX_BYTES: u64 = 4096;
/// Longest `clean` file, in bytes: a line for each room and peer that was ever spoken to.
const CLEAN_FILE_MAX_BYTES: u64 = 1 << 20;
/// Most of a `receipts` file that is read, in bytes.
const RECEIPTS_FILE_MAX_BYTES: u64 = 4 << 20;
/// Seconds between the writing of the `clean` file and the last change of its inode, in the original.
const CLEAN_CTIME_SKEW_MAX_SECS: u64 = 10;
/// What was found, or made, at a start.
pub struct OpenedStateDir {
    pub state_dir: StateDir,
    pub identity: Identity,
    pub known_peers: Vec<KnownPeer>,
    /// Sentences for stderr.
    pub warnings: Vec<String>,
}

/// The directory of a running program, or nothing with --ephemeral. The lock goes with it.
#[derive(Debug)]
pub struct StateDir {
    directory: Option<PathBuf>,
    /// Held, never read; the kernel frees it with the process, so a crash leaves no obstacle.
    _lock: Option<File>,
}

impl StateDir {
    /// Makes the directory and the identity if there is none.
    ///
    /// # Errors
    /// 78: the directory, or a file in it, can't be used. 1: another program runs in it.
    pub fn open(options: &Options) -> Result<OpenedStateDir, Failure> {
        let held = options.directory.as_deref().map(|directory| {
            lock_directory(directory)?.ok_or_else(|| {
                Failure::new(
                    ExitStatus::GeneralError,
                    format!(
                        "another p2pchat runs in {}: give this one its own directory with --dir, or --ephemeral",
                        directory.display()
                    ),
                )
            })
        });
        StateDir::open_locked(options, held.transpose()?)
    }

    /// As [`State::open`], with the directory's [`lock`]; without one, nothing goes to disk.
    ///
    /// # Errors
    /// 78: a file in the directory can't be used.
    pub fn open_locked(options: &Options, lock: Option<File>) -> Result<OpenedStateDir, Failure> {
        let mut warnings = Vec::new();
        let (Some(directory), Some(lock)) = (options.directory.as_deref(), lock) else {
            return Ok(OpenedStateDir {
                state_dir: StateDir {
                    directory: None,
                    _lock: None,
                },
                identity: generate_identity()?,
                known_peers: Vec::new(),
                warnings,
            });
        };
        let identity = load_or_create_identity(directory, &mut warnings)?;
        let state = StateDir {
            directory: Some(directory.to_owned()),
            _lock: Some(lock),
        };
        let known = state.read_known_peers(&mut warnings)?;
        Ok(OpenedStateDir {
            state_dir: state,
            identity,
            known_peers: known,
            warnings,
        })
    }

    /// Of a directory that is only read: without its lock.
    pub fn open_unlocked(directory: &Path) -> StateDir {
        StateDir {
            directory: Some(directory.to_owned()),
            _lock: None,
        }
    }

    /// `None` with --ephemeral.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Reads `known_peers`, as at start so again at SIGHUP: `name id since`, perhaps `bound`, a line. What is no such line stays there and is skipped, with one warning for all.
    ///
    /// # Errors
    /// 78: the file is there and can't be read.
    pub fn read_known_peers(&self, warnings: &mut Vec<String>) -> Result<Vec<KnownPeer>, Failure> {
        let Some(path) = self.file_path("known_peers") else {
            return Ok(Vec::new());
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unusable_file(&path, &error)),
        };
        parse_known_peers(file, &path, warnings).map_err(|error| unusable_file(&path, &error))
    }

    /// Appends a peer to `known_peers`. False: the file is full, and the peer was not noted.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn append_known_peer(&self, known: &KnownPeer) -> io::Result<bool> {
        let Some(path) = self.file_path("known_peers") else {
            return Ok(true);
        };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let size = file.metadata()?.len();
        if size >= KNOWN_PEERS_FILE_MAX_BYTES {
            return Ok(false);
        }
        let mut line = String::new();
        if size > 0 {
            // A crash may have left half a line, or an editor a last one without its end.
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

    /// Notes what the core knows of direct messages, instead of what was noted before.
    ///
    /// # Errors
    /// The file can't be written; the last note stands.
    pub fn write_receipts(&self, text: &str) -> io::Result<()> {
        self.replace_file("receipts", false, |_| Ok(text.to_owned()))
    }

    /// What was noted last. What can't be read only costs that it is done again.
    pub fn read_receipts(&self) -> String {
        let mut text = String::new();
        let file = self
            .file_path("receipts")
            .and_then(|path| File::open(path).ok());
        if let Some(file) = file {
            let _ = file.take(RECEIPTS_FILE_MAX_BYTES).read_to_string(&mut text);
        }
        text
    }

    /// What a clean end left; it is taken away for good before anything can be signed. None: there was none, or it can't be understood,
    /// or it was put here from a backup: a copy was made at another time, and may keep the time of the writing, but not that of the inode.
    ///
    /// # Errors
    /// It can't be read or taken away: begin a new incarnation.
    pub fn take_clean_marker(&mut self) -> io::Result<Option<ResumeState>> {
        let (Some(directory), Some(path)) = (self.directory(), self.file_path("clean")) else {
            return Ok(None);
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let meta = file.metadata()?;
        let copy = meta.ctime().abs_diff(meta.mtime()) > CLEAN_CTIME_SKEW_MAX_SECS;
        let mut text = Vec::new();
        file.take(CLEAN_FILE_MAX_BYTES + 1).read_to_end(&mut text)?;
        fs::remove_file(&path)?;
        File::open(directory)?.sync_all()?;
        let text = std::str::from_utf8(&text).ok().filter(|_| !copy);
        Ok(text.and_then(|text| parse_clean_marker(text, created_ns(&meta))))
    }

    /// Leaves the mark of a clean end. Everything said must be on the disk by then.
    ///
    /// # Errors
    /// It can't be written: the next run begins a new incarnation.
    pub fn write_clean_marker(&mut self, resume: &ResumeState) -> io::Result<()> {
        self.replace_file("clean", true, |file| {
            let mut text = format!(
                "{:016x}\n{}\n",
                resume.incarnation,
                created_ns(&file.metadata()?)
            );
            for (target, (sequence, hash)) in &resume.heads {
                text += &format!("{target} {sequence} {hash}\n");
            }
            Ok(text + "end\n")
        })
    }

    /// All of a file, or nothing of it; with --ephemeral, nothing.
    fn replace_file(
        &self,
        name: &str,
        sync: bool,
        text: impl FnOnce(&File) -> io::Result<String>,
    ) -> io::Result<()> {
        let (Some(path), Some(new)) =
            (self.file_path(name), self.file_path(&format!("{name}.new")))
        else {
            return Ok(());
        };
        let mut file = File::create(&new)?;
        let text = text(&file)?;
        file.write_all(text.as_bytes())?;
        if sync {
            file.sync_all()?;
        }
        fs::rename(new, path)
    }

    fn file_path(&self, name: &str) -> Option<PathBuf> {
        self.directory().map(|directory| directory.join(name))
    }
}

/// The own identity, for commands that need no lock. It is made if there is none; with --ephemeral it is always new.
///
/// # Errors
/// 78: the directory or the identity can't be used.
pub fn load_own_identity(
    options: &Options,
    warnings: &mut Vec<String>,
) -> Result<Identity, Failure> {
    let Some(directory) = options.directory.as_deref() else {
        return generate_identity();
    };
    create_directory(directory)?;
    load_or_create_identity(directory, warnings)
}

/// Reads a network's secret; that it may also come through a pipe is why the file need not be a regular one.
///
/// # Errors
/// 78: missing, unreadable, too short or too long.
pub fn read_secret(path: &Path, warnings: &mut Vec<String>) -> Result<NetworkKeys, Failure> {
    let bad = |why: String| Failure::config(format!("secret file {}: {why}", path.display()));
    let file = File::open(path).map_err(|error| bad(error.to_string()))?;
    let others = is_readable_by_others(&file);
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut content = Vec::with_capacity(SECRET_MAX_BYTES + 64);
    let read = file
        .take(SECRET_MAX_BYTES as u64 + 3)
        .read_to_end(&mut content);
    let secret = NetworkKeys::derive(&content);
    zeroize(&mut content);
    read.map_err(|error| bad(error.to_string()))?;
    let secret = secret.map_err(|error| bad(error.to_string()))?;
    if others {
        warnings.push(format!(
            "secret file {0} is readable by others: chmod 600 {0}",
            path.display()
        ));
    }
    Ok(secret)
}

fn unusable_file(path: &Path, error: &io::Error) -> Failure {
    Failure::config(format!("{}: {error}", path.display()))
}

fn create_directory(directory: &Path) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| unusable_directory(directory, &error))
}

fn unusable_directory(directory: &Path, error: &io::Error) -> Failure {
    Failure::config(format!(
        "the state directory {} can't be used ({error}): give another with --dir, or --ephemeral",
        directory.display()
    ))
}

/// Makes the directory if there is none, and takes its lock. `None`: another program holds it.
///
/// # Errors
/// 78: the directory can't be used.
pub fn lock_directory(directory: &Path) -> Result<Option<File>, Failure> {
    create_directory(directory)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(directory.join("lock"))
        .map_err(|error| unusable_directory(directory, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(unusable_directory(directory, &error)),
    }
}

fn parse_known_peers(
    file: File,
    path: &Path,
    warnings: &mut Vec<String>,
) -> io::Result<Vec<KnownPeer>> {
    let mut reader =
        BufReader::new(file.take(KNOWN_PEERS_FILE_MAX_BYTES + KNOWN_PEERS_LINE_MAX_BYTES));
    let (mut known, mut line) = (Vec::new(), Vec::new());
    let (mut bad, mut first_bad, mut number) = (0, 0, 0);
    while known.len() < KNOWN_PEERS_MAX {
        line.clear();
        if reader
            .by_ref()
            .take(KNOWN_PEERS_LINE_MAX_BYTES)
            .read_until(b'\n', &mut line)?
            == 0
        {
            break;
        }
        number += 1;
        // The rest of a line that is too long, piece by piece.
        let mut whole = true;
        while line.last() != Some(&b'\n') && line.len() as u64 == KNOWN_PEERS_LINE_MAX_BYTES {
            whole = false;
            line.clear();
            reader
                .by_ref()
                .take(KNOWN_PEERS_LINE_MAX_BYTES)
                .read_until(b'\n', &mut line)?;
        }
        let text = std::str::from_utf8(&line).map(str::trim);
        match text {
            Ok(text) if whole && (text.is_empty() || text.starts_with('#')) => continue,
            Ok(text) if whole => {
                if let Some(peer) = parse_known_peer(text) {
                    known.push(peer);
                    continue;
                }
            }
            _ => {}
        }
        bad += 1;
        if first_bad == 0 {
            first_bad = number;
        }
    }
    if bad > 0 {
        let (path, form) = (path.display(), "`name id since`");
        warnings.push(match bad {
            1 => format!("{path}: line {first_bad} is not {form} and was skipped"),
            _ => format!(
                "{path}: {bad} lines are not {form} and were skipped, the first is line {first_bad}"
            ),
        });
    }
    Ok(known)
}

/// The fourth may be `bound`; others are of versions to come. A peer may stand in several lines, and is bound if one of them says so.
fn parse_known_peer(line: &str) -> Option<KnownPeer> {
    let mut columns = line.split_ascii_whitespace();
    Some(KnownPeer {
        nick: Nick::new(columns.next()?).ok()?,
        id: columns.next()?.parse().ok()?,
        first_seen: WallTime::parse(columns.next()?)?,
        is_bound: columns.next() == Some("bound"),
    })
}

/// When this file was made, in nanoseconds; 0 where the file system does not know.
fn created_ns(meta: &Metadata) -> u64 {
    let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).ok();
    let since = meta.created().ok().and_then(since);
    since.map_or(0, |since| since.as_nanos() as u64)
}

fn parse_clean_marker(text: &str, born: u64) -> Option<ResumeState> {
    // Without its last line the file is a part of itself.
    let mut lines = text.strip_suffix("end\n")?.lines();
    let digits = lines.next().filter(|digits| digits.len() == 16)?;
    let incarnation = u64::from_be_bytes(HEXLOWER.decode(digits.as_bytes()).ok()?.try_into().ok()?);
    lines.next().filter(|line| line.parse() == Ok(born))?;
    let mut heads = SortedMap::new();
    for line in lines {
        let mut words = line.split(' ');
        let target = Target::parse(words.next()?)?;
        let sequence = words.next()?.parse().ok()?;
        heads.insert(target, (sequence, Hash::parse(words.next()?)?));
    }
    Some(ResumeState { incarnation, heads })
}
