//! What the [report](super::lan_report) of a probe means: who is heard, by which method, and what
//! is wrong if somebody is not.
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use super::lan_probe::{ResolvedStatic, probe_link};
use super::lan_report::{LanReport, LinkedPeer, OtherProgram};
use super::tcp_attempt::try_connect;
use crate::base::interface::Interface;
use crate::base::text::bound_name::quote_for_shell;
use crate::base::time::WallTime;
use crate::node::link::HearsUs;
use crate::shell::config::failure::Failure;
use crate::shell::config::options::Options;
use crate::shell::net::interfaces::{UnusedReason, list_unused, missing_names};
use crate::shell::net::multicast::BeaconMethod;
use crate::ui::doctor_check::Check;
use crate::wire::secret::NetworkKeys;

/// Longest difference of two clocks that is no finding, in milliseconds.
const CLOCK_TOLERANCE_MS: u64 = 60_000;
/// 2026-01-01: this program is younger. A clock that shows an earlier time is off.
const EARLIEST_WALL: WallTime = WallTime(1_767_225_600_000);
/// Longest list of addresses in one sentence.
const NAMED_ADDRESSES_MAX: usize = 4;
/// Maximum number of peers without a link that are dialed once more.
const DIALED_PEERS_MAX: usize = 4;

/// The names of the methods, in the order of the output.
const METHODS: [(BeaconMethod, &str); 3] = [
    (BeaconMethod::MulticastV4, "multicast"),
    (BeaconMethod::Broadcast, "broadcast"),
    (BeaconMethod::MulticastV6, "IPv6"),
];

/// Says which interfaces are used, what they sent and received, and why others are not used.
pub fn check_interfaces(options: &Options, report: &LanReport) -> Vec<Check> {
    let used = report.interfaces.iter();
    let used = used.map(|it| Check::ok("interface", describe_interface(it, report)));
    let mut checks: Vec<Check> = used.collect();
    for name in missing_names(&options.interfaces) {
        checks.push(Check::finding(
            "interface",
            format!("there is no interface {name}"),
            "ip -brief address",
        ));
    }
    let unused = list_unused(&report.interfaces, &options.interfaces).unwrap_or_default();
    for (name, reason) in &unused {
        let why = explain_unused(*reason);
        checks.push(Check::ok("interface", format!("{name} is not used: {why}")));
    }
    if options.interfaces.is_empty() && report.is_loopback_only() {
        let mend = match unused
            .iter()
            .min_by_key(|(name, reason)| mend_order(name, *reason))
        {
            Some((name, UnusedReason::Down)) => format!("ip link set {name} up"),
            Some((name, UnusedReason::NoAddress)) => {
                format!("dhclient {name} || ip address add 192.168.77.1/24 brd + dev {name}")
            }
            _ => "ip -brief link  # plug in a cable, or join a WLAN".to_owned(),
        };
        let content = match report.interfaces.is_empty() {
            true => "no interface has an address, so nobody is found",
            false => "only lo has an address, so only programs of this machine are found",
        };
        checks.push(Check::finding("interface", content, mend));
    }
    checks
}

/// Of unused interfaces, the one to mend comes first: a card, and what takes the fewest steps.
fn mend_order(name: &str, reason: UnusedReason) -> (bool, u8) {
    let is_card = Path::new("/sys/class/net")
        .join(name)
        .join("device")
        .exists();
    let steps = match reason {
        UnusedReason::NoAddress => 0,
        UnusedReason::Down => 1,
        UnusedReason::NoCarrier | UnusedReason::PointToPoint | UnusedReason::NotChosen => 2,
    };
    (!is_card, steps)
}

fn explain_unused(reason: UnusedReason) -> &'static str {
    match reason {
        UnusedReason::Down => "it is down",
        UnusedReason::NoCarrier => "it has no carrier (cable, WLAN)",
        UnusedReason::PointToPoint => "it supports neither multicast nor broadcast (a VPN?)",
        UnusedReason::NoAddress => "it has no address",
        UnusedReason::NotChosen => "--interface names others",
    }
}

fn describe_interface(interface: &Interface, report: &LanReport) -> String {
    let addresses = interface.addresses.iter().take(NAMED_ADDRESSES_MAX);
    let addresses: Vec<String> = addresses
        .map(|it| format!("{}/{}", it.ip, it.prefix_bits))
        .collect();
    let kind = describe_kind(&interface.name);
    let mut text = format!("{}{kind} has {}", interface.name, addresses.join(" "));
    for (method, name) in METHODS {
        let Some(found) = report.methods.get(&(interface.index, method)) else {
            continue;
        };
        text += &format!("; {name}: {} sent", found.sent);
        if let Some(why) = &found.refused {
            text += &format!(", refused ({why})");
        }
        let heard = found.heard.iter();
        let heard: Vec<String> = heard
            .take(NAMED_ADDRESSES_MAX)
            .map(IpAddr::to_string)
            .collect();
        text += &match heard.is_empty() {
            true => ", nobody heard".to_owned(),
            false => format!(", heard {}", heard.join(" ")),
        };
    }
    text
}

