//! Known peers: which key came with which name, and which key the user means by it.
use std::fmt::Write as _;

use crate::base::error_code::ErrorCode;
use crate::base::event::{KnownPeer, Notice, Output, Peer};
use crate::base::identity::PeerId;
use crate::base::name::{Nick, PeerSelector};
use crate::base::table::{SortedMap, SortedSet};
use crate::node::context::Context;

/// New names that one run may note: whoever makes up keys by the thousand fills neither disk nor memory.
const NEW_NAMES_MAX: usize = 1000;
/// New names of one key that one run notes, and names of others that it says once each are not this key's.
const NAMES_PER_KEY_MAX: usize = 8;
/// Keys of which such is kept, beside those that are linked.
const CLAIMING_KEYS_MAX: usize = 1000;

/// Who is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolvedPeer {
    Unique(Peer),
    NotFound,
    /// It could be each of these.
    Ambiguous(Vec<Peer>),
    /// The name is bound to the key `bound`, and `peer` bears it instead.
    KeyMismatch {
        peer: Peer,
        bound: PeerId,
    },
}

/// What one key did in this run.
#[derive(Default)]
struct NameClaims {
    /// New names that were noted.
    recorded_count: usize,
    /// Names of others that it bore: each was said once.
    reported_names: SortedSet<Nick>,
}

#[derive(Default)]
pub struct KnownPeers {
    by_nick: SortedMap<Nick, Vec<KnownPeer>>,
    new_count: usize,
    claims: SortedMap<PeerId, NameClaims>,
}

impl KnownPeers {
    pub fn new(list: Vec<KnownPeer>) -> KnownPeers {
        let mut trust = KnownPeers::default();
        for known in list {
            let of_name = trust.by_nick.get_or_default(known.nick.clone());
            match of_name.iter_mut().find(|other| other.id == known.id) {
                Some(other) => other.is_bound |= known.is_bound,
                None => of_name.push(known),
            }
        }
        trust
    }

    /// The list was edited, perhaps.
    pub fn reload(&mut self, list: Vec<KnownPeer>) {
        self.by_nick = KnownPeers::new(list).by_nick;
    }

    /// A peer came by this name. Another key under a known name is a second peer, and said once. One that bears the names of many is believed
    /// none of them any more: the name by which it is to be shown is given.
    pub fn observe(&mut self, ctx: &mut Context, peer: &Peer) -> Nick {
        let known = self.by_nick.get(&peer.nick);
        let of_name = known.map_or(&[][..], Vec::as_slice);
        let entry = of_name.iter().find(|k| k.id == peer.id);
        let is_known = entry.is_some();
        let bound = of_name.iter().find(|k| k.is_bound && k.id != peer.id);
        let bound = bound.filter(|_| entry.is_none_or(|entry| !entry.is_bound));
        let bound = bound.map(|bound| bound.id);
        let first = of_name.first().map(|first| (first.id, first.first_seen));
        let first = first.filter(|_| !is_known);
        if self.claims.len() >= CLAIMING_KEYS_MAX && !self.claims.contains_key(&peer.id) {
            self.claims
                .retain(|id, _| ctx.stream_by_peer.contains_key(id));
        }
        let claims = self.claims.get_or_default(peer.id);
        if (bound.is_some() || first.is_some()) && !claims.reported_names.contains(&peer.nick) {
            if claims.reported_names.len() >= NAMES_PER_KEY_MAX {
                return Nick::new_or_placeholder("");
            }
            claims.reported_names.insert(peer.nick.clone());
            if let Some(bound) = bound {
                ctx.notify(Notice::Error {
                    code: ErrorCode::BoundName,
                    content: key_mismatch_message(peer, &bound),
                });
            }
            if let Some((known, since)) = first {
                let peer = peer.clone();
                ctx.notify(Notice::KeyMismatch {
                    peer,
                    known_id: known,
                    first_seen: since,
                });
            }
        }
        if !is_known && self.new_count < NEW_NAMES_MAX && claims.recorded_count < NAMES_PER_KEY_MAX
        {
            self.new_count += 1;
            claims.recorded_count += 1;
            self.record(ctx, peer, false);
        }
        peer.nick.clone()
    }

