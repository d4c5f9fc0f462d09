//! Who is typing a line. Peers say so again and again while they type; nobody stores it.
use crate::base::event::notice::Notice;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::Target;
use crate::base::presence::away::HAS_PRESENCE;
use crate::base::presence::typing::TypingTarget;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::membership::known_peers::{KnownPeers, ResolvedPeer};
use crate::node::timer::{Deadlines, Timer};
use crate::wire::message::Message;

/// Milliseconds between two messages that say that we type.
const TYPING_INTERVAL_MS: u64 = 4_000;
/// Milliseconds for which a peer counts as typing after it said so.
const TYPING_DURATION_MS: u64 = 6_000;
/// Milliseconds between two such messages of one peer. An earlier one is ignored.
const TYPING_MIN_INTERVAL_MS: u64 = 1_000;
/// Maximum number of peers that count as typing. Nobody can read more names.
const TYPISTS_MAX: usize = 16;

/// The peers that are typing, and when we last said that we are.
#[derive(Default)]
pub struct Typists {
    /// A peer types one line at a time.
    typists: SortedMap<PeerId, Typist>,
    sent: Option<(TypingTarget, Time)>,
}

/// A peer that said that it types.
struct Typist {
    target: Target,
    heard_at: Time,
    /// Whether our user was told, and not that it has ended.
    is_shown: bool,
}

impl Typist {
    fn end(&mut self, ctx: &mut Context, peer: &PeerId) {
        if std::mem::take(&mut self.is_shown) {
            notify(ctx, *peer, self.target.clone(), false);
        }
    }
}

impl Typists {
    /// Says to those for whom the line will be that our user types one: the linked members of a
    /// room, or the one peer that a message would go to, if it is linked.
    pub fn type_to(&mut self, ctx: &mut Context, known_peers: &KnownPeers, to: TypingTarget) {
        let now = ctx.now.time;
        let is_sent =
            |(sent_to, at): &(TypingTarget, Time)| *sent_to == to && *at + TYPING_INTERVAL_MS > now;
        if !HAS_PRESENCE || self.sent.as_ref().is_some_and(is_sent) {
            return;
        }
        let recipients: Vec<(StreamId, String)> = match &to {
            TypingTarget::Room(room) => {
                let members = ctx.receivers_in_room(room);
                members
                    .map(|(stream, _)| (stream, room.to_string()))
                    .collect()
            }
            TypingTarget::Peer(selector) => {
                let meant = known_peers.resolve_recipient(selector, &ctx.reachable_peers());
                let ResolvedPeer::Unique(peer) = meant else {
                    return;
                };
                let stream = ctx.stream_by_peer.get(&peer.id).into_iter();
                stream
                    .map(|stream| (*stream, Target::Peer(peer.id).to_string()))
                    .collect()
            }
        };
        self.sent = Some((to, now));
        for (stream, target) in recipients {
            ctx.send(stream, &Message::Typing { target });
        }
    }

    /// Handles a message that the peer of this link types a line to the target.
    pub fn handle_typing(&mut self, ctx: &mut Context, stream: StreamId, target: &str) {
        let link = ctx.links.get(&stream).filter(|_| HAS_PRESENCE);
        let (Some(link), Some(target)) = (link, Target::parse(target)) else {
            return;
        };
        let is_to_us = match &target {
            Target::Room(room) => link.shared_rooms.contains(room),
            Target::Peer(recipient) => *recipient == ctx.own_id(),
        };
        let (peer, now) = (link.peer.id, ctx.now.time);
        let known = self.typists.get_mut(&peer);
        let is_early = |known: &&mut Typist| known.heard_at + TYPING_MIN_INTERVAL_MS > now;
        let is_flood = known.as_ref().is_some_and(is_early);
        if !is_to_us || is_flood || known.is_none() && self.typists.len() >= TYPISTS_MAX {
            return;
        }
        let typist = self.typists.get_or_insert_with(peer, || Typist {
            target: target.clone(),
            heard_at: now,
            is_shown: false,
        });
        typist.heard_at = now;
        if typist.target != target {
            typist.end(ctx, &peer);
            typist.target = target;
        }
        if !std::mem::replace(&mut typist.is_shown, true) {
            notify(ctx, peer, typist.target.clone(), true);
        }
    }

    /// Records that a line of this peer may have come, which it then no longer types.
    pub fn end(&mut self, ctx: &mut Context, stream: StreamId) {
        if let Some(peer) = ctx.links.get(&stream).map(|link| link.peer.id)
            && let Some(typist) = self.typists.get_mut(&peer)
        {
            typist.end(ctx, &peer);
        }
    }

    /// Ends those that have not typed for a while.
    pub fn handle_timeout(&mut self, ctx: &mut Context) {
        let now = ctx.now.time;
        self.typists.retain(|peer, typist| {
            let is_typing = typist.heard_at + TYPING_DURATION_MS > now;
            if !is_typing {
                typist.end(ctx, peer);
            }
            is_typing
        });
    }

    /// Adds the time at which the next one no longer counts as typing.
    pub fn state_deadlines(&self, deadlines: &mut Deadlines) {
        let next = self.typists.values().map(|typist| typist.heard_at).min();
        deadlines.add_some(Timer::EndTyping, next.map(|at| at + TYPING_DURATION_MS));
    }
}

fn notify(ctx: &mut Context, peer: PeerId, target: Target, is_typing: bool) {
    let peer = ctx.display_peer(&peer);
    ctx.notify(Notice::Typing {
        target,
        peer,
        is_typing,
    });
}
