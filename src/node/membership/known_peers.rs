//! Known peers (trust on first use): the keys seen with each name, and the key that the user bound
//! to the name.
use std::fmt::Write as _;

use crate::base::event::notice::Notice;
use crate::base::event::output::{KnownPeer, Output};
use crate::base::event::peer::Peer;
use crate::base::identity::PeerId;
use crate::base::name::{Nick, PeerSelector};
use crate::base::table::{SortedMap, SortedSet};
use crate::base::trust::level::TrustLevel;
use crate::node::acquaintances::Acquaintances;
use crate::node::context::Context;
use crate::node::standing::{Rank, Standing, UsageTable, source_of};

/// Maximum number of new names recorded in one run. The bound keeps invented keys from filling
/// disk and memory. At the bound, a host that brought few names takes the place of one that brought
/// many.
const NEW_NAMES_MAX: usize = 1000;
/// Maximum number of new names recorded for one key in one run. Also bounds how many names
/// of other keys one key can claim. Further claims are shown as a placeholder.
const NAMES_PER_KEY_MAX: usize = 8;
/// Maximum number of keys recorded for one name, besides those that are bound. Throwaway identities
/// share the name of their user.
pub const KEYS_PER_NAME_MAX: usize = 16;
/// Maximum number of keys whose claims are remembered. At the bound, the claims of peers that are
/// not linked are forgotten.
const CLAIMING_KEYS_MAX: usize = 1000;

/// The peer that a selector such as `@name` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolvedPeer {
    /// Exactly one peer matches.
    Unique(Peer),
    /// No known or present peer matches.
    NotFound,
    /// Several peers match.
    Ambiguous(Vec<Peer>),
    /// Another key uses the name: the key bound to the name is absent, or not meant.
    KeyMismatch {
        /// The peer that uses the name.
        peer: Peer,
        /// The key that the user bound to the name.
        bound: PeerId,
    },
}

/// The names that one key claimed in this run.
#[derive(Default)]
struct NameClaims {
    /// Number of names recorded for this key in this run.
    recorded_count: usize,
    /// Names claimed by this key that are known for other keys. Unless this program is transient,
    /// each was reported to the user once.
    reported_names: SortedSet<Nick>,
}

/// A name that was recorded in this run.
struct NewName {
    nick: Nick,
    id: PeerId,
    /// The peer's standing at that time, without its link.
    standing: Standing,
}

/// The contents of the file `known_peers`, and the names that each key claimed in this run.
#[derive(Default)]
pub struct KnownPeers {
    by_nick: SortedMap<Nick, Vec<KnownPeer>>,
    /// The entries of banned keys, whose names mean nobody.
    banned: Vec<KnownPeer>,
    /// The names recorded in this run, in this order. At most [`NEW_NAMES_MAX`].
    new_names: Vec<NewName>,
    /// How many of these names each host brought.
    new_name_usage: UsageTable,
    claims: SortedMap<PeerId, NameClaims>,
}

impl KnownPeers {
    /// Builds the table from the entries of the file `known_peers`, in the order of the file. For
    /// each name, the first entry belongs to the peer that claimed the name first.
    pub fn new(list: Vec<KnownPeer>) -> KnownPeers {
        let mut known_peers = KnownPeers::default();
        let kept = |known: &KnownPeer| known.trust != TrustLevel::Banned;
        known_peers.banned = list.iter().filter(|it| !kept(it)).cloned().collect();
        for known in list.into_iter().filter(kept) {
            let of_name = known_peers.by_nick.get_or_default(known.nick.clone());
            match of_name.iter_mut().find(|other| other.id == known.id) {
                Some(other) => other.trust = other.trust.max(known.trust),
                None => of_name.push(known),
            }
        }
        known_peers
    }

    /// Replaces the table by the contents of the file `known_peers`, which the user may have
    /// edited.
    pub fn reload(&mut self, ctx: &mut Context, list: Vec<KnownPeer>) {
        let new = KnownPeers::new(list);
        (self.by_nick, self.banned) = (new.by_nick, new.banned);
        self.index(ctx);
    }

    /// Builds the index of all known peers by key.
    pub fn index(&self, ctx: &mut Context) {
        ctx.acquaintances = Acquaintances::default();
        let known = self.by_nick.values().flatten().chain(&self.banned);
        known.for_each(|known| ctx.acquaintances.record(known));
    }

