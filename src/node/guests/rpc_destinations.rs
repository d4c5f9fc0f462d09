//! The addresses of services that may be dialed, and when. Grapes only claim them.
use std::net::SocketAddr;

use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::guest_table::{GUEST_PORT_MIN, GUESTS_PER_SOURCE_MAX};

/// Maximum number of addresses. Further ones take the place of those that failed.
const RPC_DESTINATIONS_MAX: usize = 64;
/// Milliseconds for which an address counts that no Grape names any more.
const RPC_DESTINATION_EXPIRY_MS: u64 = 180_000;
/// Least time between two dials of an address, in milliseconds. Each failure doubles it.
const RPC_DIAL_INTERVAL_MS: u64 = 5_000;
/// Maximum number of doublings of [`RPC_DIAL_INTERVAL_MS`].
const RPC_DIAL_DOUBLINGS_MAX: u32 = 6;
/// Milliseconds after which an open stream counts as no failure.
const RPC_STREAM_LASTS_MS: u64 = 60_000;

/// An address at which a service may be.
struct Destination {
    service: String,
    found_at: Time,
    /// When it may be dialed again.
    next_dial_at: Time,
    failures: u32,
    has_stream: bool,
    /// A p2pchat listens there. It is linked, and not dialed so.
    is_peer: bool,
}

/// An address to dial now.
pub struct DueDial {
    /// The address.
    pub address: SocketAddr,
    /// The service that may be there.
    pub service: String,
    /// Whether its last dial or stream failed.
    pub has_failed: bool,
}

/// All addresses.
#[derive(Default)]
pub struct RpcDestinations {
    by_address: SortedMap<SocketAddr, Destination>,
}

impl RpcDestinations {
    /// Records that a service may be at an address. `is_room`: the service is a room, so one with
    /// the name of a guest at the same address is more exact.
    pub fn record(&mut self, now: Time, service: &str, is_room: bool, address: SocketAddr) {
        if address.port() < GUEST_PORT_MIN {
            return;
        }
        if let Some(known) = self.by_address.get_mut(&address) {
            known.found_at = now;
            if !is_room {
                known.service = service.to_owned();
            }
            return;
        }
        let of_host = self.by_address.keys().filter(|it| it.ip() == address.ip());
        if of_host.count() >= GUESTS_PER_SOURCE_MAX {
            return;
        }
        if self.by_address.len() >= RPC_DESTINATIONS_MAX {
            let failed = self.by_address.iter();
            // One that may not be dialed yet keeps its place, so that this is not forgotten.
            let failed = failed.filter(|(_, it)| {
                it.failures > 0 && !it.has_stream && !it.is_peer && it.next_dial_at <= now
            });
            let oldest = failed.min_by_key(|(_, it)| it.found_at);
            let Some(oldest) = oldest.map(|(address, _)| *address) else {
                return;
            };
            self.by_address.remove(&oldest);
        }
        let destination = Destination {
            service: service.to_owned(),
            found_at: now,
            next_dial_at: now,
            failures: 0,
            has_stream: false,
            is_peer: false,
        };
        self.by_address.insert(address, destination);
    }

    /// Takes the addresses that may be dialed now, each with its service. They count as failed
    /// until [`RpcDestinations::record_end`] says otherwise.
    pub fn take_due(&mut self, now: Time) -> Vec<DueDial> {
        self.by_address
            .retain(|_, it| it.has_stream || it.found_at + RPC_DESTINATION_EXPIRY_MS > now);
        let mut due = Vec::new();
        for (address, it) in self.by_address.iter_mut() {
            if !it.has_stream && !it.is_peer && it.next_dial_at <= now {
                it.has_stream = true;
                let doublings = it.failures.min(RPC_DIAL_DOUBLINGS_MAX);
                due.push(DueDial {
                    address: *address,
                    service: it.service.clone(),
                    has_failed: it.failures > 0,
                });
                it.next_dial_at = now + (RPC_DIAL_INTERVAL_MS << doublings);
                it.failures = it.failures.saturating_add(1);
            }
        }
        due
    }

    /// Records the end of a stream. `opened_at`: when it was open, if it ever was. `is_peer`: a
    /// p2pchat listens there.
    pub fn record_end(
        &mut self,
        now: Time,
        address: &SocketAddr,
        opened_at: Option<Time>,
        is_peer: bool,
    ) {
        if let Some(it) = self.by_address.get_mut(address) {
            it.has_stream = false;
            it.is_peer |= is_peer;
            if opened_at.is_some_and(|at| at + RPC_STREAM_LASTS_MS <= now) {
                it.failures = 0;
                it.next_dial_at = now + RPC_DIAL_INTERVAL_MS;
            }
        }
    }

    /// When the next address may be dialed.
    pub fn next_dial_at(&self) -> Option<Time> {
        let waiting = self.by_address.values();
        let waiting = waiting.filter(|it| !it.has_stream && !it.is_peer);
        waiting.map(|it| it.next_dial_at).min()
    }
}
