//! Builds the list that `peers` and `/users` show.
use crate::base::event::peer::{Peer, PeerInfo, PeerState};
use crate::base::identity::PeerId;
use crate::base::interface::FoundVia;
use crate::base::table::SortedMap;
use crate::base::time::TenthsMs;
use crate::node::context::Context;
use crate::node::discovery::dialer::Dialer;
use crate::node::membership::gone_peers::GonePeers;

/// All peers, each once: first the linked peers, then the peers known only by their beacon, then
/// the peers reachable through others, and then those whose links have ended.
pub fn list_peers(ctx: &Context, dialer: &Dialer, gone: &GonePeers) -> Vec<PeerInfo> {
    let mut rows: Vec<PeerInfo> = Vec::new();
    for (stream, link) in &ctx.links {
        rows.push(PeerInfo {
            peer: link.peer.clone(),
            address: Some(link.address),
            found_via: dialer.found_via(*stream, &link.peer.id),
            via: None,
            away: link.away.clone(),
            profile: None,
            familiarity: ctx.familiarity(&link.peer.id),
            state: PeerState::Linked,
            rtt: link.rtt_ms.map(|ms| TenthsMs(ms.saturating_mul(10))),
            rooms: link.shared_rooms.iter().cloned().collect(),
            last_seen: Some(ctx.now.wall_at(link.last_activity)),
        });
    }
    let routed = routed_peers(ctx);
    for (discovered, is_fresh) in dialer.discovered_peers(ctx) {
        let id = &discovered.peer.id;
        if ctx.stream_by_peer.contains_key(id) || *id == ctx.own_id() || routed.contains_key(id) {
            continue;
        }
        let last_linked = gone.last_seen(id).unwrap_or_default();
        let last_seen = discovered.last_seen().max(last_linked);
        let state = match is_fresh {
            true => PeerState::Known,
            false => PeerState::Gone,
        };
        rows.push(PeerInfo {
            peer: discovered.peer.clone(),
            address: discovered
                .candidates
                .last()
                .map(|candidate| candidate.address),
            found_via: FoundVia::Multicast,
            via: None,
            away: None,
            profile: None,
            familiarity: ctx.familiarity(id),
            state,
            rtt: None,
            rooms: Vec::new(),
            last_seen: Some(ctx.now.wall_at(last_seen)),
        });
    }
    for (_, mut row) in routed.into_values() {
        let last_seen = gone.last_seen(&row.peer.id);
        row.last_seen = last_seen.map(|at| ctx.now.wall_at(at));
        rows.push(row);
    }
    for gone in gone.iter() {
        if !rows.iter().any(|row| row.peer.id == gone.peer.id) {
            rows.push(PeerInfo {
                peer: gone.peer.clone(),
                address: Some(gone.address),
                found_via: gone.found_via,
                via: None,
                away: None,
                profile: None,
                familiarity: ctx.familiarity(&gone.peer.id),
                state: PeerState::Gone,
                rtt: None,
                rooms: Vec::new(),
                last_seen: Some(ctx.now.wall_at(gone.last_seen)),
            });
        }
    }
    rows
}

/// Builds a row for each peer that is reachable only through others. The row names the neighbour
/// with the shortest route. The `u8` is the number of hops from this neighbour to the peer. Routes
/// in hold-down are included.
fn routed_peers(ctx: &Context) -> SortedMap<PeerId, (u8, PeerInfo)> {
    let mut nearest: SortedMap<PeerId, (u8, PeerInfo)> = SortedMap::new();
    for link in ctx.links.values() {
        for (room, routes) in link.routes.iter() {
            for (id, route) in routes
                .iter()
                .filter(|(id, _)| !ctx.stream_by_peer.contains_key(id))
            {
                let new_row = || PeerInfo {
                    peer: Peer {
                        id: *id,
                        nick: route.nick.clone(),
                    },
                    address: None,
                    found_via: FoundVia::Neighbour,
                    via: Some(link.peer.clone()),
                    away: None,
                    profile: None,
                    familiarity: ctx.familiarity(id),
                    state: PeerState::Known,
                    rtt: None,
                    rooms: Vec::new(),
                    last_seen: None,
                };
                let (hops, row) = nearest.get_or_insert_with(*id, || (route.hops, new_row()));
                if route.hops < *hops {
                    (*hops, row.via) = (route.hops, Some(link.peer.clone()));
                }
                if !row.rooms.contains(room) {
                    row.rooms.push(room.clone());
                }
            }
        }
    }
    nearest
}
