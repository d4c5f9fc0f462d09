//! Follows the interfaces of this box as they change, and adapts the sockets for beacons to them.
use std::io;
use std::net::IpAddr;

use mio::{Interest, Registry, Token};

use crate::base::event::Interface;
use crate::base::time::Time;
use crate::shell::net::interfaces;
use crate::shell::net::interfaces::NetlinkSocket;
use crate::shell::net::multicast::Multicast;

/// Delay after a notice of the kernel, in milliseconds: changes come in bursts.
const SETTLE_MS: u64 = 50;
/// Longest time between two refreshes, in milliseconds, in case a notice was lost.
const REFRESH_INTERVAL_MS: u64 = 300_000;
/// Longest time between two refreshes where netlink is refused, as in some containers.
const REFRESH_INTERVAL_WITHOUT_NETLINK_MS: u64 = 5_000;
/// Time to the first retry after a socket for beacons could not be opened, in milliseconds; each
/// further retry doubles it.
const SOCKET_RETRY_MIN_MS: u64 = 1_000;
/// Most doublings of that time.
const SOCKET_RETRY_DOUBLINGS_MAX: u32 = 8;
/// Consecutive failures after which the user is warned.
const SOCKET_FAILURES_BEFORE_WARNING: u32 = 3;

/// The usable interfaces, and when to list them again.
pub struct InterfaceWatch {
    /// The interfaces to use; empty: all.
    allowed_names: Vec<String>,
    usable: Vec<Interface>,
    /// `None`: refused.
    netlink: Option<NetlinkSocket>,
    refresh_at: Time,
    /// Consecutive refreshes in which a socket for beacons could not be opened.
    socket_failures: u32,
}

/// The result of a refresh.
#[derive(Default)]
pub struct InterfaceUpdate {
    /// All usable interfaces, if any changed.
    pub changed_interfaces: Option<Vec<Interface>>,
    /// Beacons cannot be received on every interface, and retries did not help: warn the user.
    /// Set once per outage.
    pub is_multicast_failing: bool,
}

impl InterfaceWatch {
    /// Watches the interfaces with these names, or all if there is none. Its events have `token`.
    ///
    /// # Errors
    /// The poll refuses the socket.
    pub fn new(
        registry: &Registry,
        token: Token,
        allowed_names: Vec<String>,
        now: Time,
    ) -> io::Result<InterfaceWatch> {
        let mut netlink = NetlinkSocket::open().ok();
        if let Some(netlink) = &mut netlink {
            registry.register(netlink, token, Interest::READABLE)?;
        }
        Ok(InterfaceWatch {
            allowed_names,
            usable: Vec::new(),
            netlink,
            refresh_at: now,
            socket_failures: 0,
        })
    }

    /// When to call [`InterfaceWatch::refresh`].
    pub fn deadline(&self) -> Time {
        self.refresh_at
    }

    /// Handles an event of the netlink socket.
    pub fn handle_netlink_event(&mut self, now: Time) {
        if self.netlink.as_mut().is_some_and(NetlinkSocket::drain) {
            self.refresh_at = self.refresh_at.min(now + SETTLE_MS);
        }
    }

    /// Whether peers may connect to this own address: it is one of the interfaces to use.
    pub fn can_accept_on(&self, own: IpAddr) -> bool {
        let has = |i: &Interface| i.addresses.iter().any(|address| address.ip == own);
        self.allowed_names.is_empty() || self.usable.iter().any(has)
    }

    /// Lists the interfaces, and opens and closes the sockets of `multicast` to match.
    pub fn refresh(
        &mut self,
        now: Time,
        registry: &Registry,
        multicast: &mut Multicast,
    ) -> InterfaceUpdate {
        let interval_ms = match self.netlink {
            Some(_) => REFRESH_INTERVAL_MS,
            None => REFRESH_INTERVAL_WITHOUT_NETLINK_MS,
        };
        self.refresh_at = now + interval_ms;
        let mut update = InterfaceUpdate::default();
        let Ok(usable) = interfaces::list_usable(&self.allowed_names) else {
            return update;
        };
        if multicast.set_interfaces(registry, &usable) == 0 {
            self.socket_failures = 0;
        } else {
            // An address may be too new to be bound. A lasting failure must not keep the box
            // awake.
            let retry_ms = (SOCKET_RETRY_MIN_MS
                << self.socket_failures.min(SOCKET_RETRY_DOUBLINGS_MAX))
            .min(REFRESH_INTERVAL_MS);
            self.refresh_at = self.refresh_at.min(now + retry_ms);
            self.socket_failures = self.socket_failures.saturating_add(1);
            update.is_multicast_failing = self.socket_failures == SOCKET_FAILURES_BEFORE_WARNING;
        }
        if usable != self.usable {
            self.usable = usable.clone();
            update.changed_interfaces = Some(usable);
        }
        update
    }
}
