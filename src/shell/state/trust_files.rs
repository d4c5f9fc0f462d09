//! Where it is stored who is known by which key, and who is ignored: in files of the state
//! directory, or with --ephemeral in memory.
use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::event::output::KnownPeer;
use crate::base::event::peer::Peer;
use crate::base::trust::level::{HAS_TRUST, TrustLevel};
use crate::shell::config::failure::Failure;
use crate::shell::state::ignored_file;
use crate::shell::state::known_peers_file::{self, KNOWN_PEERS_MAX};

/// What `known_peers` and `ignored` say.
#[derive(Debug)]
pub enum TrustFiles {
    /// The files of this directory.
    Directory(PathBuf),
    /// The memory of this run.
    Memory(RefCell<TrustMemory>),
}

/// The known and the ignored peers of a run with --ephemeral.
#[derive(Debug, Default)]
pub struct TrustMemory {
    known: Vec<KnownPeer>,
    ignored: Vec<Peer>,
}

impl TrustFiles {
    /// The files of this directory. `None`, with --ephemeral: the memory of this run.
    pub fn new(directory: Option<&Path>) -> TrustFiles {
        match directory {
            Some(directory) => TrustFiles::Directory(directory.to_owned()),
            None => TrustFiles::Memory(RefCell::default()),
        }
    }

    /// The path of a file of this name, or what stands for it in a sentence.
    pub fn describe(&self, file: &str) -> String {
        match self {
            TrustFiles::Directory(directory) => directory.join(file).display().to_string(),
            TrustFiles::Memory(_) => file.to_owned(),
        }
    }

    /// See [`known_peers_file::read_known_peers`].
    ///
    /// # Errors
    /// Exit status 78: the file exists and can't be read.
    pub fn read_known_peers(&self, warnings: &mut Vec<String>) -> Result<Vec<KnownPeer>, Failure> {
        match self {
            TrustFiles::Directory(directory) => {
                known_peers_file::read_known_peers(directory, warnings)
            }
            TrustFiles::Memory(memory) => Ok(memory.borrow().known.clone()),
        }
    }

    /// See [`known_peers_file::append_known_peer`]. In memory, a peer that is merely seen has no
    /// place beyond the bound of the file.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn append_known_peer(&self, known: &KnownPeer) -> io::Result<bool> {
        match self {
            TrustFiles::Directory(directory) => {
                known_peers_file::append_known_peer(directory, known)
            }
            TrustFiles::Memory(memory) if HAS_TRUST => Ok(memory.borrow_mut().append(known)),
            TrustFiles::Memory(_) => Ok(true),
        }
    }

    /// See [`known_peers_file::edit_known_peers`].
    ///
    /// # Errors
    /// The file can't be read or written. The old file stays.
    pub fn edit_known_peers(
        &self,
        change: &dyn Fn(&KnownPeer) -> Option<KnownPeer>,
        added: Option<&KnownPeer>,
    ) -> io::Result<bool> {
        match self {
            TrustFiles::Directory(directory) => {
                known_peers_file::edit_known_peers(directory, change, added)
            }
            TrustFiles::Memory(memory) => {
                let known = &mut memory.borrow_mut().known;
                *known = known
                    .iter()
                    .filter_map(change)
                    .chain(added.cloned())
                    .collect();
                Ok(true)
            }
        }
    }

    /// See [`ignored_file::read_ignored`].
    ///
    /// # Errors
    /// The file exists and can't be read.
    pub fn read_ignored(&self) -> io::Result<Vec<Peer>> {
        match self {
            TrustFiles::Directory(directory) => ignored_file::read_ignored(directory),
            TrustFiles::Memory(memory) => Ok(memory.borrow().ignored.clone()),
        }
    }

    /// See [`ignored_file::write_ignored`].
    ///
    /// # Errors
    /// The file can't be written. The old file stays.
    pub fn write_ignored(&self, ignored: &[Peer]) -> io::Result<()> {
        match self {
            TrustFiles::Directory(directory) => ignored_file::write_ignored(directory, ignored),
            TrustFiles::Memory(memory) => {
                memory.borrow_mut().ignored = ignored.to_vec();
                Ok(())
            }
        }
    }
}

impl TrustMemory {
    /// Adds a peer, or what is new about it. At the bound, none that is merely seen: what the user
    /// has decided always has a place.
    fn append(&mut self, known: &KnownPeer) -> bool {
        let mut entries = self.known.iter_mut();
        let is_same = |it: &&mut KnownPeer| it.nick == known.nick && it.id == known.id;
        if let Some(entry) = entries.find(is_same) {
            entry.trust = entry.trust.with(known.trust);
            return true;
        }
        let has_place = known.trust != TrustLevel::Seen || self.known.len() < KNOWN_PEERS_MAX;
        if has_place {
            self.known.push(known.clone());
        }
        has_place
    }
}
