//! `p2pchat doctor HOST`: explains one peer. What its name resolves to, the route to it, whether
//! its TCP port answers, and which key does.
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Instant;

use nix::sys::socket::{getsockopt, sockopt::IpMtu};

use super::echo::{PACKET_MAX_BYTES, is_echoed};
use super::lan_checks::mend_secret;
use super::lan_probe::{LOOKUP_TIMEOUT, probe_link};
use super::lan_report::LinkedPeer;
use super::output::print_checks;
use super::tcp_attempt::try_connect;
use crate::base::event::output::KnownPeer;
use crate::base::text::bound_name::quote_for_shell;
use crate::base::trust::level::TrustLevel;
use crate::node::acquaintances::familiarity_of;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::{Failure, quote_truncated};
use crate::shell::config::options::Options;
use crate::shell::net::interfaces::list_usable;
use crate::shell::net::resolver::look_up_within;
use crate::shell::os::clock::Clock;
use crate::shell::state::known_peers_file::read_known_peers;
use crate::shell::state::network_keys::load_network_keys;
use crate::shell::stdio::stderr::print_warnings;
use crate::ui::doctor_check::Check;
use crate::wire::code::{Endpoint, parse_endpoints};
use crate::wire::secret::NetworkKeys;

/// Maximum number of addresses of a host that are tried.
const ADDRESSES_MAX: usize = 4;
/// A packet that each path carries, in bytes.
const SMALL_PACKET_BYTES: usize = 64;
/// The smallest MTU of IPv6 (RFC 8200, section 5). A smaller one is a sign of a bad tunnel.
const MTU_MIN_BYTES: u32 = 1280;

/// Explains the peer at `host`: a host with or without a port, `ID@HOST`, or a connection code.
/// Exit status 0: it is linked, and all is well. 1: something is to be mended.
///
/// # Errors
/// Exit status 2: `host` is none. 78: the secret file or `known_peers` is unusable. 1: the system
/// refuses a socket.
pub fn run_host(options: &Options, host: &str) -> Result<ExitStatus, Failure> {
    let endpoints = parse_endpoints(host)
        .map_err(|error| Failure::usage(format!("the host {} {error}", quote_truncated(host))))?;
    let mut warnings = Vec::new();
    let keys = load_network_keys(options, &mut warnings)?;
    let known = match options.directory.as_deref() {
        Some(directory) => read_known_peers(directory, &mut warnings)?,
        None => Vec::new(),
    };
    print_warnings(&warnings);
    let mut of_endpoints = Vec::new();
    for endpoint in &endpoints {
        let mut checks = Vec::new();
        check_endpoint(options, endpoint, keys.as_ref(), &known, &mut checks)?;
        of_endpoints.push(checks);
    }
    // One of the addresses of a code is enough. At another one, such as a bridge's, each host may
    // find itself.
    if of_endpoints.iter().any(|checks| has_good_key(checks)) {
        for checks in &mut of_endpoints {
            let is_good = has_good_key(checks);
            checks.retain(|check| is_good || !check.is_finding());
        }
    }
    print_checks(options, &of_endpoints.concat())
}

/// Whether the expected key answered.
fn has_good_key(checks: &[Check]) -> bool {
    checks.iter().any(|it| it.name == "key" && !it.is_finding())
}

