//! Addresses given by hand, and who is meant by them.
use std::net::SocketAddr;

use crate::base::error_code::ErrorCode;
use crate::base::event::{FoundVia, Notice, Peer, StreamId};
use crate::base::identity::PeerId;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::discovery::candidates::Candidate;

const STATIC_PEERS_MAX: usize = 64;

/// An address given by hand, or by a finder.
pub struct StaticPeer {
    pub candidate: Candidate,
    pub dialing: Option<StreamId>,
    /// Who is, or was, there.
    pub peer: Option<PeerId>,
    /// The user named the peer: nobody else will do.
    is_pinned: bool,
    /// Who answered in its place, and whether that was said.
    unexpected_peer: Option<Peer>,
    is_mismatch_reported: bool,
    /// It is our own.
    pub is_self: bool,
}

impl StaticPeer {
    /// It is to be dialed.
    pub fn needs_dial(&self, ctx: &Context) -> bool {
        let linked = |peer: &PeerId| ctx.stream_by_peer.contains_key(peer);
        self.dialing.is_none() && !self.is_self && !self.peer.as_ref().is_some_and(linked)
    }

    /// The one whom the user means by this address.
    pub fn pinned_peer(&self) -> Option<PeerId> {
        self.peer.filter(|_| self.is_pinned)
    }
}

/// `true`: it is to be dialed, and was not before.
pub fn add(
    all: &mut Vec<StaticPeer>,
    address: SocketAddr,
    peer: Option<PeerId>,
    found: FoundVia,
) -> bool {
    let meant = peer.is_some() && found == FoundVia::Static;
    let known = all
        .iter_mut()
        .find(|given| given.candidate.address == address);
    if let Some(known) = known {
        if meant && !known.is_pinned {
            (known.peer, known.is_pinned) = (peer, true);
        }
        return false;
    }
    let new = all.len() < STATIC_PEERS_MAX;
    if new {
        all.push(StaticPeer {
            candidate: Candidate::new(address, Time(0)),
            dialing: None,
            peer,
            is_pinned: meant,
            unexpected_peer: None,
            is_mismatch_reported: false,
            is_self: false,
        });
    }
    new
}

/// Somebody else answered than was meant.
pub fn record_mismatch(all: &mut [StaticPeer], stream: StreamId, peer: Peer) {
    for given in all.iter_mut().filter(|g| g.dialing == Some(stream)) {
        given.unexpected_peer = Some(peer.clone());
    }
}

/// Whoever is meant was found at none of its addresses, and others answered at some: said once.
pub fn report_mismatches(all: &mut [StaticPeer], ctx: &mut Context) {
    for i in 0..all.len() {
        let Some(meant) = all[i]
            .pinned_peer()
            .filter(|id| !ctx.stream_by_peer.contains_key(id))
        else {
            continue;
        };
        let mut same = all
            .iter()
            .filter(|given| given.pinned_peer() == Some(meant));
        if same.any(|given| given.candidate.failures == 0) {
            continue;
        }
        if let Some(peer) = all[i].unexpected_peer.take()
            && !std::mem::replace(&mut all[i].is_mismatch_reported, true)
        {
            let (address, short) = (all[i].candidate.address, meant.short());
            let content =
                format!("WARNING: {address} IS NOT ~{short}, who was named: {peer} answers there");
            let code = ErrorCode::WrongKey;
            ctx.notify(Notice::Error { code, content });
        }
    }
}
