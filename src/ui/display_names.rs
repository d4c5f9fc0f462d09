//! Which name shows a peer.
use crate::base::event::Peer;
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Target};
use crate::base::table::SortedMap;

/// Most peers, and most names, that a [`Names`] remembers.
const NAMES_MAX: usize = 4096;

/// Who bears which name, as far as this run has seen it. Bounded: beyond `NAMES_MAX` a name counts as borne by several.
#[derive(Clone, Debug, Default)]
pub struct DisplayNames {
    by_id: SortedMap<PeerId, Nick>,
    /// Of earlier runs, perhaps.
    known: SortedMap<PeerId, Nick>,
    /// Names in lower case, with their first bearer; `None` once there was a second.
    by_name: SortedMap<String, Option<PeerId>>,
}

impl DisplayNames {
    pub fn record(&mut self, peer: &Peer) {
        if self.by_id.get(&peer.id) == Some(&peer.nick) {
            return;
        }
        if self.by_id.len() < NAMES_MAX || self.by_id.contains_key(&peer.id) {
            self.by_id.insert(peer.id, peer.nick.clone());
        }
        let folded = peer.nick.as_str().to_lowercase();
        if let Some(bearer) = self.by_name.get_mut(&folded) {
            if *bearer != Some(peer.id) {
                *bearer = None;
            }
        } else if self.by_name.len() < NAMES_MAX {
            self.by_name.insert(folded, Some(peer.id));
        }
    }

    /// A name by which this peer was known, whoever else may bear it now.
    pub fn record_known(&mut self, id: PeerId, nick: &Nick) {
        if self.known.len() < NAMES_MAX {
            self.known.insert(id, nick.clone());
        }
    }

    /// The last name seen of this peer.
    pub fn nick(&self, id: &PeerId) -> Option<&Nick> {
        self.by_id.get(id).or_else(|| self.known.get(id))
    }

    /// Does the name, alone, say who this is?
    pub fn is_unambiguous(&self, peer: &Peer) -> bool {
        let folded = peer.nick.as_str().to_lowercase();
        peer.nick.as_str() != "?" && self.by_name.get(&folded) == Some(&Some(peer.id))
    }

    /// The name alone where it tells, else with its `~abcd`.
    pub fn display_name(&self, peer: &Peer) -> String {
        if self.is_unambiguous(peer) {
            peer.nick.to_string()
        } else {
            peer.to_string()
        }
    }

    /// `#room`, or `@alice~x2fe`; a reader of unknown name is `@?~x2fe`.
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