/// What sysfs says of an interface that is no card.
fn describe_kind(name: &str) -> &'static str {
    let has = |file: &str| Path::new("/sys/class/net").join(name).join(file).exists();
    match () {
        () if has("bridge") => " (a bridge, as of containers and virtual machines)",
        () if has("brport") => " (a port of a bridge)",
        () if has("tun_flags") || name.starts_with("wg") => " (a VPN)",
        () => "",
    }
}

/// Says who is linked, and who is heard but not linked. Names a method that fails where another
/// one works.
pub fn check_methods(report: &LanReport) -> Vec<Check> {
    let mut checks = Vec::new();
    for interface in report.interfaces.iter().filter(|it| !it.is_loopback) {
        let of = |method| report.methods.get(&(interface.index, method));
        for (method, name) in METHODS {
            if let Some(found) = of(method)
                && let Some(why) = &found.refused
                && found.sent == 0
            {
                checks.push(Check::finding(
                    "beacon",
                    format!(
                        "no beacon can be sent on {} by {name}: {why}",
                        interface.name
                    ),
                    "nft list ruleset  # and remove the rule of an output chain that drops it",
                ));
            }
        }
        let (Some(multicast), Some(broadcast)) =
            (of(BeaconMethod::MulticastV4), of(BeaconMethod::Broadcast))
        else {
            continue;
        };
        let fails = |one: &str, other: &str, witness: &IpAddr| {
            Check::finding(
                if one == "multicast" {
                    "multicast"
                } else {
                    "broadcast"
                },
                format!(
                    "on {} {one} from {witness} does not arrive, and {other} does",
                    interface.name
                ),
                format!("p2pchat --peer {witness}  # until the switch, or its firewall, passes it"),
            )
        };
        if multicast.heard.is_empty()
            && let Some(witness) = broadcast.heard.iter().next()
        {
            checks.push(fails("multicast", "broadcast", witness));
        } else if broadcast.heard.is_empty()
            && let Some(witness) = multicast.heard.iter().next()
        {
            checks.push(fails("broadcast", "multicast", witness));
        }
    }
    checks
}

/// Says who is linked, who is heard and not linked, and whether nobody is. `is_explained`: another
/// finding says already why nobody is heard. `wait_ms`: how long the probe ran, and
/// `interval_ms`: how often others send a beacon.
pub fn check_peers(
    report: &LanReport,
    is_explained: bool,
    wait_ms: u64,
    interval_ms: u64,
) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.extend(report.linked.values().map(|it| check_linked(report, it)));
    if report.accepted > 0 {
        let content = format!("{} connections came from others", report.accepted);
        checks.push(Check::ok("peer", content));
    }
    let unlinked = report.heard.iter();
    let unlinked = unlinked.filter(|(id, _)| !report.linked.contains_key(id));
    for (_, heard) in unlinked.take(DIALED_PEERS_MAX) {
        let (nick, address) = (&heard.nick, heard.address);
        let why = match try_connect(address) {
            Ok(()) => "it takes the connection, and makes no link".to_owned(),
            Err(why) => why,
        };
        checks.push(Check::finding(
            "connection",
            format!("{nick} at {address} is heard, and not linked: {why}"),
            format!("p2pchat doctor -p {}  # on that machine", address.port()),
        ));
    }
    if checks.is_empty() && report.others.is_empty() && !is_explained {
        let seconds = wait_ms as f64 / 1000.0;
        let content = format!("no p2pchat of another machine was heard within {seconds} s");
        let mend = match wait_ms < interval_ms {
            // As long as others may be silent.
            true => format!("p2pchat doctor -W {}", interval_ms / 1000 + 1),
            false => "p2pchat  # on another machine; where multicast does not reach: p2pchat \
                      --peer HOST"
                .to_owned(),
        };
        checks.push(Check::finding("peer", content, mend));
    }
    checks
}

