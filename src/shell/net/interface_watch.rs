//! Tracks changes of this machine's network interfaces, and opens and closes the beacon sockets
//! to match.
use std::io;
use std::net::IpAddr;

use mio::{Interest, Registry, Token};

use crate::base::interface::Interface;
use crate::base::time::Time;
use crate::shell::net::interfaces;
use crate::shell::net::interfaces::{NetlinkSocket, UsableInterfaces};
use crate::shell::net::multicast::Multicast;

/// Time between the kernel's report of a change and the refresh, in milliseconds. Changes come in
/// bursts. After this time, one refresh covers the whole burst.
const SETTLE_MS: u64 = 50;
/// Longest time between two refreshes, in milliseconds. The kernel's reports of changes can be
/// lost, so a refresh also happens without a report.
const REFRESH_INTERVAL_MS: u64 = 300_000;
/// Longest time between two refreshes, in milliseconds, if the kernel refuses netlink. The kernel
/// does so in some containers.
const REFRESH_INTERVAL_WITHOUT_NETLINK_MS: u64 = 5_000;
/// Time to the first retry after a beacon socket could not be opened, in milliseconds. Each
/// further retry doubles the time.
const SOCKET_RETRY_MIN_MS: u64 = 1_000;
/// Maximum number of doublings of [`SOCKET_RETRY_MIN_MS`].
const SOCKET_RETRY_DOUBLINGS_MAX: u32 = 8;
/// Number of consecutive failed refreshes after which the user is warned. A refresh has failed if
/// at least one beacon socket could not be opened.
const SOCKET_FAILURES_BEFORE_WARNING: u32 = 3;

/// Lists the usable interfaces, and decides when to update the list.
pub struct InterfaceWatch {
    /// Names of the interfaces to use. Empty: all interfaces.
    allowed_names: Vec<String>,
    usable: Vec<Interface>,
    /// `None`: the kernel refused the netlink socket.
    netlink: Option<NetlinkSocket>,
    refresh_at: Time,
    /// Number of failed refreshes since the last successful one. A refresh has failed if at least
    /// one beacon socket could not be opened.
    socket_failures: u32,
    /// Whether the user was told that interfaces are left out.
    is_excess_reported: bool,
}

/// The result of a refresh.
#[derive(Default)]
pub struct InterfaceUpdate {
    /// The new list of usable interfaces. `None`: the list has not changed.
    pub changed_interfaces: Option<Vec<Interface>>,
    /// Whether to warn the user that some interface cannot receive beacons. True once per outage,
    /// after several failed refreshes.
    pub is_multicast_failing: bool,
    /// Number of interfaces left out because there are too many. `None`: none is left out, or the
    /// user was told before.
    pub left_out: Option<usize>,
}

impl InterfaceWatch {
    /// Starts to watch the interfaces in `allowed_names`. An empty list means all interfaces. The
    /// poll reports events of the netlink socket under `token`.
    ///
    /// # Errors
    /// The netlink socket cannot be registered with the poll.
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
            is_excess_reported: false,
        })
    }

    /// When to call [`InterfaceWatch::refresh`].
    pub fn deadline(&self) -> Time {
        self.refresh_at
    }

    /// Schedules a refresh, as an interface has changed.
    pub fn handle_netlink_event(&mut self, now: Time) {
        self.refresh_at = self.refresh_at.min(now + SETTLE_MS);
    }

    /// Whether peers may connect to `own`, which is one of our addresses. If the user chose
    /// interfaces, one of the chosen interfaces must have this address.
    pub fn can_accept_on(&self, own: IpAddr) -> bool {
        let has = |i: &Interface| i.addresses.iter().any(|address| address.ip == own);
        self.allowed_names.is_empty() || self.usable.iter().any(has)
    }

    /// Lists the usable interfaces, gives the list to [`Multicast::set_interfaces`], and sets the
    /// time of the next refresh.
    pub fn refresh(
        &mut self,
        now: Time,
        registry: &Registry,
        multicast: &mut Multicast,
    ) -> InterfaceUpdate {
        let has_more_reports = self.netlink.as_mut().map(NetlinkSocket::drain);
        let interval_ms = match has_more_reports {
            Some(true) => SETTLE_MS,
            Some(false) => REFRESH_INTERVAL_MS,
            None => REFRESH_INTERVAL_WITHOUT_NETLINK_MS,
        };
        self.refresh_at = now + interval_ms;
        let mut update = InterfaceUpdate::default();
        let Ok(UsableInterfaces {
            list: usable,
            left_out,
        }) = interfaces::list_usable(&self.allowed_names)
        else {
            return update;
        };
        if left_out > 0 && !std::mem::replace(&mut self.is_excess_reported, true) {
            update.left_out = Some(left_out);
        }
        if multicast.set_interfaces(registry, &usable) == 0 {
            self.socket_failures = 0;
        } else {
            // An address may be too new to be bound, so a retry can succeed. The delay doubles,
            // because a lasting failure must not keep the machine awake.
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
