//! Which names are unambiguous, and how peers and targets are shown.
use crate::base::event::Peer;
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Target};
use crate::base::table::SortedMap;

/// Most peers, and most names, that [`DisplayNames`] records.
const NAMES_MAX: usize = 4096;

/// The names that peers claimed in this run. Beyond `NAMES_MAX` a new name counts as ambiguous.
#[derive(Clone, Debug, Default)]
pub struct DisplayNames {
    by_id: SortedMap<PeerId, Nick>,
    /// Names from `known_peers`, perhaps of earlier runs.
    known: SortedMap<PeerId, Nick>,
    /// The peer that claimed each name, in lower case; `None` once a second peer claimed it.
    by_name: SortedMap<String, Option<PeerId>>,
}

impl DisplayNames {
    /// Records that the peer claims its name.
    pub fn record(&mut self, peer: &Peer) {
        if self.by_id.get(&peer.id) == Some(&peer.nick) {
            return;
        }
        if self.by_id.len() < NAMES_MAX || self.by_id.contains_key(&peer.id) {
            self.by_id.insert(peer.id, peer.nick.clone());
        }
        let folded = peer.nick.as_str().to_lowercase();
        if let Some(claimant) = self.by_name.get_mut(&folded) {
            if *claimant != Some(peer.id) {
                *claimant = None;
            }
        } else if self.by_name.len() < NAMES_MAX {
            self.by_name.insert(folded, Some(peer.id));
        }
    }

    /// Records a name from `known_peers`. It does not make the name unambiguous.
    pub fn record_known(&mut self, id: PeerId, nick: &Nick) {
        if self.known.len() < NAMES_MAX {
            self.known.insert(id, nick.clone());
        }
    }

    /// The name that the peer claimed last, else its known name.
    pub fn nick(&self, id: &PeerId) -> Option<&Nick> {
        self.by_id.get(id).or_else(|| self.known.get(id))
    }

    /// Has no other peer claimed the name?
    pub fn is_unambiguous(&self, peer: &Peer) -> bool {
        let folded = peer.nick.as_str().to_lowercase();
        peer.nick.as_str() != "?" && self.by_name.get(&folded) == Some(&Some(peer.id))
    }

    /// The name, with `~abcd` if it is ambiguous.
    pub fn display_name(&self, peer: &Peer) -> String {
        if self.is_unambiguous(peer) {
            peer.nick.to_string()
        } else {
            peer.to_string()
        }
    }

    /// `#room` or `@alice~x2fe`; a recipient without a recorded name is `@?~x2fe`.
    pub fn display_target(&self, target: &Target) -> String {
        match target {
            Target::Room(room) => room.to_string(),
            Target::Peer(id) => match self.nick(id) {
                Some(nick) => format!("@{nick}~{}", id.short()),
                None => format!("@?~{}", id.short()),
            },
        }
    }
}