fn check_endpoint(
    options: &Options,
    endpoint: &Endpoint,
    keys: Option<&NetworkKeys>,
    known: &[KnownPeer],
    checks: &mut Vec<Check>,
) -> Result<(), Failure> {
    let mut addresses = match look_up_within(endpoint, LOOKUP_TIMEOUT) {
        Ok(addresses) => addresses,
        Err(error) => {
            let content = format!("{} has no address: {error}", endpoint.host);
            let mend = format!("getent ahosts '{}'", endpoint.host);
            checks.push(Check::finding("name", content, mend));
            return Ok(());
        }
    };
    addresses.truncate(ADDRESSES_MAX);
    let shown: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    checks.push(Check::ok(
        "name",
        format!("{endpoint} is {}", shown.join(" ")),
    ));
    let mut findings = Vec::new();
    let mut answering = Vec::new();
    for address in addresses {
        match check_address(address, checks) {
            None => answering.push(address),
            Some(finding) => findings.push(finding),
        }
    }
    // One of several addresses is enough.
    if answering.is_empty() {
        checks.extend(findings);
        return Ok(());
    }
    let name = endpoint.to_string();
    let linked = probe_link(options, keys, &name, &answering)?;
    checks.extend(match linked {
        Some(linked) => check_key(&linked, endpoint, known),
        None => vec![explain_missing_link(options, keys, endpoint, &answering)?],
    });
    Ok(())
}

/// Checks the route and the TCP port of an address. Returns what is wrong.
fn check_address(address: SocketAddr, checks: &mut Vec<Check>) -> Option<Check> {
    let path = match find_path(address) {
        Ok(path) => path,
        Err(error) => {
            let content = format!("no route leads to {}: {error}", address.ip());
            return Some(Check::finding("route", content, mend_route(address)));
        }
    };
    checks.push(Check::ok("route", path.describe(address.ip())));
    if let Some(mtu) = path.mtu_bytes.filter(|mtu| *mtu < MTU_MIN_BYTES) {
        let content = format!("the path to {} carries {mtu} bytes only", address.ip());
        let mend = format!("ip route get {}; ip link", address.ip());
        checks.push(Check::finding("mtu", content, mend));
    }
    let begin = Instant::now();
    if let Err(why) = try_connect(address) {
        let content = format!("{address} does not answer on TCP: {why}");
        let mend = format!("p2pchat doctor -p {}  # on that machine", address.port());
        return Some(Check::finding("port", content, mend));
    }
    let ms = begin.elapsed().as_millis();
    checks.push(Check::ok(
        "port",
        format!("{address} answers on TCP in {ms} ms"),
    ));
    if let IpAddr::V4(ip) = address.ip() {
        checks.extend(check_large_packets(ip, &path));
    }
    None
}

/// How an address without a route is reached. A link-local one needs the interface.
fn mend_route(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => {
            let usable = list_usable(&[])
                .map(|usable| usable.list)
                .unwrap_or_default();
            let card = usable.iter().find(|it| !it.is_loopback);
            let name = card.map_or("INTERFACE", |it| &it.name);
            format!("p2pchat doctor '[{}%{name}]:{}'", v6.ip(), v6.port())
        }
        _ => "ip route add default via GATEWAY  # the router's address".to_owned(),
    }
}

/// Compares small packets with the largest ones. `None`: this host may not send echo requests, or
/// the other one answers none.
fn check_large_packets(ip: Ipv4Addr, path: &PathToHost) -> Option<Check> {
    let largest = usize::try_from(path.mtu_bytes?).unwrap_or(usize::MAX);
    let largest = largest.min(PACKET_MAX_BYTES);
    let interface = path.interface.as_deref()?;
    if !is_echoed(ip, SMALL_PACKET_BYTES).ok()? {
        return None;
    }
    Some(match is_echoed(ip, largest) {
        Ok(true) => Check::ok(
            "mtu",
            format!("packets of {largest} bytes come back from {ip}"),
        ),
        _ => Check::finding(
            "mtu",
            format!("the path to {ip} loses packets of {largest} bytes without an error"),
            format!("ip link set dev {interface} mtu {MTU_MIN_BYTES}"),
        ),
    })
}

/// How packets go to a host.
struct PathToHost {
    /// Our address.
    source: IpAddr,
    /// The interface with that address.
    interface: Option<String>,
    /// What the kernel knows of the longest packet. `None` for IPv6.
    mtu_bytes: Option<u32>,
}

