//! Bounds of what strangers cost before a link stands: the number of unfinished handshakes, and
//! their memory.
use std::cmp::Reverse;
use std::net::IpAddr;

use crate::base::event::stream_id::StreamId;
use crate::base::table::{SortedMap, SortedSet};
use crate::node::connection::pending_handshake::{HandshakeStage, PendingHandshake};
use crate::node::context::Context;

/// Maximum number of unfinished handshakes on accepted streams. Dialed streams have a separate
/// bound of the same size. Strangers who dial us therefore cannot keep us from dialing.
const HANDSHAKES_MAX: usize = 64;
/// Maximum number of received bytes that wait for the rest of the hello. Our longest hello has
/// 3 KB.
const HELLO_MAX_BYTES: usize = 16 * 1024;
/// Maximum memory of what the deferred handshakes of one peer have received, in bytes.
const DEFERRED_MAX_BYTES: usize = 256 * 1024;
/// Maximum number of addresses that are remembered because a peer was linked from there.
const LINKED_ADDRESSES_MAX: usize = 256;

/// The unfinished handshakes, by stream.
pub(super) type PendingHandshakes = SortedMap<StreamId, PendingHandshake>;

/// The addresses of the peers that were linked in this run.
#[derive(Default)]
pub(super) struct LinkedAddresses(SortedSet<IpAddr>);

impl LinkedAddresses {
    /// Records that a peer is linked at this address. At the bound, forgets the addresses without a
    /// link.
    pub(super) fn record(&mut self, ctx: &Context, address: IpAddr) {
        if self.0.len() >= LINKED_ADDRESSES_MAX {
            let is_linked =
                |known: &IpAddr| ctx.links.values().any(|link| link.address.ip() == *known);
            self.0.retain(is_linked);
        }
        self.0.insert(address);
    }
}

/// Whether one more handshake may start: on a dialed stream if `is_dialed` is true, otherwise on an
/// accepted stream.
pub(super) fn can_start(pending: &PendingHandshakes, is_dialed: bool) -> bool {
    let same = pending.keys().filter(|s| s.is_dialed() == is_dialed);
    same.count() < HANDSHAKES_MAX
}

/// Selects the handshake on an accepted stream that ends to make room for another: one of the
/// source with the most handshakes. One host therefore cannot keep out other hosts.
///
/// Many hosts together cannot keep out a peer either. Among sources with equally many handshakes, a
/// handshake ends first if no peer was linked from its address, then if it is the oldest. So a peer
/// has the time in which 64 further strangers connect.
pub(super) fn select_evicted(
    pending: &PendingHandshakes,
    linked: &LinkedAddresses,
) -> Option<StreamId> {
    let accepted = pending.iter().filter(|(stream, _)| !stream.is_dialed());
    let evicted = accepted.clone().max_by_key(|(stream, pending)| {
        let source = pending.source();
        let same = accepted.clone().filter(|(_, p)| p.source() == source);
        let is_stranger = !linked.0.contains(&pending.target.address.ip());
        let age = (Reverse(pending.started_at), Reverse(**stream));
        (same.count(), is_stranger, age)
    });
    evicted.map(|(stream, _)| *stream)
}

/// Whether what an unfinished handshake has received takes too much memory.
pub(super) fn has_overflowed(pending: &PendingHandshakes, stream: StreamId) -> bool {
    match pending.get(&stream).map(|pending| &pending.stage) {
        Some(HandshakeStage::AwaitingHello { channel, .. }) => {
            channel.buffered_bytes() > HELLO_MAX_BYTES
        }
        Some(HandshakeStage::Deferred(deferred)) => {
            let peer = deferred.hello.sender;
            let of_peer = pending.values().map(|pending| match &pending.stage {
                HandshakeStage::Deferred(other) if other.hello.sender == peer => {
                    other.memory_bytes()
                }
                _ => 0,
            });
            of_peer.sum::<usize>() > DEFERRED_MAX_BYTES
        }
        _ => false,
    }
}
