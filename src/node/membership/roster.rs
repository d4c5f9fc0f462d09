//! Who is out there, as rows for people and scripts.
use crate::base::event::{FoundVia, Peer, PeerInfo, PeerState};
use crate::base::identity::PeerId;
use crate::base::table::SortedMap;
use crate::base::time::TenthsMs;
use crate::node::context::Context;
use crate::node::discovery::dialer::Dialer;

/// Linked, reached through others, heard of.
pub fn list_peers(ctx: &Context, discovery: &Dialer) -> Vec<PeerInfo> {
    let mut rows: Vec<PeerInfo> = Vec::new();
    for (stream, link) in &ctx.links {
        rows.push(PeerInfo {
            peer: link.peer.clone(),
            address: Some(link.address),
            found_via: discovery.found_via(*stream, &link.peer.id),
            via: None,
            state: PeerState::Linked,
            rtt: link.rtt_ms.map(|ms| TenthsMs(ms.saturating_mul(10))),
            rooms: link.shared_rooms.iter().cloned().collect(),
        });
    }
    let reached = routed_peers(ctx);
    for (sighting, fresh) in discovery.discovered_peers(ctx) {
        let id = &sighting.peer.id;
        if ctx.stream_by_peer.contains_key(id) || *id == ctx.own_id() || reached.contains_key(id) {
            continue;
        }
        let state = match fresh {
            true => PeerState::Known,
            false => PeerState::Gone,
        };
        rows.push(PeerInfo {
            peer: sighting.peer.clone(),
            address: sighting.candidates.last().map(|place| place.address),
            found_via: FoundVia::Multicast,
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
fn routed_peers(ctx: &Context) -> SortedMap<PeerId, (u8, PeerInfo)> {
    let mut nearest: SortedMap<PeerId, (u8, PeerInfo)> = SortedMap::new();
    for link in ctx.links.values() {
        for (room, there) in link.routes.iter() {
            for (id, reach) in there
                .iter()
                .filter(|(id, _)| !ctx.stream_by_peer.contains_key(id))
            {
                let fresh = || PeerInfo {
                    peer: Peer {
                        id: *id,
                        nick: reach.nick.clone(),
                    },
                    address: None,
                    found_via: FoundVia::Neighbour,
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
