//! What a [probe](super::lan_probe) of the LAN sent and received.
use std::net::{IpAddr, SocketAddr};

use crate::base::event::peer::Peer;
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::interface::Interface;
use crate::base::name::Nick;
use crate::base::table::{SortedMap, SortedSet};
use crate::node::link::HearsUs;
use crate::shell::net::multicast::{BeaconMethod, ReceivedDatagram};
use crate::wire::beacon::Beacon;
use crate::wire::go_p2pchat::GoBeacon;

/// Maximum number of programs that are remembered, of each kind. Anybody can forge beacons.
const PROGRAMS_MAX: usize = 64;

/// What one method sent and received on one interface.
#[derive(Default)]
pub struct MethodReport {
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// Why the kernel refused the last one that it refused.
    pub refused: Option<String>,
    /// Addresses of other hosts of which beacons of this network came.
    pub heard: SortedSet<IpAddr>,
}

/// A peer of this network, as its beacon says.
pub struct HeardPeer {
    /// The name that it claims.
    pub nick: Nick,
    /// Where it listens.
    pub address: SocketAddr,
}

/// A peer with which a link was made.
pub struct LinkedPeer {
    /// The peer.
    pub peer: Peer,
    /// Where it can be dialed.
    pub address: SocketAddr,
    /// Its wall clock minus ours, in milliseconds.
    pub clock_ahead_ms: Option<i64>,
    /// Whether it hears our beacons.
    pub hears_us: HearsUs,
}

/// A program that is not of this network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OtherProgram {
    /// Its beacons are sealed with another secret.
    OtherSecret,
    /// Its beacons are open, and ours are sealed.
    OpenNetwork,
    /// It is p2pchat in Go.
    GoP2pchat,
    /// Its datagrams are none of p2pchat.
    Unknown,
}

/// What a probe sent and received.
pub struct LanReport {
    /// The tag of the network.
    pub network: NetworkTag,
    /// The key of the beacons of a closed network.
    pub beacon_key: Option<[u8; 32]>,
    /// Programs whose beacons are not counted: the probe, and the one that runs in the directory.
    pub own_ids: Vec<PeerId>,
    /// Whether programs of this host count as well.
    pub counts_own_host: bool,
    /// The interfaces that were used last.
    pub interfaces: Vec<Interface>,
    /// Per interface and method.
    pub methods: SortedMap<(u32, BeaconMethod), MethodReport>,
    /// The peers of other hosts.
    pub heard: SortedMap<PeerId, HeardPeer>,
    /// The peers of other hosts with a link.
    pub linked: SortedMap<PeerId, LinkedPeer>,
    /// Programs of other networks.
    pub others: SortedSet<(OtherProgram, IpAddr)>,
    /// How many connections other hosts made to the probe.
    pub accepted: u64,
}

impl LanReport {
    /// Whether only loopback is used. Programs of this host then count as others.
    pub fn is_loopback_only(&self) -> bool {
        self.interfaces
            .iter()
            .all(|interface| interface.is_loopback)
    }

    /// Whether an address is one of another host.
    pub fn is_of_other_host(&self, ip: IpAddr) -> bool {
        let mut addresses = self.interfaces.iter().flat_map(|it| &it.addresses);
        self.counts_own_host
            || self.is_loopback_only()
            || !(ip.is_loopback() || addresses.any(|own| own.ip == ip))
    }

    /// Whether the kernel took a beacon on an interface to others.
    pub fn has_sent(&self) -> bool {
        self.methods.values().any(|method| method.sent > 0)
    }

    /// Whether no router lies between this host and the address.
    pub fn is_on_link(&self, ip: IpAddr) -> bool {
        self.interfaces.iter().any(|it| it.is_on_link(ip))
    }

    /// Records that a datagram of a beacon was sent, or refused.
    pub fn record_sent(&mut self, interface: u32, method: BeaconMethod, refusal: Option<String>) {
        let report = self
            .methods
            .get_or_insert_with((interface, method), MethodReport::default);
        match refusal {
            None => report.sent += 1,
            Some(why) => report.refused = Some(why),
        }
    }

    /// Records a received datagram.
    pub fn record_received(&mut self, received: &ReceivedDatagram, bytes: &[u8]) {
        let ip = received.source.ip();
        if !self.is_of_other_host(ip) {
            return;
        }
        let Some(beacon) = Beacon::parse(bytes, &self.network, self.beacon_key.as_ref()) else {
            if self.others.len() < PROGRAMS_MAX
                && let Some(kind) = self.classify(bytes)
            {
                self.others.insert((kind, ip));
            }
            return;
        };
        if self.own_ids.contains(&beacon.peer) {
            return;
        }
        let key = (received.interface_index, received.method);
        let method = self.methods.get_or_insert_with(key, MethodReport::default);
        if method.heard.len() < PROGRAMS_MAX {
            method.heard.insert(ip);
        }
        // A transient program may be gone before it can be dialed.
        if self.heard.len() < PROGRAMS_MAX && !beacon.transient {
            let mut address = received.source;
            address.set_port(beacon.port);
            let nick = beacon.nick;
            self.heard.insert(beacon.peer, HeardPeer { nick, address });
        }
    }

    /// What sent a datagram that is no beacon of this network.
    fn classify(&self, bytes: &[u8]) -> Option<OtherProgram> {
        if let Some(go) = GoBeacon::parse(bytes) {
            return (!go.is_ours()).then_some(OtherProgram::GoP2pchat);
        }
        if Beacon::parse(bytes, &NetworkTag::OPEN, None).is_some() {
            return Some(OtherProgram::OpenNetwork);
        }
        if bytes.starts_with(b"{\"type\":\"invite\"") {
            return None;
        }
        let is_sealed = bytes.starts_with(b"{\"type\":\"sealed\"");
        Some(match is_sealed {
            true => OtherProgram::OtherSecret,
            false => OtherProgram::Unknown,
        })
    }
}