/// Says whether a linked peer hears our beacons. One behind a router cannot.
fn check_linked(report: &LanReport, linked: &LinkedPeer) -> Check {
    let is_linked = format!("{} at {} is linked", linked.peer, linked.address);
    match linked.hears_us {
        HearsUs::Yes(ago_ms) => {
            let seconds = ago_ms as f64 / 1000.0;
            let content = format!("{is_linked}, and heard a beacon of ours {seconds:.1} s ago");
            Check::ok("peer", content)
        }
        HearsUs::No if report.has_sent() && report.is_on_link(linked.address.ip()) => {
            Check::finding(
                "beacon",
                format!("{is_linked}, and says that it hears no beacon of this machine"),
                format!(
                    "p2pchat doctor  # on that machine; until it hears us: p2pchat --peer {}",
                    linked.address
                ),
            )
        }
        HearsUs::No | HearsUs::Asked | HearsUs::NotAsked => Check::ok("peer", is_linked),
    }
}

/// How two machines come to have one secret: the one that has it invites the other.
pub fn mend_secret(options: &Options) -> String {
    match &options.secret_file {
        Some(file) => format!(
            "p2pchat invite --secret-file {}  # on that machine: p2pchat join CODE --secret-file FILE",
            quote_for_shell(&file.display().to_string())
        ),
        None => {
            "p2pchat join CODE --secret-file FILE  # CODE is what `p2pchat invite` prints there"
                .to_owned()
        }
    }
}

/// Names the programs that are not of this network.
pub fn check_others(options: &Options, report: &LanReport) -> Vec<Check> {
    // A beacon goes out by all methods, so an IPv6 address is mostly one of the same program.
    let has_v4 = |kind: &OtherProgram| {
        let mut others = report.others.iter();
        others.any(|(other, ip)| other == kind && ip.is_ipv4())
    };
    let others = report.others.iter();
    let others = others.filter(|(kind, ip)| ip.is_ipv4() || !has_v4(kind));
    let checks = others.filter_map(|(kind, ip)| match kind {
        OtherProgram::OtherSecret => {
            let content = match options.secret_file {
                None => format!("a p2pchat at {ip} has a network secret, and this one has none"),
                Some(_) => format!("a p2pchat at {ip} has another network secret"),
            };
            Some(Check::finding("secret", content, mend_secret(options)))
        }
        OtherProgram::OpenNetwork => Some(Check::finding(
            "secret",
            format!("a p2pchat at {ip} has no network secret, and this one has one"),
            mend_secret(options),
        )),
        OtherProgram::GoP2pchat if options.go_room => None,
        OtherProgram::GoP2pchat => Some(Check::finding(
            "program",
            format!("{ip} uses the p2pchat in Go, which has another protocol"),
            "p2pchat --go-room",
        )),
        OtherProgram::Unknown => Some(Check::finding(
            "program",
            format!("{ip} sends something to our group that is none of p2pchat's"),
            "p2pchat -m 224.0.0.1:9998  # the same on all machines",
        )),
    });
    checks.collect()
}

/// Compares this clock with those of the linked peers.
pub fn check_clock(report: &LanReport, now: WallTime) -> Check {
    let mend = "timedatectl set-ntp true";
    if now < EARLIEST_WALL {
        let content = format!("this machine's clock shows {now}, which is long past");
        return Check::finding("clock", content, mend);
    }
    let linked = report.linked.values();
    let known = linked.filter_map(|it| Some((it, it.clock_ahead_ms?)));
    let is_off = |ahead_ms: i64| ahead_ms.unsigned_abs() > CLOCK_TOLERANCE_MS;
    let count = known.clone().count();
    let mut off = known.filter(|(_, ahead_ms)| is_off(*ahead_ms));
    let others_off = off.clone().count();
    let Some((first, ahead_ms)) = off.next() else {
        return match count {
            0 => Check::ok("clock", "nobody is linked to compare it with"),
            _ => Check::ok("clock", "it agrees with those of the linked peers"),
        };
    };
    let seconds = ahead_ms.unsigned_abs() / 1000;
    let direction = if ahead_ms > 0 { "ahead of" } else { "behind" };
    let nick = &first.peer.nick;
    let (whose, place) = match others_off {
        1 if count == 1 => ("one of the two is off".to_owned(), "  # on both".to_owned()),
        _ if others_off * 2 > count => ("this one is off".to_owned(), String::new()),
        _ => (
            format!("that of {nick} is off"),
            format!("  # on the machine of {nick}"),
        ),
    };
    let content = format!(
        "the clock of {} is {seconds} s {direction} this one: {whose}",
        first.peer
    );
    Check::finding("clock", content, format!("{mend}{place}"))
}

