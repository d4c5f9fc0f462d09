//! One address of the [address book](crate::node::discovery::address_book), and what its dials have
//! shown.
use std::net::{IpAddr, SocketAddr};

use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::interface::FoundVia;
use crate::node::context::Context;
use crate::node::discovery::backoff::{BACKOFF_MAX_MS, Backoff};
use crate::node::standing::source_of;

/// Number of failed dials in succession after which an unproven address is forgotten.
const INTRODUCED_FAILURES_MAX: u32 = 6;
/// Longest backoff of a proven address, in milliseconds: 17 minutes.
pub const ABSENT_BACKOFF_MAX_MS: u64 = 1_024_000;

/// Why an address is in the book.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A linked peer of this source introduced the address. No link has proven it.
    Introduced(IpAddr),
    /// A finder found the address. No link has proven it.
    Found(FoundVia),
    /// The address was introduced or found in this way. A link has proven it since.
    Confirmed(FoundVia),
    /// The peer was linked at the address in an earlier run.
    Remembered,
    /// The peer was linked at the address, which was found in another way.
    Linked,
}

/// An address of a peer.
pub struct KnownAddress {
    /// The peer. `None`: a finder does not name it, so anybody may answer the dial.
    pub peer: Option<PeerId>,
    /// The address to dial.
    pub address: SocketAddr,
    /// Why the address is in the book.
    pub origin: Origin,
    /// When the address may be dialed.
    pub backoff: Backoff,
    /// The dial under way.
    pub dialing: Option<StreamId>,
}

impl KnownAddress {
    /// Whether a link has proven the address, in this run or an earlier one.
    pub fn is_proven(&self) -> bool {
        !matches!(self.origin, Origin::Introduced(_) | Origin::Found(_))
    }

    /// The host at which the address is dialed.
    pub fn source(&self) -> IpAddr {
        source_of(self.address.ip())
    }

    /// Counts a failed dial, or a link that ended soon.
    pub fn record_failure(&mut self, ctx: &mut Context) {
        let longest_ms = match self.is_proven() {
            true => ABSENT_BACKOFF_MAX_MS,
            false => BACKOFF_MAX_MS,
        };
        self.backoff.record_failure(ctx, longest_ms);
    }

    /// Whether the address was introduced or found, never linked, and too many dials have failed.
    pub fn is_refuted(&self) -> bool {
        !self.is_proven() && self.backoff.failures() >= INTRODUCED_FAILURES_MAX
    }

    /// Whether the address is of no use now: its last dial failed, or its peer is linked, or said
    /// goodbye.
    pub fn is_idle(&self, ctx: &Context) -> bool {
        let is_linked = |peer| ctx.stream_by_peer.contains_key(&peer);
        let is_absent = self.backoff.next_attempt() > ctx.now.time + BACKOFF_MAX_MS;
        self.dialing.is_none()
            && (self.backoff.has_failed() || self.peer.is_some_and(is_linked) || is_absent)
    }
}
