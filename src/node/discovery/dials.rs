//! The dials to discovered peers under way, and whether one more may start.
use std::net::{IpAddr, SocketAddr};

use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::discovery::exchange::is_own_host;

/// Maximum number of dials under way to unproven peers at one IP address. A host that answers no
/// dial therefore keeps us from dialing its own peers only.
const UNPROVEN_DIALS_PER_SOURCE_MAX: usize = 4;
/// The same for our own host, where many programs may run.
const UNPROVEN_DIALS_TO_OWN_HOST_MAX: usize = 16;
/// Maximum number of dials under way to unproven peers. The remaining dials of
/// [`Handshakes::can_accept`](crate::node::connection::handshake::Handshakes::can_accept) are kept
/// for proven peers and static peers.
const UNPROVEN_DIALS_MAX: usize = 48;
/// Milliseconds that an address has to answer, before another address of the same peer is dialed in
/// addition. The value is the one of RFC 8305, section 5.
const NEXT_ADDRESS_DELAY_MS: u64 = 250;

/// A dial to a discovered peer.
#[derive(Clone, Copy)]
pub struct Dial {
    /// The peer that its beacon names at the address.
    pub peer: PeerId,
    /// The candidate address being dialed.
    pub address: SocketAddr,
    /// A handshake has proven the peer's key before.
    pub is_proven: bool,
    /// When the dial started.
    pub started_at: Time,
}

/// The dials under way. The key is the stream of the dial.
#[derive(Default)]
pub struct Dials(SortedMap<StreamId, Dial>);

impl Dials {
    /// Adds a dial that has just started.
    pub fn insert(&mut self, stream: StreamId, dial: Dial) {
        self.0.insert(stream, dial);
    }

    /// Removes the dial on this stream, which has ended.
    pub fn remove(&mut self, stream: StreamId) -> Option<Dial> {
        self.0.remove(&stream)
    }

    /// Whether this address of the peer is being dialed.
    pub fn is_dialing(&self, peer: &PeerId, address: SocketAddr) -> bool {
        let mut dials = self.0.values();
        dials.any(|dial| dial.peer == *peer && dial.address == address)
    }

    /// When another address of this peer may be dialed.
    pub fn next_address_at(&self, peer: &PeerId) -> Time {
        let of_peer = self.0.values().filter(|dial| dial.peer == *peer);
        let times = of_peer.map(|dial| dial.started_at + NEXT_ADDRESS_DELAY_MS);
        times.max().unwrap_or(Time(0))
    }

    /// Whether one more dial to an unproven peer at this IP address may start.
    pub fn can_dial_unproven(&self, ctx: &Context, source: IpAddr) -> bool {
        let unproven = self.0.values().filter(|dial| !dial.is_proven);
        let from_source = unproven.clone().filter(|dial| dial.address.ip() == source);
        let from_source_max = match is_own_host(ctx, source) {
            true => UNPROVEN_DIALS_TO_OWN_HOST_MAX,
            false => UNPROVEN_DIALS_PER_SOURCE_MAX,
        };
        unproven.count() < UNPROVEN_DIALS_MAX && from_source.count() < from_source_max
    }
}

/// Whether our dial to this address reached another peer, which is still linked. Then only that
/// peer listens there.
pub fn is_occupied(ctx: &Context, peer: &PeerId, address: SocketAddr) -> bool {
    let mut links = ctx.links.values();
    links.any(|link| link.dialed_address == Some(address) && link.peer.id != *peer)
}
