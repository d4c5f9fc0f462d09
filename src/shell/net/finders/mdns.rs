//! Finds peers by multicast DNS, and announces this program there.
//!
//! `mdns-sd` has a thread of its own. This finder has two more: one waits for services, the other
//! for what the library reports about itself.
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::thread::sleep;
use std::time::{Duration, Instant};

use mdns_sd::{
    DaemonEvent, Error, IfKind, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo,
};
use socket2::{Domain, Socket, Type};

use crate::base::event::peer::Peer;
use crate::base::hex;
use crate::base::identity::PeerId;
use crate::shell::net::finders::reporter::Reporter;
use crate::shell::net::interfaces;
use crate::shell::os::clock;
use crate::shell::os::thread;
use crate::wire::mdns;
use crate::wire::mdns::{Announcer, ID_KEY, NETWORK_KEY, SERVICE_TYPE};

/// The UDP port of multicast DNS.
const MDNS_PORT: u16 = 5353;
/// Time to the next attempt if multicast DNS cannot be used.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// How often the services that are still announced are reported again. The address book forgets
/// addresses that do not answer.
const REPEAT_INTERVAL: Duration = Duration::from_secs(60);
/// How often the size of the library's memory is checked, at most.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// CPU time that this process uses between two checks, at least. Each check wakes two threads, and
/// an idle process uses that time in half a minute. Answers that fill the memory take 45 ms.
const CHECKED_CPU_TIME: Duration = Duration::from_millis(20);
/// Longest time for the library to tell that size.
const METRICS_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum number of records and timers that the library may keep: about 7 MB, as a record has two
/// timers. Beyond it, the library is ended, and started again after [`RETRY_INTERVAL`].
const CACHE_MAX: i64 = 32_768;
/// Maximum number of services that are reported again. Further ones are reported once.
const SERVICES_MAX: usize = 64;
/// Maximum number of addresses of one service. The best ones are used.
const ADDRESSES_MAX: usize = 4;
/// Longest time until the announcement is withdrawn, as the program ends.
const WITHDRAW_TIMEOUT: Duration = Duration::from_millis(100);

/// What the finder must know of the run.
pub struct MdnsConfig {
    /// Our key and name.
    pub own: Peer,
    /// Our TCP port.
    pub port: u16,
    /// The key for the beacons of a closed network.
    pub beacon_key: Option<[u8; 32]>,
    /// A random number of this run.
    pub salt: u64,
    /// The names of the interfaces to use. Empty: all.
    pub interfaces: Vec<String>,
    /// Whether to announce this program. One that leaves soon only looks for others.
    pub announces: bool,
}

/// A service that is announced now.
struct KnownService {
    full_name: String,
    peer: Option<PeerId>,
    addresses: Vec<SocketAddr>,
}

/// Finds peers until the program ends. If multicast DNS cannot be used, tries again.
pub fn run(config: &MdnsConfig, reporter: &Reporter) {
    loop {
        let trouble = match check_port() {
            Ok(()) => match run_daemon(config, reporter) {
                Ok(never) => match never {},
                Err(error) => error.to_string(),
            },
            Err(error) => format!("UDP port {MDNS_PORT} cannot be shared: {error}"),
        };
        reporter.set_trouble(Some(trouble));
        sleep(RETRY_INTERVAL);
    }
}

/// Whether the port can be shared with other programs. The library is silent about that.
fn check_port() -> std::io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, MDNS_PORT)).into())
}

/// Runs the library until it fails, and ends its thread then. Only that frees its memory.
fn run_daemon(config: &MdnsConfig, reporter: &Reporter) -> Result<Infallible, Error> {
    let daemon = ServiceDaemon::new()?;
    let result = find_services(&daemon, config, reporter);
    let _ = daemon.shutdown();
    result
}