/// Says whether a static peer was linked. One that has a link is not dialed at its other addresses:
/// such an address is tried here.
///
/// # Errors
/// Exit status 1: the system refuses a socket.
pub fn check_static_peer(
    options: &Options,
    keys: Option<&NetworkKeys>,
    report: &LanReport,
    known: &ResolvedStatic,
) -> Result<Check, Failure> {
    let endpoint = &known.endpoint;
    let is_expected = |linked: &LinkedPeer| known.peer.is_none_or(|peer| peer == linked.peer.id);
    let mut linked = report.linked.values().filter(|it| is_expected(it));
    if let Some(linked) = linked.find(|it| known.addresses.contains(&it.address)) {
        let content = format!("{endpoint} is {}", linked.peer);
        return Ok(Check::ok("static", content));
    }
    if let Some(linked) = known.peer.and_then(|peer| report.linked.get(&peer)) {
        let content = format!(
            "{} of {endpoint} is linked, at {}",
            linked.peer, linked.address
        );
        return Ok(Check::ok("static", content));
    }
    let answering = known.addresses.first().map(|it| try_connect(*it));
    let why = match answering {
        None => "its name has no address".to_owned(),
        Some(Err(why)) => why,
        Some(Ok(())) => match probe_link(options, keys, endpoint, &known.addresses)? {
            Some(linked) if is_expected(&linked) => {
                let content = format!("{endpoint} is {}", linked.peer);
                return Ok(Check::ok("static", content));
            }
            Some(linked) => format!("it is {}, with another key", linked.peer),
            None => "it takes the connection, and is no p2pchat of this network".to_owned(),
        },
    };
    let content = format!("{endpoint} is not linked: {why}");
    let mend = format!("p2pchat doctor '{endpoint}'");
    Ok(Check::finding("static", content, mend))
}

/// Connects to the TCP port at our own addresses, which are other ones than that of the caller.
pub fn check_own_port(report: &LanReport, port: u16) -> Vec<Check> {
    let mut checks = Vec::new();
    for interface in &report.interfaces {
        let mut addresses = interface.addresses.iter().map(|it| it.ip);
        let Some(ip) = addresses.find(|ip| ip.is_ipv4() || ip.is_loopback()) else {
            continue;
        };
        let address = SocketAddr::new(ip, port);
        checks.push(match try_connect(address) {
            Ok(()) => Check::ok("port", format!("TCP port {port} answers at {ip}")),
            Err(why) => Check::finding(
                "port",
                format!("TCP port {port} does not answer at {ip}: {why}"),
                format!("nft list ruleset; ss -ltnp 'sport = :{port}'"),
            ),
        });
    }
    checks
}

/// The multicast group and its port, as the firewall sees them.
pub fn group_of(options: &Options) -> Option<(Ipv4Addr, u16)> {
    options.multicast.map(|group| (*group.ip(), group.port()))
}

#[cfg(test)]
mod tests {
    use super::{HearsUs, LanReport, check_clock};
    use crate::base::event::peer::Peer;
    use crate::base::identity::{Identity, NetworkTag};
    use crate::base::name::Nick;
    use crate::base::table::{SortedMap, SortedSet};
    use crate::base::time::WallTime;
    use crate::shell::commands::doctor::lan_report::LinkedPeer;

    /// Linked peers whose clocks are so many seconds ahead.
    fn linked(ahead: &[i64]) -> LanReport {
        let mut linked = SortedMap::new();
        for (number, seconds) in ahead.iter().enumerate() {
            let id = Identity::from_seed(&[number as u8; 32]).id();
            let nick = Nick::new("bob").expect("a name");
            let peer = LinkedPeer {
                peer: Peer { id, nick },
                address: ([10, 0, 0, 1], 9999).into(),
                clock_ahead_ms: Some(seconds * 1000),
                hears_us: HearsUs::NotAsked,
            };
            linked.insert(id, peer);
        }
        LanReport {
            network: NetworkTag::OPEN,
            beacon_key: None,
            own_ids: Vec::new(),
            counts_own_host: false,
            interfaces: Vec::new(),
            methods: SortedMap::new(),
            heard: SortedMap::new(),
            linked,
            others: SortedSet::new(),
            accepted: 0,
        }
    }

    #[test]
    fn the_clock_that_is_off_is_named() {
        let now = WallTime::parse("2026-11-29T10:00:00Z").expect("a time");
        for (ahead, expected) in [
            (&[][..], None),
            (&[1, -1, 59], None),
            (&[3600], Some("one of the two is off")),
            (&[3600, 3601, 0], Some("this one is off")),
            (&[0, -90, 1], Some("that of bob is off")),
        ] {
            let check = check_clock(&linked(ahead), now);
            assert_eq!(check.is_finding(), expected.is_some(), "{check:?}");
            let is_said = |it: &str| check.content.contains(it);
            assert!(expected.is_none_or(is_said), "{check:?}");
        }
        assert!(check_clock(&linked(&[0]), WallTime(0)).is_finding());
    }
}
