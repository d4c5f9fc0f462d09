//! The networks that this box is on, followed as they change, and the beacon's sockets on them.
use std::io;
use std::net::IpAddr;

use mio::{Interest, Registry, Token};

use crate::base::event::Interface;
use crate::base::time::Time;
use crate::shell::net::interfaces;
use crate::shell::net::interfaces::NetlinkSocket;
use crate::shell::net::multicast::Multicast;

/// A burst of changes to interfaces is waited out for so long, in milliseconds.
const SETTLE_MS: u64 = 50;
/// Interfaces are looked at now and then even when nothing was said of them, in milliseconds: with netlink, and without.
const REFRESH_INTERVAL_MS: u64 = 300_000;
const REFRESH_INTERVAL_WITHOUT_NETLINK_MS: u64 = 5_000;
/// After a socket for beacons could not be had it is tried again: milliseconds to the first time, doubled with each.
const SOCKET_RETRY_MIN_MS: u64 = 1_000;
/// So many failures, one after the other, are worth a word.
const SOCKET_FAILURES_BEFORE_WARNING: u32 = 3;

pub struct InterfaceWatch {
    /// Only these interfaces; empty: all.
    allowed_names: Vec<String>,
    usable: Vec<Interface>,
    netlink: Option<NetlinkSocket>,
    refresh_at: Time,
    /// How often, one after the other, not all sockets for beacons were to be had.
    socket_failures: u32,
}

/// What a look round found.
#[derive(Default)]
pub struct InterfaceUpdate {
    /// All usable interfaces, if one of them changed.
    pub changed_interfaces: Option<Vec<Interface>>,
    /// Beacons cannot be heard everywhere, and that lasts: to be told, once.
    pub is_multicast_failing: bool,
}

impl InterfaceWatch {
    /// Changes are told under `token`.
    ///
    /// # Errors
    /// The poll takes no more.
    pub fn new(
        registry: &Registry,
        token: Token,
        only: Vec<String>,
        now: Time,
    ) -> io::Result<InterfaceWatch> {
        // Without netlink, as in some containers, interfaces are looked at now and then.
        let mut changes = NetlinkSocket::open().ok();
        if let Some(changes) = &mut changes {
            registry.register(changes, token, Interest::READABLE)?;
        }
        Ok(InterfaceWatch {
            allowed_names: only,
            usable: Vec::new(),
            netlink: changes,
            refresh_at: now,
            socket_failures: 0,
        })
    }

    /// When to [`Surroundings::look`] again.
    pub fn deadline(&self) -> Time {
        self.refresh_at
    }

    /// The kernel told of a change.
    pub fn handle_netlink_event(&mut self, now: Time) {
        if self.netlink.as_mut().is_some_and(NetlinkSocket::drain) {
            self.refresh_at = self.refresh_at.min(now + SETTLE_MS);
        }
    }

    /// Do we want to be spoken to at this own address?
    pub fn can_accept_on(&self, own: IpAddr) -> bool {
        let has = |i: &Interface| i.addresses.iter().any(|(address, _)| *address == own);
        self.allowed_names.is_empty() || self.usable.iter().any(has)
    }

    pub fn refresh(
        &mut self,
        now: Time,
        registry: &Registry,
        datagrams: &mut Multicast,
    ) -> InterfaceUpdate {
        let blind = self.netlink.is_none();
        self.refresh_at = now
            + if blind {
                REFRESH_INTERVAL_WITHOUT_NETLINK_MS
            } else {
                REFRESH_INTERVAL_MS
            };
        let mut seen = InterfaceUpdate::default();
        let Ok(usable) = interfaces::list_usable(&self.allowed_names) else {
            return seen;
        };
        if datagrams.set_interfaces(registry, &usable) == 0 {
            self.socket_failures = 0;
        } else {
            // An address may be too new to be used; but what fails again and again is not to keep the box awake.
            let wait =
                (SOCKET_RETRY_MIN_MS << self.socket_failures.min(8)).min(REFRESH_INTERVAL_MS);
            self.refresh_at = self.refresh_at.min(now + wait);
            self.socket_failures = self.socket_failures.saturating_add(1);
            seen.is_multicast_failing = self.socket_failures == SOCKET_FAILURES_BEFORE_WARNING;
        }
        if usable != self.usable {
            self.usable = usable.clone();
            seen.changed_interfaces = Some(usable);
        }
        seen
    }
}
