//! The state directory of one identity: its lock, and access to the files in it. With --ephemeral
//! there is no directory, and nothing is read or written.
//!
//! [`crate::shell::store::store`] manages the history in the directory.
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User, geteuid};

use crate::base::event::output::KnownPeer;
use crate::base::identity::Identity;
use crate::node::config::ResumeState;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::config::options::Options;
use crate::shell::os::file;
use crate::shell::state::clean_marker;
use crate::shell::state::core_files::CoreFile;
use crate::shell::state::history_format::open_history_format;
use crate::shell::state::identity_file::{generate_identity, load_or_create_identity};
use crate::shell::state::known_peers_file;
use crate::shell::state::trust_files::TrustFiles;

/// Permission bit of a directory to which everyone may write (inode(7)).
const WORLD_WRITABLE: u32 = 0o002;
const LOCK_FILE: &str = "lock";
const HISTORY_DIR: &str = "history";

/// The opened state directory and the content of its files.
pub struct OpenedStateDir {
    /// The state directory, locked. With --ephemeral this value stands for no directory.
    pub state_dir: StateDir,
    /// The identity of this program.
    pub identity: Identity,
    /// The peers in the file `known_peers`.
    pub known_peers: Vec<KnownPeer>,
    /// Warnings for stderr, one sentence each.
    pub warnings: Vec<String>,
}

/// The state directory of a program. With --ephemeral there is no directory. The lock on the
/// directory is released when this value is dropped.
#[derive(Debug)]
pub struct StateDir {
    directory: Option<PathBuf>,
    trust: TrustFiles,
    /// The open file that holds the lock. The kernel releases the lock when the process ends, so a
    /// crash leaves no stale lock.
    _lock: Option<File>,
}

impl StateDir {
    /// Locks and opens the directory. Creates the directory and the identity if they are missing.
    ///
    /// # Errors
    /// Exit status 78: the directory or a file in it can't be used. Exit status 1: another
    /// program runs in the directory.
    pub fn open(options: &Options) -> Result<OpenedStateDir, Failure> {
        let lock = options.directory.as_deref().map(|directory| {
            lock_directory(directory)?.ok_or_else(|| {
                Failure::new(
                    ExitStatus::GeneralError,
                    format!(
                        "another p2pchat runs in {}: give this one its own directory with --dir, \
                         or --ephemeral",
                        directory.display()
                    ),
                )
            })
        });
        StateDir::open_locked(options, lock.transpose()?)
    }

    /// Opens the directory that [`lock_directory`] locked. `lock` is `None` with --ephemeral: then
    /// no directory is opened.
    ///
    /// # Errors
    /// Exit status 78: a file in the directory can't be used.
    pub fn open_locked(options: &Options, lock: Option<File>) -> Result<OpenedStateDir, Failure> {
        let mut warnings = Vec::new();
        let (Some(directory), Some(lock)) = (options.directory.as_deref(), lock) else {
            return Ok(OpenedStateDir {
                state_dir: StateDir {
                    directory: None,
                    trust: TrustFiles::new(None),
                    _lock: None,
                },
                identity: generate_identity()?,
                known_peers: Vec::new(),
                warnings,
            });
        };
        let identity = load_or_create_identity(directory, &mut warnings)?;
        let known_peers = known_peers_file::read_and_compact_known_peers(directory, &mut warnings)?;
        open_history_format(&history_dir(directory), &mut warnings)?;
        Ok(OpenedStateDir {
            state_dir: StateDir {
                directory: Some(directory.to_owned()),
                trust: TrustFiles::new(Some(directory)),
                _lock: Some(lock),
            },
            identity,
            known_peers,
            warnings,
        })
    }

    /// Returns a state directory that is not locked. The caller must only read from this directory.
    pub fn open_unlocked(directory: &Path) -> StateDir {
        StateDir {
            directory: Some(directory.to_owned()),
            trust: TrustFiles::new(Some(directory)),
            _lock: None,
        }
    }

    /// The path of the directory. `None` with --ephemeral.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Who is known and who is ignored, also with --ephemeral.
    pub fn trust(&self) -> &TrustFiles {
        &self.trust
    }

    /// See [`TrustFiles::read_known_peers`].
    ///
    /// # Errors
    /// Exit status 78: the file exists and can't be read.
    pub fn read_known_peers(&self, warnings: &mut Vec<String>) -> Result<Vec<KnownPeer>, Failure> {
        self.trust.read_known_peers(warnings)
    }

    /// See [`TrustFiles::append_known_peer`].
    ///
    /// # Errors
    /// The file can't be written.
    pub fn append_known_peer(&self, known: &KnownPeer) -> io::Result<bool> {
        self.trust.append_known_peer(known)
    }