    /// From now on this key is meant by that name.
    pub fn bind(&mut self, ctx: &mut Context, peer: &Peer) {
        let known = self.by_nick.get(&peer.nick);
        let bound = known.is_some_and(|known| known.iter().any(|k| k.id == peer.id && k.is_bound));
        if !bound && peer.nick.as_str() != "?" {
            // It may be known, or linked, under another name.
            self.observe(ctx, peer);
            self.record(ctx, peer, true);
            // Whoever else bears it is warned of anew, and louder.
            for claims in self.claims.values_mut() {
                claims.reported_names.remove(&peer.nick);
            }
        }
    }

    fn record(&mut self, ctx: &mut Context, peer: &Peer, bound: bool) {
        let known = self.by_nick.get_or_default(peer.nick.clone());
        let mut entry = KnownPeer {
            nick: peer.nick.clone(),
            id: peer.id,
            first_seen: ctx.now.wall,
            is_bound: bound,
        };
        match known.iter_mut().find(|other| other.id == peer.id) {
            Some(other) => {
                other.is_bound |= bound;
                entry.first_seen = other.first_seen;
            }
            None => known.push(entry.clone()),
        }
        ctx.emit(Output::SaveKnownPeer(entry));
    }

    /// Who is meant, of the known and of those present under their present names. A bound key that is present is meant before all others.
    pub fn resolve(&self, whom: &PeerSelector, present: &[Peer]) -> ResolvedPeer {
        let mut found: Vec<(&PeerId, &Nick, bool)> = Vec::new();
        for peer in present
            .iter()
            .filter(|peer| whom.matches(&peer.nick, &peer.id))
        {
            found.push((&peer.id, &peer.nick, false));
        }
        let known = self.by_nick.values().flatten();
        for known in known.filter(|known| whom.matches(&known.nick, &known.id)) {
            match found.iter_mut().find(|(id, ..)| **id == known.id) {
                Some((.., bound)) => *bound |= known.is_bound,
                // Who is here under another name bears the old one no more, unless the user said so.
                None if known.is_bound || !is_present(present, &known.id) => {
                    found.push((&known.id, &known.nick, known.is_bound));
                }
                None => {}
            }
        }
        let (id, unknown) = (whom.full_id(), Nick::new_or_placeholder(""));
        if let Some(id) = id.as_ref().filter(|_| found.is_empty()) {
            found.push((id, &unknown, false));
        }
        let other = found
            .iter()
            .find(|(id, ..)| is_present(present, id))
            .copied();
        if found.iter().any(|(.., bound)| *bound) {
            found.retain(|(.., bound)| *bound);
        }
        match (&found[..], other) {
            ([], _) => ResolvedPeer::NotFound,
            ([(bound, ..)], Some(other)) if !is_present(present, bound) => {
                ResolvedPeer::KeyMismatch {
                    peer: to_peer(other),
                    bound: **bound,
                }
            }
            ([one], _) => ResolvedPeer::Unique(to_peer(*one)),
            _ => ResolvedPeer::Ambiguous(found.into_iter().map(to_peer).collect()),
        }
    }

    pub fn is_known(&self, id: &PeerId) -> bool {
        self.by_nick.values().flatten().any(|known| known.id == *id)
    }
}

fn is_present(present: &[Peer], id: &PeerId) -> bool {
    present.iter().any(|peer| peer.id == *id)
}

fn to_peer((id, nick, _): (&PeerId, &Nick, bool)) -> Peer {
    Peer {
        id: *id,
        nick: nick.clone(),
    }
}

/// How a sentence about a name that fits several ends.
pub fn ambiguity_message(peers: &[Peer]) -> String {
    let mut text = "could be".to_owned();
    for (i, peer) in peers.iter().enumerate() {
        let or = if i > 0 { " or" } else { "" };
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{or} @{peer}");
    }
    text
}

/// The sentence for a name whose key is another than the bound one.
pub fn key_mismatch_message(peer: &Peer, bound: &PeerId) -> String {
    format!(
        "WARNING: {peer} IS NOT the {}~{} that you know: another key bears this name",
        peer.nick,
        bound.short()
    )
}