impl PathToHost {
    fn describe(&self, ip: IpAddr) -> String {
        let mut route = format!("{ip} is reached from {}", self.source);
        if let Some(name) = &self.interface {
            route += &format!(" over {name}");
        }
        if let Some(mtu) = self.mtu_bytes {
            route += &format!(", MTU {mtu}");
        }
        route
    }
}

/// Asks the kernel for the path to an address.
fn find_path(address: SocketAddr) -> std::io::Result<PathToHost> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => ([0; 16], 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    let source = socket.local_addr()?.ip();
    let mtu = getsockopt(&socket, IpMtu).ok();
    let mtu = mtu.and_then(|mtu| u32::try_from(mtu).ok());
    Ok(PathToHost {
        source,
        interface: interface_with(source),
        mtu_bytes: mtu.filter(|_| address.is_ipv4()),
    })
}

fn interface_with(own: IpAddr) -> Option<String> {
    let interfaces = list_usable(&[]).ok()?.list;
    let mut interfaces = interfaces.into_iter();
    let found = interfaces.find(|it| it.addresses.iter().any(|address| address.ip == own));
    found.map(|interface| interface.name)
}

/// Says why the port answers, and no link is made.
fn explain_missing_link(
    options: &Options,
    keys: Option<&NetworkKeys>,
    endpoint: &Endpoint,
    addresses: &[SocketAddr],
) -> Result<Check, Failure> {
    let name = endpoint.to_string();
    if keys.is_some() && probe_link(options, None, &name, addresses)?.is_some() {
        return Ok(Check::finding(
            "secret",
            format!("{endpoint} has no network secret, and this one has one"),
            mend_secret(options),
        ));
    }
    let what = match options.secret_file {
        Some(_) => "another network secret",
        None => "a network secret, and this one none",
    };
    let content = format!(
        "{endpoint} takes connections, and no link is made: it has {what}, or is another program"
    );
    Ok(Check::finding("secret", content, mend_secret(options)))
}

/// Says which key answered, and whether it is the one that the user expects.
fn check_key(linked: &LinkedPeer, endpoint: &Endpoint, known: &[KnownPeer]) -> Vec<Check> {
    let peer = &linked.peer;
    let (name, id) = (&peer.nick, peer.id);
    if let Some(expected) = endpoint.peer.filter(|expected| *expected != id) {
        let content = format!(
            "at {} another key answered: {name} with the id {id}",
            linked.address
        );
        let mend = format!("p2pchat whoami  # on that machine; {expected} was expected");
        return vec![Check::finding("key", content, mend)];
    }
    let levels = known.iter().filter(|it| it.id == id).map(|it| it.trust);
    let level = levels.reduce(TrustLevel::with);
    if level == Some(TrustLevel::Banned) {
        let content = format!("{peer} at {} is banned here", linked.address);
        let mend = format!("p2pchat trust unban @{id}");
        return vec![Check::finding("key", content, mend)];
    }
    let mut others = known.iter().filter(|it| it.nick == *name && it.is_bound());
    let is_bound = level.is_some_and(|level| level >= TrustLevel::Bound);
    if let Some(other) = others.find(|it| it.id != id && !is_bound) {
        let content = format!(
            "{name} at {} has the id {id}, and the name is bound to {}",
            linked.address, other.id
        );
        let mend = format!(
            "p2pchat trust add {} {id}  # if `p2pchat whoami` on that machine prints this id",
            quote_for_shell(name.as_str())
        );
        return vec![Check::finding("key", content, mend)];
    }
    let now = Clock::start().now().wall;
    let of_key = known.iter().filter(|it| it.id == id);
    let first_seen = of_key.map(|it| it.first_seen).min().unwrap_or(now);
    let level = level.unwrap_or_default();
    let level = level.describe(familiarity_of(level, first_seen, now));
    vec![Check::ok(
        "key",
        format!("{name} answers, with the id {id}: {level}"),
    )]
}