/// Whether the library keeps more than [`CACHE_MAX`] records and timers. It takes all answers of
/// the LAN, for as long as their senders wish.
fn is_flooded(daemon: &ServiceDaemon) -> Result<bool, Error> {
    let metrics = daemon.get_metrics()?;
    let Ok(metrics) = metrics.recv_timeout(METRICS_TIMEOUT) else {
        return Ok(true);
    };
    let kept = metrics
        .iter()
        .filter(|(name, _)| name.starts_with("cached-") || *name == "timer");
    Ok(kept.map(|(_, count)| count).sum::<i64>() > CACHE_MAX)
}

fn find_services(
    daemon: &ServiceDaemon,
    config: &MdnsConfig,
    reporter: &Reporter,
) -> Result<Infallible, Error> {
    let is_loopback_alone = restrict_interfaces(daemon, &config.interfaces)?;
    watch(daemon, reporter)?;
    let mut services = daemon.browse(SERVICE_TYPE)?;
    reporter.set_trouble(None);
    let own_name = match config.announces {
        true => announce(daemon, config, reporter)?,
        false => String::new(),
    };
    let mut known: Vec<KnownService> = Vec::new();
    let mut repeat_at = Instant::now() + REPEAT_INTERVAL;
    let mut check_at = Instant::now() + CHECK_INTERVAL;
    let mut checked_cpu_time = Duration::ZERO;
    loop {
        if check_at <= Instant::now() {
            check_at = Instant::now() + CHECK_INTERVAL;
            let cpu_time = clock::cpu_time();
            let next = checked_cpu_time + CHECKED_CPU_TIME;
            if cpu_time.is_none_or(|used| used >= next) {
                checked_cpu_time = cpu_time.unwrap_or_default();
                if is_flooded(daemon)? {
                    return Err(Error::Msg("too many answers are kept".to_owned()));
                }
            }
        }
        let wait = repeat_at
            .min(check_at)
            .saturating_duration_since(Instant::now());
        match services.recv_timeout(wait) {
            Ok(ServiceEvent::ServiceResolved(service)) if service.fullname != own_name => {
                handle_service(config, reporter, &mut known, &service, is_loopback_alone);
            }
            Ok(ServiceEvent::ServiceRemoved(_, full_name)) => {
                known.retain(|service| service.full_name != full_name);
            }
            Ok(_) => {}
            // A flood of answers ends the subscription.
            Err(_) if services.is_disconnected() => {
                reporter.set_trouble(Some("too many answers at once".to_owned()));
                sleep(RETRY_INTERVAL);
                known.clear();
                services = daemon.browse(SERVICE_TYPE)?;
                reporter.set_trouble(None);
            }
            Err(_) if repeat_at > Instant::now() => {}
            Err(_) => {
                repeat_at = Instant::now() + REPEAT_INTERVAL;
                for service in &known {
                    reporter.report(service.peer, service.addresses.clone());
                }
            }
        }
    }
}

/// Uses the named interfaces only. Without names, uses all but loopback, unless that is alone.
/// Returns whether it is.
fn restrict_interfaces(daemon: &ServiceDaemon, names: &[String]) -> Result<bool, Error> {
    let usable = interfaces::list_usable(names);
    let is_loopback_alone = usable.is_ok_and(|usable| usable.list.iter().all(|it| it.is_loopback));
    if !names.is_empty() {
        daemon.disable_interface(IfKind::All)?;
        daemon.enable_interface(names.iter().map(IfKind::from).collect::<Vec<_>>())?;
    } else if !is_loopback_alone {
        daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
    }
    Ok(is_loopback_alone)
}

/// Counts announcements and reports errors of the library, in a thread of its own.
fn watch(daemon: &ServiceDaemon, reporter: &Reporter) -> Result<(), Error> {
    let events = daemon.monitor()?;
    let reporter = reporter.clone();
    let work = move || {
        while let Ok(event) = events.recv() {
            match event {
                DaemonEvent::Announce(..) => reporter.record_announced(),
                DaemonEvent::Error(error) => reporter.set_trouble(Some(error.to_string())),
                _ => {}
            }
        }
    };
    thread::spawn_helper("mdns-watch", Box::new(work))
        .map_err(|error| Error::Msg(format!("its thread cannot be started: {error}")))
}