    /// Replaces a file of the core.
    ///
    /// # Errors
    /// The file can't be written. The old file stays.
    pub fn write_core_file(&self, file: CoreFile, text: &str) -> io::Result<()> {
        match self.directory() {
            Some(directory) => file.write(directory, text),
            None => Ok(()),
        }
    }

    /// Returns the text that [`StateDir::write_core_file`] wrote last. Empty: the file is missing
    /// or unreadable.
    pub fn read_core_file(&self, file: CoreFile) -> String {
        let directory = self.directory();
        directory.map_or(String::new(), |directory| file.read(directory))
    }

    /// Reads and removes the marker of a run that ended cleanly. See
    /// [`clean_marker::take_clean_marker`].
    ///
    /// # Errors
    /// The marker can't be read or removed. The run must begin a new incarnation.
    pub fn take_clean_marker(&mut self) -> io::Result<Option<ResumeState>> {
        match self.directory() {
            Some(directory) => clean_marker::take_clean_marker(directory),
            None => Ok(None),
        }
    }

    /// Writes the marker, which tells the next run that this run ended cleanly. Every published
    /// line must be synced to disk before this call.
    ///
    /// # Errors
    /// The marker can't be written. The next run begins a new incarnation.
    pub fn write_clean_marker(&mut self, resume: &ResumeState) -> io::Result<()> {
        match self.directory() {
            Some(directory) => clean_marker::write_clean_marker(directory, resume),
            None => Ok(()),
        }
    }
}

/// Path of the history in a state directory.
pub fn history_dir(directory: &Path) -> PathBuf {
    directory.join(HISTORY_DIR)
}

/// Returns our identity without locking the directory. Creates a missing identity. With
/// --ephemeral, each call generates a new identity.
///
/// # Errors
/// Exit status 78: the directory or the identity can't be used.
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

/// Locks the directory, after [`create_directory`]. `None`: another program holds the lock.
///
/// # Errors
/// Exit status 78: the directory can't be used.
pub fn lock_directory(directory: &Path) -> Result<Option<File>, Failure> {
    create_directory(directory)?;
    let file = file::open_private_file(&directory.join(LOCK_FILE))
        .map_err(|error| unusable_directory(directory, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(unusable_directory(directory, &error)),
    }
}

/// Creates the directory if it is missing, and then calls [`check_directory`].
///
/// # Errors
/// Exit status 78: the directory can't be created or may not be used.
pub fn create_directory(directory: &Path) -> Result<(), Failure> {
    file::create_private_dir(directory).map_err(|error| unusable_directory(directory, &error))?;
    check_directory(directory)
}

/// Checks that nobody else controls the directory. Its owner must be this user, also if this user
/// is root: files that root creates in the directory of another user would lock that user out. And
/// not everyone may write to it, not even with the sticky bit, because files with our names may be
/// planted there. If the path is a link, it must belong to this user or to root, because others may
/// plant links in `/tmp`. A missing directory passes.
///
/// # Errors
/// Exit status 78: the directory belongs to another user, everyone may write to it, or it can't be
/// read.
pub fn check_directory(directory: &Path) -> Result<(), Failure> {
    let metadata = file::if_exists(fs::metadata(directory));
    let Some(metadata) = metadata.map_err(|error| unusable_directory(directory, &error))? else {
        return Ok(());
    };
    let own = geteuid().as_raw();
    // Without the slash that may end it, the path names a link itself.
    let link = fs::symlink_metadata(directory.components().as_path());
    if let Ok(link) = link.as_ref()
        && link.is_symlink()
        && ![own, 0].contains(&link.uid())
    {
        return Err(Failure::config(format!(
            "the state directory {} is a link that {} made: give another with --dir, or \
             --ephemeral",
            directory.display(),
            user_name(link.uid())
        )));
    }
    let is_own = metadata.uid() == own;
    let is_open = metadata.mode() & WORLD_WRITABLE != 0;
    if is_own && !is_open {
        return Ok(());
    }
    let owner = user_name(metadata.uid());
    let what = match is_open {
        true => "can be written by everyone, and ",
        false => "",
    };
    let remedy = match is_own {
        true => "chmod o-w it".to_owned(),
        // A file system may map all its files to one owner (vfat, or NFS with squashed users).
        false => format!("make a directory in it, or run as {owner}"),
    };
    let directory = directory.display();
    Err(Failure::config(format!(
        "the state directory {directory} {what}belongs to {owner}: {remedy}, or give another with \
         --dir, or --ephemeral",
    )))
}

/// The name of a user, or `user` and the number if the user has no name on this system.
fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => format!("user {uid}"),
    }
}

fn unusable_directory(directory: &Path, error: &io::Error) -> Failure {
    Failure::config(format!(
        "the state directory {} can't be used ({error}): give another with --dir, or --ephemeral",
        directory.display()
    ))
}