    /// Records that a peer claims a name. Returns the name under which to show the peer. After
    /// eight claims of one key to names of other keys, this is a placeholder.
    ///
    /// If the name is known for another key, notifies the user once: later runs find the claim in
    /// the file. A transient program notifies nobody, so it leaves such a claim to a later run. The
    /// name of an ephemeral peer is not recorded, because its key never comes back.
    pub fn observe(&mut self, ctx: &mut Context, peer: &Peer) -> Nick {
        let of_name = self.by_nick.get(&peer.nick).map_or(&[][..], Vec::as_slice);
        if of_name.iter().any(|known| known.id == peer.id) {
            return peer.nick.clone();
        }
        let clash = clash_notice(peer, of_name);
        let unbound_count = of_name.iter().filter(|known| !known.is_bound()).count();
        if self.claims.len() >= CLAIMING_KEYS_MAX && !self.claims.contains_key(&peer.id) {
            self.claims
                .retain(|id, _| ctx.stream_by_peer.contains_key(id));
        }
        let claims = self.claims.get_or_default(peer.id);
        let is_recordable = !is_ephemeral(ctx, &peer.id) && (clash.is_none() || !ctx.transient);
        if let Some(clash) = clash.filter(|_| !claims.reported_names.contains(&peer.nick)) {
            if claims.reported_names.len() >= NAMES_PER_KEY_MAX {
                return Nick::new_or_placeholder("");
            }
            claims.reported_names.insert(peer.nick.clone());
            if !ctx.transient {
                ctx.notify(clash);
            }
        }
        let has_place =
            unbound_count < KEYS_PER_NAME_MAX && claims.recorded_count < NAMES_PER_KEY_MAX;
        if is_recordable && has_place {
            claims.recorded_count += 1;
            self.record_new(ctx, peer);
        }
        peer.nick.clone()
    }

    /// Records a new name, if there is a place for it.
    fn record_new(&mut self, ctx: &mut Context, peer: &Peer) {
        let link = ctx.link_to(&peer.id);
        let standing = Standing {
            source: link.map(|link| source_of(link.address.ip())),
            ..Standing::of_rank(Rank::Newcomer)
        };
        if self.new_names.len() >= NEW_NAMES_MAX && !self.make_place(ctx, &peer.id, &standing) {
            return;
        }
        self.new_name_usage.add(peer.id, &standing, 1);
        self.new_names.push(NewName {
            nick: peer.nick.clone(),
            id: peer.id,
            standing,
        });
        self.record(ctx, peer, TrustLevel::Seen);
    }

    /// Forgets a new name of the host that brought the most, if it brought more than the host of
    /// this peer. Returns whether a name was forgotten. The names of linked peers stay, and those
    /// that the user bound.
    fn make_place(&mut self, ctx: &mut Context, peer: &PeerId, standing: &Standing) -> bool {
        let usage = &self.new_name_usage;
        let names = self.new_names.iter().enumerate();
        let evictable = names.filter(|(_, name)| {
            let now = ctx.standing(&name.id, None);
            !now.is_linked && now.rank < Rank::Bound && name.standing.source != standing.source
        });
        let first = evictable.min_by_key(|(_, name)| usage.place(&name.id, &name.standing));
        let gives_way =
            |name: &NewName| usage.gives_way((&name.id, &name.standing), (peer, standing));
        let Some((at, _)) = first.filter(|(_, name)| gives_way(name)) else {
            return false;
        };
        let name = self.new_names.remove(at);
        self.new_name_usage.subtract(name.id, &name.standing, 1);
        let of_name = self.by_nick.get_or_default(name.nick.clone());
        of_name.retain(|known| known.id != name.id);
        if of_name.is_empty() {
            self.by_nick.remove(&name.nick);
        }
        if self.nick_of(&name.id).is_none() {
            ctx.acquaintances.forget(&name.id);
        }
        true
    }

    /// Binds the name of this peer to its key. From now on, the name means this key. A name that is
    /// bound to another key stays so: only the user's `trust` changes that. The name of an
    /// ephemeral peer is not bound: the next program of its user has another key.
    pub fn bind(&mut self, ctx: &mut Context, peer: &Peer) {
        let known = self.by_nick.get(&peer.nick);
        let is_bound =
            known.is_some_and(|known| known.iter().any(|k| k.id == peer.id && k.is_bound()));
        if !is_bound && peer.nick.as_str() != "?" && !is_ephemeral(ctx, &peer.id) {
            // The key may be known or linked under another name, so this claim may be new.
            self.observe(ctx, peer);
            if self.other_bound_key(peer).is_none() {
                self.record(ctx, peer, TrustLevel::Bound);
            }
        }
    }

    /// The key that is bound to the name of this peer, if the peer's own key is not. Upper and
    /// lower case letters count as equal.
    fn other_bound_key(&self, peer: &Peer) -> Option<PeerId> {
        let lower = peer.nick.as_str().to_lowercase();
        let known = self.by_nick.values().flatten();
        let bound = known.filter(|k| k.is_bound() && k.nick.as_str().to_lowercase() == lower);
        let ids: Vec<PeerId> = bound.map(|known| known.id).collect();
        ids.first().copied().filter(|_| !ids.contains(&peer.id))
    }

