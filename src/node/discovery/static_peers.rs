//! Addresses given by hand, and who is meant by them.
use std::net::SocketAddr;

use crate::base::event::{Found, Notice, Peer, StreamId};
use crate::base::identity::PeerId;
use crate::base::time::Time;
use crate::node::context::Hub;
use crate::node::discovery::candidates::Place;

const GIVEN_MAX: usize = 64;

/// An address given by hand, or by a finder.
pub struct Given {
    pub place: Place,
    pub dialing: Option<StreamId>,
    /// Who is, or was, there.
    pub peer: Option<PeerId>,
    /// The user named the peer: nobody else will do.
    meant: bool,
    /// Who answered in its place, and whether that was said.
    other: Option<Peer>,
    told: bool,
    /// It is our own.
    pub own: bool,
}

impl Given {
    /// It is to be dialed.
    pub fn waits(&self, hub: &Hub) -> bool {
        let linked = |peer: &PeerId| hub.linked.contains_key(peer);
        self.dialing.is_none() && !self.own && !self.peer.as_ref().is_some_and(linked)
    }

    /// The one whom the user means by this address.
    pub fn meant(&self) -> Option<PeerId> {
        self.peer.filter(|_| self.meant)
    }
}

/// `true`: it is to be dialed, and was not before.
pub fn add(all: &mut Vec<Given>, address: SocketAddr, peer: Option<PeerId>, found: Found) -> bool {
    let meant = peer.is_some() && found == Found::Given;
    let known = all.iter_mut().find(|given| given.place.address == address);
    if let Some(known) = known {
        if meant && !known.meant {
            (known.peer, known.meant) = (peer, true);
        }
        return false;
    }
    let new = all.len() < GIVEN_MAX;
    if new {
        all.push(Given {
            place: Place::new(address, Time(0)),
            dialing: None,
            peer,
            meant,
            other: None,
            told: false,
            own: false,
        });
    }
    new
}

/// Somebody else answered than was meant.
pub fn other(all: &mut [Given], stream: StreamId, peer: Peer) {
    for given in all.iter_mut().filter(|g| g.dialing == Some(stream)) {
        given.other = Some(peer.clone());
    }
}

/// Whoever is meant was found at none of its addresses, and others answered at some: said once.
pub fn tell(all: &mut [Given], hub: &mut Hub) {
    for i in 0..all.len() {
        let Some(meant) = all[i].meant().filter(|id| !hub.linked.contains_key(id)) else {
            continue;
        };
        let mut same = all.iter().filter(|given| given.meant() == Some(meant));
        if same.any(|given| given.place.failures == 0) {
            continue;
        }
        if let Some(peer) = all[i].other.take()
            && !std::mem::replace(&mut all[i].told, true)
        {
            let (address, short) = (all[i].place.address, meant.short());
            let content =
                format!("WARNING: {address} IS NOT ~{short}, who was named: {peer} answers there");
            let code = "key";
            hub.notice(Notice::Error { code, content });
        }
    }
}
