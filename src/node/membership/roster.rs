//! Who is out there, as rows for people and scripts.
use crate::base::event::{Found, Peer, PeerState, PeerView};
use crate::base::identity::PeerId;
use crate::base::table::Table;
use crate::base::time::Tenths;
use crate::node::context::Hub;
use crate::node::discovery::dialer::Discovery;

/// Linked, reached through others, heard of.
pub fn peers(hub: &Hub, discovery: &Discovery) -> Vec<PeerView> {
    let mut rows: Vec<PeerView> = Vec::new();
    for (stream, link) in &hub.links {
        rows.push(PeerView {
            peer: link.peer.clone(),
            address: Some(link.address),
            found: discovery.found(*stream, &link.peer.id),
            via: None,
            state: PeerState::Linked,
            rtt: link.rtt.map(|ms| Tenths(ms.saturating_mul(10))),
            rooms: link.rooms.iter().cloned().collect(),
        });
    }
    let reached = reached(hub);
    for (sighting, fresh) in discovery.heard(hub) {
        let id = &sighting.peer.id;
        if hub.linked.contains_key(id) || *id == hub.id() || reached.contains_key(id) {
            continue;
        }
        let state = match fresh {
            true => PeerState::Known,
            false => PeerState::Gone,
        };
        rows.push(PeerView {
            peer: sighting.peer.clone(),
            address: sighting.places.last().map(|place| place.address),
            found: Found::Multicast,
            via: None,
            state,
            rtt: None,
            rooms: Vec::new(),
        });
    }
    rows.extend(reached.into_values().map(|(_, view)| view));
    rows
}

/// Who is there through others: how many links on, and by the nearest of them.
fn reached(hub: &Hub) -> Table<PeerId, (u8, PeerView)> {
    let mut nearest: Table<PeerId, (u8, PeerView)> = Table::new();
    for link in hub.links.values() {
        for (room, there) in link.reach.iter() {
            for (id, reach) in there.iter().filter(|(id, _)| !hub.linked.contains_key(id)) {
                let fresh = || PeerView {
                    peer: Peer {
                        id: *id,
                        nick: reach.nick.clone(),
                    },
                    address: None,
                    found: Found::Neighbour,
                    via: Some(link.peer.clone()),
                    state: PeerState::Known,
                    rtt: None,
                    rooms: Vec::new(),
                };
                let (hops, view) = nearest.get_or_insert_with(*id, || (reach.hops, fresh()));
                if reach.hops < *hops {
                    (*hops, view.via) = (reach.hops, Some(link.peer.clone()));
                }
                if !view.rooms.contains(room) {
                    view.rooms.push(room.clone());
                }
            }
        }
    }
    nearest
}