    fn record(&mut self, ctx: &mut Context, peer: &Peer, trust: TrustLevel) {
        let known = self.by_nick.get_or_default(peer.nick.clone());
        let mut entry = KnownPeer {
            nick: peer.nick.clone(),
            id: peer.id,
            first_seen: ctx.now.wall,
            trust,
        };
        match known.iter_mut().find(|other| other.id == peer.id) {
            Some(other) => {
                other.trust = other.trust.max(trust);
                entry.first_seen = other.first_seen;
            }
            None => known.push(entry.clone()),
        }
        ctx.acquaintances.record(&entry);
        ctx.emit(Output::SaveKnownPeer(Box::new(entry)));
    }

    /// Finds the peer that is written to, as [`KnownPeers::resolve`] does. A short id proves
    /// nothing: if the peer's name is bound to another key, only its whole id means the peer.
    pub fn resolve_recipient(&self, selector: &PeerSelector, present: &[Peer]) -> ResolvedPeer {
        match self.resolve(selector, present) {
            ResolvedPeer::Unique(peer) if selector.full_id().is_none() => {
                match self.other_bound_key(&peer) {
                    Some(bound) => ResolvedPeer::KeyMismatch { peer, bound },
                    None => ResolvedPeer::Unique(peer),
                }
            }
            resolved => resolved,
        }
    }

    /// All peers that the selector may mean, also those whose name is bound to another key.
    pub fn candidates(&self, selector: &PeerSelector, present: &[Peer]) -> Vec<Peer> {
        let found = self.find(selector, present).into_iter();
        found.map(to_peer).collect()
    }

    /// Finds the peer that the selector means. If one of the matching keys is bound to the name,
    /// the other keys do not count. A full id matches even if no peer with that key is known.
    pub fn resolve(&self, selector: &PeerSelector, present: &[Peer]) -> ResolvedPeer {
        let mut found = self.find(selector, present);
        let (id, unknown) = (selector.full_id(), Nick::new_or_placeholder(""));
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

    /// The matching keys, with a name, and whether the name is bound. Searches the known peers, and
    /// the present peers under their current names.
    fn find<'a>(
        &'a self,
        selector: &PeerSelector,
        present: &'a [Peer],
    ) -> Vec<(&'a PeerId, &'a Nick, bool)> {
        let mut found: Vec<(&PeerId, &Nick, bool)> = Vec::new();
        for peer in present
            .iter()
            .filter(|peer| selector.matches(&peer.nick, &peer.id))
        {
            found.push((&peer.id, &peer.nick, false));
        }
        let known = self.by_nick.values().flatten();
        for known in known.filter(|known| selector.matches(&known.nick, &known.id)) {
            match found.iter_mut().find(|(id, ..)| **id == known.id) {
                Some((.., bound)) => *bound |= known.is_bound(),
                // A present peer that claims a new name is not found by its old name. A bound name
                // is an exception.
                None if known.is_bound() || !is_present(present, &known.id) => {
                    found.push((&known.id, &known.nick, known.is_bound()));
                }
                None => {}
            }
        }
        found
    }

    /// A name that this key has claimed.
    pub fn nick_of(&self, id: &PeerId) -> Option<&Nick> {
        let mut known = self.by_nick.values().flatten();
        known.find(|known| known.id == *id).map(|known| &known.nick)
    }
}

/// Whether the peer is linked, and says that its key ends with its program.
fn is_ephemeral(ctx: &Context, id: &PeerId) -> bool {
    ctx.link_to(id).is_some_and(|link| link.is_ephemeral)
}

/// The notice that a peer claims a name known for other keys. Names the key that is bound to the
/// name, or else the first one. `None`: the name is new.
fn clash_notice(peer: &Peer, of_name: &[KnownPeer]) -> Option<Notice> {
    let bound = of_name.iter().find(|known| known.is_bound());
    let known = bound.or(of_name.first())?;
    Some(Notice::KeyMismatch {
        peer: peer.clone(),
        known_id: known.id,
        first_seen: known.first_seen,
        is_bound: known.is_bound(),
    })
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

/// Builds the end of an error message about a name that several peers have, such as `could be
/// @a~k7mq or @b~2x5w`.
pub fn ambiguity_message(peers: &[Peer]) -> String {
    let mut text = "could be".to_owned();
    for (i, peer) in peers.iter().enumerate() {
        let or = if i > 0 { " or" } else { "" };
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{or} @{peer}");
    }
    text
}
