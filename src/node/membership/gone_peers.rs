//! The peers whose links have ended in this run: who they were, and when they were last heard.
use std::net::SocketAddr;

use crate::base::event::peer::Peer;
use crate::base::identity::PeerId;
use crate::base::interface::FoundVia;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::connection::liveness::ClosedLink;
use crate::node::context::Context;

/// Maximum number of gone peers that are remembered. A further one takes the place of the one that
/// counts least, and of those the one that is gone for the longest time.
const GONE_PEERS_MAX: usize = 64;

/// A peer whose link has ended.
pub struct GonePeer {
    /// The peer, under its last name.
    pub peer: Peer,
    /// The address of the link.
    pub address: SocketAddr,
    /// How the peer was found.
    pub found_via: FoundVia,
    /// When the peer was last heard.
    pub last_seen: Time,
}

/// The gone peers of this run. A peer stays in the table when it is linked again.
#[derive(Default)]
pub struct GonePeers(SortedMap<PeerId, GonePeer>);

impl GonePeers {
    /// Records the end of a link. Transient peers come and go unnoticed.
    pub fn link_down(&mut self, ctx: &Context, link: &ClosedLink, found_via: FoundVia) {
        if link.is_transient || ctx.acquaintances.is_banned(&link.peer) {
            return;
        }
        let id = link.peer;
        if self.0.len() >= GONE_PEERS_MAX && !self.0.contains_key(&id) {
            let place = |it: &GonePeer| (ctx.standing(&it.peer.id, None).level(), it.last_seen);
            let displaced = self.0.values().min_by_key(|it| place(it));
            if let Some(displaced) = displaced.map(|it| it.peer.id) {
                self.0.remove(&displaced);
            }
        }
        let peer = Peer {
            id,
            nick: link.nick.clone(),
        };
        let gone = GonePeer {
            peer,
            address: link.address,
            found_via,
            last_seen: link.last_activity,
        };
        self.0.insert(id, gone);
    }

    /// Forgets banned peers.
    pub fn forget_banned(&mut self, ctx: &Context) {
        self.0.retain(|peer, _| !ctx.acquaintances.is_banned(peer));
    }

    /// When we last heard this peer, if it was linked in this run.
    pub fn last_seen(&self, peer: &PeerId) -> Option<Time> {
        self.0.get(peer).map(|gone| gone.last_seen)
    }

    /// All of them, by their ids.
    pub fn iter(&self) -> impl Iterator<Item = &GonePeer> {
        self.0.values()
    }
}
