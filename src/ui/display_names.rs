//! Decides how peers and targets are shown, and which names are unambiguous.
use crate::base::event::peer::Peer;
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Target};
use crate::base::table::SortedMap;

/// What a terminal calls our user in direct messages.
pub const OWN_NAME: &str = "you";
/// Maximum number of peers whose claimed name is recorded, and of peers from the file.
const NAMES_MAX: usize = 4096;
/// Maximum number of different names: those of both kinds of peers.
const CLAIMS_MAX: usize = 2 * NAMES_MAX;

/// The names of peers: names claimed in this run, and names from the file `known_peers`. Once
/// `CLAIMS_MAX` names are recorded, every further name counts as ambiguous.
#[derive(Clone, Debug, Default)]
pub struct DisplayNames {
    by_id: SortedMap<PeerId, Nick>,
    /// Names from the file `known_peers`, which may be from earlier runs.
    known: SortedMap<PeerId, Nick>,
    /// Maps each name, in lower case, to the peer that claimed it in any run. `None`: several peers
    /// claimed the name.
    by_name: SortedMap<String, Option<PeerId>>,
}

impl DisplayNames {
    /// Records the name that a peer claims.
    pub fn record(&mut self, peer: &Peer) {
        if self.by_id.get(&peer.id) == Some(&peer.nick) {
            return;
        }
        if self.by_id.len() < NAMES_MAX || self.by_id.contains_key(&peer.id) {
            self.by_id.insert(peer.id, peer.nick.clone());
        }
        self.record_claim(peer.id, &peer.nick);
    }

    /// Records the name of the peer `id` from the file `known_peers`. If another peer claims the
    /// name, the name is ambiguous.
    pub fn record_known(&mut self, id: PeerId, nick: &Nick) {
        if self.known.len() < NAMES_MAX {
            self.known.insert(id, nick.clone());
            self.record_claim(id, nick);
        }
    }

    fn record_claim(&mut self, id: PeerId, nick: &Nick) {
        let folded = nick.as_str().to_lowercase();
        if let Some(claimant) = self.by_name.get_mut(&folded) {
            if *claimant != Some(id) {
                *claimant = None;
            }
        } else if self.by_name.len() < CLAIMS_MAX {
            self.by_name.insert(folded, Some(id));
        }
    }

    /// The name that the peer claimed last in this run. If the peer claimed no name, its name from
    /// `known_peers`.
    pub fn nick(&self, id: &PeerId) -> Option<&Nick> {
        self.by_id.get(id).or_else(|| self.known.get(id))
    }

    /// Is `peer` the only peer known to have claimed the name in `peer.nick`? Never true for the
    /// names that stand for others: `?`, and [`OWN_NAME`].
    pub fn is_unambiguous(&self, peer: &Peer) -> bool {
        let folded = peer.nick.as_str().to_lowercase();
        let is_reserved = ["?", OWN_NAME].contains(&&*folded);
        !is_reserved && self.by_name.get(&folded) == Some(&Some(peer.id))
    }

    /// The peer's name, followed by `~abcd` if the name is ambiguous.
    pub fn display_name(&self, peer: &Peer) -> String {
        if self.is_unambiguous(peer) {
            peer.nick.to_string()
        } else {
            peer.to_string()
        }
    }

    /// The names of all recorded peers, each followed by `~abcd` if it is ambiguous.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let known = self.known.iter();
        let peers = known.filter(|(id, _)| !self.by_id.contains_key(*id));
        let peers = peers.chain(self.by_id.iter());
        peers
            .filter(|(_, nick)| nick.as_str() != "?")
            .map(|(id, nick)| {
                self.display_name(&Peer {
                    id: *id,
                    nick: nick.clone(),
                })
            })
    }

    /// Formats a target as `#room` or `@alice~x2fe`. If no name of the recipient is recorded, `?`
    /// stands for the name: `@?~x2fe`.
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
