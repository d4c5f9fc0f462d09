//! Known peers: which key came with which name, and which key the user means by it.
use std::fmt::Write as _;

use crate::base::event::{Known, Notice, Output, Peer};
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Whom};
use crate::base::table::{Set, Table};
use crate::node::context::Hub;

/// New names that one run may note: whoever makes up keys by the thousand fills neither disk nor memory.
const NEW_MAX: usize = 1000;
/// New names of one key that one run notes, and names of others that it says once each are not this key's.
const NAMES_MAX: usize = 8;
/// Keys of which such is kept, beside those that are linked.
const KEYS_MAX: usize = 1000;

/// Who is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    Peer(Peer),
    Nobody,
    /// It could be each of these.
    Several(Vec<Peer>),
    /// The name is bound to the key `bound`, and `peer` bears it instead.
    Changed {
        peer: Peer,
        bound: PeerId,
    },
}

/// What one key did in this run.
#[derive(Default)]
struct Claims {
    /// New names that were noted.
    noted: usize,
    /// Names of others that it bore: each was said once.
    told: Set<Nick>,
}

#[derive(Default)]
pub struct Trust {
    known: Table<Nick, Vec<Known>>,
    new: usize,
    claims: Table<PeerId, Claims>,
}

impl Trust {
    pub fn new(list: Vec<Known>) -> Trust {
        let mut trust = Trust::default();
        for known in list {
            let of_name = trust.known.get_or_default(known.nick.clone());
            match of_name.iter_mut().find(|other| other.id == known.id) {
                Some(other) => other.bound |= known.bound,
                None => of_name.push(known),
            }
        }
        trust
    }

    /// The list was edited, perhaps.
    pub fn read_again(&mut self, list: Vec<Known>) {
        self.known = Trust::new(list).known;
    }

    /// A peer came by this name. Another key under a known name is a second peer, and said once. One that bears the names of many is believed
    /// none of them any more: the name by which it is to be shown is given.
    pub fn meet(&mut self, hub: &mut Hub, peer: &Peer) -> Nick {
        let known = self.known.get(&peer.nick);
        let of_name = known.map_or(&[][..], Vec::as_slice);
        let entry = of_name.iter().find(|k| k.id == peer.id);
        let is_known = entry.is_some();
        let bound = of_name.iter().find(|k| k.bound && k.id != peer.id);
        let bound = bound.filter(|_| entry.is_none_or(|entry| !entry.bound));
        let bound = bound.map(|bound| bound.id);
        let first = of_name.first().map(|first| (first.id, first.since));
        let first = first.filter(|_| !is_known);
        if self.claims.len() >= KEYS_MAX && !self.claims.contains_key(&peer.id) {
            self.claims.retain(|id, _| hub.linked.contains_key(id));
        }
        let claims = self.claims.get_or_default(peer.id);
        if (bound.is_some() || first.is_some()) && !claims.told.contains(&peer.nick) {
            if claims.told.len() >= NAMES_MAX {
                return Nick::foreign("");
            }
            claims.told.insert(peer.nick.clone());
            if let Some(bound) = bound {
                hub.notice(Notice::Error {
                    code: "bound",
                    content: changed(peer, &bound),
                });
            }
            if let Some((known, since)) = first {
                let peer = peer.clone();
                hub.notice(Notice::OtherKey { peer, known, since });
            }
        }
        if !is_known && self.new < NEW_MAX && claims.noted < NAMES_MAX {
            self.new += 1;
            claims.noted += 1;
            self.note(hub, peer, false);
        }
        peer.nick.clone()
    }

    /// From now on this key is meant by that name.
    pub fn bind(&mut self, hub: &mut Hub, peer: &Peer) {
        let known = self.known.get(&peer.nick);
        let bound = known.is_some_and(|known| known.iter().any(|k| k.id == peer.id && k.bound));
        if !bound && peer.nick.as_str() != "?" {
            // It may be known, or linked, under another name.
            self.meet(hub, peer);
            self.note(hub, peer, true);
            // Whoever else bears it is warned of anew, and louder.
            for claims in self.claims.values_mut() {
                claims.told.remove(&peer.nick);
            }
        }
    }

    fn note(&mut self, hub: &mut Hub, peer: &Peer, bound: bool) {
        let known = self.known.get_or_default(peer.nick.clone());
        let mut entry = Known {
            nick: peer.nick.clone(),
            id: peer.id,
            since: hub.now.wall,
            bound,
        };
        match known.iter_mut().find(|other| other.id == peer.id) {
            Some(other) => {
                other.bound |= bound;
                entry.since = other.since;
            }
            None => known.push(entry.clone()),
        }
        hub.put(Output::Remember(entry));
    }

    /// Who is meant, of the known and of those present under their present names. A bound key that is present is meant before all others.
    pub fn find(&self, whom: &Whom, present: &[Peer]) -> Meant {
        let mut found: Vec<(&PeerId, &Nick, bool)> = Vec::new();
        for peer in present.iter().filter(|peer| whom.is(&peer.nick, &peer.id)) {
            found.push((&peer.id, &peer.nick, false));
        }
        let known = self.known.values().flatten();
        for known in known.filter(|known| whom.is(&known.nick, &known.id)) {
            match found.iter_mut().find(|(id, ..)| **id == known.id) {
                Some((.., bound)) => *bound |= known.bound,
                // Who is here under another name bears the old one no more, unless the user said so.
                None if known.bound || !is_here(present, &known.id) => {
                    found.push((&known.id, &known.nick, known.bound));
                }
                None => {}
            }
        }
        let (id, unknown) = (whom.id(), Nick::foreign(""));
        if let Some(id) = id.as_ref().filter(|_| found.is_empty()) {
            found.push((id, &unknown, false));
        }
        let other = found.iter().find(|(id, ..)| is_here(present, id)).copied();
        if found.iter().any(|(.., bound)| *bound) {
            found.retain(|(.., bound)| *bound);
        }
        match (&found[..], other) {
            ([], _) => Meant::Nobody,
            ([(bound, ..)], Some(other)) if !is_here(present, bound) => Meant::Changed {
                peer: peer(other),
                bound: **bound,
            },
            ([one], _) => Meant::Peer(peer(*one)),
            _ => Meant::Several(found.into_iter().map(peer).collect()),
        }
    }

    pub fn is_known(&self, id: &PeerId) -> bool {
        self.known.values().flatten().any(|known| known.id == *id)
    }
}

fn is_here(present: &[Peer], id: &PeerId) -> bool {
    present.iter().any(|peer| peer.id == *id)
}

fn peer((id, nick, _): (&PeerId, &Nick, bool)) -> Peer {
    Peer {
        id: *id,
        nick: nick.clone(),
    }
}

/// How a sentence about a name that fits several ends.
pub fn could_be(peers: &[Peer]) -> String {
    let mut text = "could be".to_owned();
    for (i, peer) in peers.iter().enumerate() {
        let or = if i > 0 { " or" } else { "" };
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{or} @{peer}");
    }
    text
}

/// The sentence for a name whose key is another than the bound one.
pub fn changed(peer: &Peer, bound: &PeerId) -> String {
    format!(
        "WARNING: {peer} IS NOT the {}~{} that you know: another key bears this name",
        peer.nick,
        bound.short()
    )
}
