//! `peers --expect FILE`: the peers that must be here.
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

use crate::base::event::peer::{Peer, PeerInfo, PeerState};
use crate::base::guests::guest::GuestInfo;
use crate::base::name::PeerSelector;
use crate::shell::config::failure::{Failure, quote_truncated};

/// Largest file of expected peers, in bytes: several thousand ids.
const EXPECT_FILE_MAX_BYTES: u64 = 256 * 1024;

/// The expected peers.
pub struct ExpectedPeers {
    selectors: Vec<PeerSelector>,
    /// This program's identity, which is always here.
    own: Peer,
}

impl ExpectedPeers {
    /// Reads the file: one name or id a line. What follows `#`, which no name contains, is a
    /// comment. Lines without a name are skipped.
    ///
    /// # Errors
    /// Exit status 78: the file cannot be read, is too large, or a line is neither name nor id.
    pub fn read(path: &Path, own: &Peer) -> Result<ExpectedPeers, Failure> {
        let bad = |why: String| Failure::config(format!("--expect: {}: {why}", path.display()));
        let text = read_text(path).map_err(|error| bad(error.to_string()))?;
        let mut selectors = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let name = line.split('#').next().unwrap_or_default().trim();
            if name.is_empty() {
                continue;
            }
            let selector = PeerSelector::parse(name).map_err(|error| {
                let shown = quote_truncated(name);
                let rule = "a line is name, name~abcd, an id, or guest/name";
                bad(format!("line {}: {shown} {error}; {rule}", i + 1))
            })?;
            selectors.push(selector);
        }
        let own = own.clone();
        Ok(ExpectedPeers { selectors, own })
    }

    /// Those that are not here. A peer is here if it is linked, or if a linked peer reaches it: a
    /// beacon alone proves nothing. A guest is here unless it is gone.
    pub fn missing(&self, peers: &[PeerInfo], guests: &[GuestInfo]) -> Vec<&PeerSelector> {
        let is_proven = |info: &&PeerInfo| info.state == PeerState::Linked || info.via.is_some();
        let here = peers.iter().filter(is_proven).map(|info| &info.peer);
        let here: Vec<&Peer> = here.chain([&self.own]).collect();
        let is_missing = |selector: &&PeerSelector| {
            let is_peer = here
                .iter()
                .any(|peer| selector.matches(&peer.nick, &peer.id));
            let is_guest = guests
                .iter()
                .any(|guest| !guest.is_gone && selector.matches_guest(&guest.nick, guest.address));
            !is_peer && !is_guest
        };
        self.selectors.iter().filter(is_missing).collect()
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?
        .take(EXPECT_FILE_MAX_BYTES + 1)
        .read_to_string(&mut text)?;
    match read as u64 > EXPECT_FILE_MAX_BYTES {
        true => Err(io::Error::new(
            ErrorKind::FileTooLarge,
            "larger than 256 KiB",
        )),
        false => Ok(text),
    }
}
