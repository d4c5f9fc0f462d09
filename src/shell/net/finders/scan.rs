//! Tries the TCP port of all addresses of some subnets (`--scan`), slowly and seldom.
use std::io::{self, IsTerminal as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::base::interface::Interface;
use crate::base::table::SortedSet;
use crate::shell::config::scan_target::{ScanTarget, first_address};
use crate::shell::net::finders::reporter::Reporter;
use crate::shell::net::interfaces::addresses_v4;
use crate::shell::net::{dial, interfaces};

/// Time between two probes: 50 a second.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);
/// How long an address has to answer. At most 76 probes are therefore under way.
const PROBE_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Time from the end of a scan to the next one, unless we get a new address before.
const SCAN_INTERVAL: Duration = Duration::from_secs(3_600);
/// Time to the next look at our addresses.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// Shortest prefix of an own subnet that is scanned without being named, in bits.
const OWN_PREFIX_MIN_BITS: u8 = 22;
/// Time between two lines about the progress, at a terminal.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// What the finder must know of the run.
pub struct ScanConfig {
    /// What to scan.
    pub target: ScanTarget,
    /// The names of the interfaces whose subnets are our own. Empty: all.
    pub interfaces: Vec<String>,
    /// Our TCP port.
    pub own_port: u16,
}

/// Scans once an hour, and when we have a new address, until the program ends.
pub fn run(config: &ScanConfig, reporter: &Reporter) {
    // The addresses that we have had within the hour.
    let mut seen = SortedSet::new();
    loop {
        let usable = interfaces::list_usable(&config.interfaces);
        let own = usable.map(|usable| usable.list).unwrap_or_default();
        if own.is_empty() && !config.interfaces.is_empty() {
            reporter.set_trouble(Some("no interface of --interface is up".to_owned()));
            sleep(RETRY_INTERVAL);
            continue;
        }
        let subnets = match config.target.subnet {
            Some(subnet) => vec![subnet],
            None => own_subnets(&own),
        };
        if subnets.is_empty() {
            let bits = OWN_PREFIX_MIN_BITS;
            let trouble = format!("no own subnet of a /{bits} or smaller: name one to scan");
            reporter.set_trouble(Some(trouble));
            sleep(RETRY_INTERVAL);
            continue;
        }
        let addresses: Vec<SocketAddr> = subnets
            .iter()
            .flat_map(|(first, bits)| host_addresses(*first, *bits))
            .map(|address| SocketAddr::new(address.into(), config.target.port))
            .filter(|address| !is_own(&own, config.own_port, address))
            .collect();
        let allowed = own.iter().filter(|_| !config.interfaces.is_empty());
        let allowed: Vec<&Interface> = allowed.collect();
        let trouble = scan(&addresses, &allowed, reporter)
            .err()
            .map(|it| it.to_string());
        reporter.set_trouble(trouble);
        seen.extend(ipv4_addresses(&own));
        let end = Instant::now() + SCAN_INTERVAL;
        // The network may come after the start, or be another one later. An address that goes and
        // comes, as a bridge's does, makes no scan.
        while !has_new_address(&seen, config) {
            if Instant::now() >= end {
                seen = SortedSet::new();
                break;
            }
            sleep(RETRY_INTERVAL);
        }
    }
}

/// Whether an interface to scan from has an IPv4 address that is not among those seen.
fn has_new_address(seen: &SortedSet<(Ipv4Addr, u8)>, config: &ScanConfig) -> bool {
    interfaces::list_usable(&config.interfaces).is_ok_and(|usable| {
        let mut addresses = ipv4_addresses(&usable.list);
        addresses.any(|address| !seen.contains(&address))
    })
}

fn ipv4_addresses(own: &[Interface]) -> impl Iterator<Item = (Ipv4Addr, u8)> {
    own.iter().flat_map(addresses_v4)
}

/// The IPv4 subnets of these interfaces that are small enough, each once.
pub fn own_subnets(own: &[Interface]) -> Vec<(Ipv4Addr, u8)> {
    let addresses = own.iter().filter(|it| !it.is_loopback);
    let mut subnets: Vec<(Ipv4Addr, u8)> = addresses
        .flat_map(|interface| &interface.addresses)
        .filter_map(|address| match address.ip {
            IpAddr::V4(ip) if address.prefix_bits >= OWN_PREFIX_MIN_BITS => {
                Some((first_address(ip, address.prefix_bits), address.prefix_bits))
            }
            _ => None,
        })
        .collect();
    subnets.sort_unstable();
    subnets.dedup();
    subnets
}

/// The addresses of a subnet that hosts can have: without the first and the last one, unless there
/// are two at most.
pub fn host_addresses(first: Ipv4Addr, prefix_bits: u8) -> impl Iterator<Item = Ipv4Addr> {
    let first = u32::from(first);
    let last_offset = u32::MAX.checked_shr(prefix_bits.into()).unwrap_or(0);
    let skipped = u32::from(last_offset > 1);
    (skipped..=last_offset - skipped).map(move |offset| Ipv4Addr::from(first.wrapping_add(offset)))
}

fn is_own(own: &[Interface], own_port: u16, address: &SocketAddr) -> bool {
    let mut addresses = own.iter().flat_map(|interface| &interface.addresses);
    address.port() == own_port && addresses.any(|own| own.ip == address.ip())
}

/// A connection that is being established.
struct Probe {
    token: Token,
    stream: TcpStream,
    address: SocketAddr,
    deadline: Instant,
}

/// Tries each address once, and reports those that accept a connection. `allowed`: the interfaces
/// to use; empty: the routes of the host decide.
fn scan(addresses: &[SocketAddr], allowed: &[&Interface], reporter: &Reporter) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(64);
    let mut probes: Vec<Probe> = Vec::new();
    let mut waiting = addresses.iter().enumerate();
    let mut found = 0;
    let is_terminal = io::stderr().is_terminal();
    let mut next_line = Instant::now() + PROGRESS_INTERVAL;
    let mut last_error = None;
    loop {
        match waiting.next() {
            None if probes.is_empty() => break,
            None => {}
            Some((number, address)) => match start(&poll, *address, allowed, number) {
                Ok(probe) => probes.push(probe),
                Err(error) => last_error = Some(error),
            },
        }
        let next_probe = Instant::now() + PROBE_INTERVAL;
        while let wait = next_probe.saturating_duration_since(Instant::now())
            && !wait.is_zero()
        {
            if let Err(error) = poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(error);
            }
            found += finish(&mut probes, &events, reporter);
        }
        let now = Instant::now();
        probes.retain(|probe| probe.deadline > now);
        if is_terminal && next_line <= now {
            next_line = now + PROGRESS_INTERVAL;
            let done = addresses.len() - waiting.len();
            reporter.say(format!(
                "scan: {done} of {} addresses, {found} answer",
                addresses.len()
            ));
        }
    }
    reporter.say(format!(
        "scan: tried {} addresses, {found} answer",
        addresses.len()
    ));
    last_error.map_or(Ok(()), Err)
}

fn start(
    poll: &Poll,
    address: SocketAddr,
    allowed: &[&Interface],
    number: usize,
) -> io::Result<Probe> {
    let mut on_link = allowed.iter().filter(|it| it.is_on_link(address.ip()));
    let device = on_link.next().or(allowed.first()).map(|it| &*it.name);
    let mut stream = dial::connect(address, device, None)?;
    poll.registry()
        .register(&mut stream, Token(number), Interest::WRITABLE)?;
    Ok(Probe {
        token: Token(number),
        stream,
        address,
        deadline: Instant::now() + PROBE_TIMEOUT,
    })
}

/// Ends the probes that have an event, and reports their addresses if they are connected. Returns
/// the number of these.
fn finish(probes: &mut Vec<Probe>, events: &Events, reporter: &Reporter) -> usize {
    let mut found = 0;
    for event in events {
        let is_connected = |probe: &Probe| {
            matches!(probe.stream.take_error(), Ok(None)) && probe.stream.peer_addr().is_ok()
        };
        probes.retain(|probe| {
            let is_of_event = event.token() == probe.token;
            if is_of_event && is_connected(probe) {
                reporter.report(None, vec![probe.address]);
                found += 1;
            }
            !is_of_event
        });
    }
    found
}