/// Announces this program. Returns the full name of the service.
fn announce(
    daemon: &ServiceDaemon,
    config: &MdnsConfig,
    reporter: &Reporter,
) -> Result<String, Error> {
    let key = config.beacon_key.as_ref();
    let instance = mdns::instance(&config.own, key.is_some(), config.salt);
    // Addresses belong to a host name. One of our own leaves that of the system alone.
    let host = format!("p2pchat-{}.local.", hex::format(config.salt));
    let properties = [mdns::property(config.own.id, key, config.salt)];
    let service = ServiceInfo::new(
        SERVICE_TYPE,
        &instance,
        &host,
        "",
        config.port,
        &properties[..],
    )?;
    let full_name = service.get_fullname().to_owned();
    daemon.register(service.enable_addr_auto())?;
    let (daemon, name) = (daemon.clone(), full_name.clone());
    reporter.set_withdrawal(Box::new(move || {
        if let Ok(status) = daemon.unregister(&name) {
            let _ = status.recv_timeout(WITHDRAW_TIMEOUT);
        }
    }));
    Ok(full_name)
}

/// Reports a service, unless it belongs to another network, or nothing of it has changed.
fn handle_service(
    config: &MdnsConfig,
    reporter: &Reporter,
    known: &mut Vec<KnownService>,
    service: &ResolvedService,
    is_loopback_alone: bool,
) {
    let property = |key| service.get_property_val(key).flatten();
    let key = config.beacon_key.as_ref();
    let peer = match mdns::announcer(property(ID_KEY), property(NETWORK_KEY), key) {
        Announcer::Peer(peer) if peer == config.own.id => return,
        Announcer::Peer(peer) => Some(peer),
        Announcer::Unnamed => None,
        Announcer::Foreign => return,
    };
    let mut addresses = usable_addresses(service.get_addresses(), service.get_port());
    // Else anybody on the LAN could have us dial the services of our own host.
    addresses.retain(|it| is_loopback_alone || !it.ip().is_loopback());
    let position = known.iter().position(|it| it.full_name == service.fullname);
    let is_known = position.and_then(|index| known.get(index));
    if is_known.is_some_and(|it| (it.peer, &it.addresses) == (peer, &addresses))
        || addresses.is_empty()
    {
        return;
    }
    reporter.report(peer, addresses.clone());
    if let Some(index) = position {
        known.remove(index);
    }
    if known.len() < SERVICES_MAX {
        known.push(KnownService {
            full_name: service.fullname.clone(),
            peer,
            addresses,
        });
    }
}

/// The addresses to dial, the best ones first: IPv4, IPv6, and IPv6 on the link. Loopback addresses
/// are left out, unless there is no other.
pub fn usable_addresses<'a>(
    addresses: impl IntoIterator<Item = &'a ScopedIp>,
    port: u16,
) -> Vec<SocketAddr> {
    let rank = |ip: &IpAddr| match ip {
        IpAddr::V4(_) => 0,
        IpAddr::V6(ip) if !ip.is_unicast_link_local() => 1,
        IpAddr::V6(_) => 2,
    };
    let mut usable: Vec<SocketAddr> = addresses
        .into_iter()
        .map(|address| match address {
            ScopedIp::V6(v6) if v6.addr().is_unicast_link_local() => {
                SocketAddrV6::new(*v6.addr(), port, 0, v6.scope_id().index).into()
            }
            other => SocketAddr::new(other.to_ip_addr(), port),
        })
        .collect();
    usable.sort_by_key(|it| (it.ip().is_loopback(), rank(&it.ip()), *it));
    usable.dedup();
    if usable
        .first()
        .is_some_and(|first| !first.ip().is_loopback())
    {
        usable.retain(|it| !it.ip().is_loopback());
    }
    usable.truncate(ADDRESSES_MAX);
    usable
}
