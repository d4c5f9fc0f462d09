//! Runs all checks, and prints what they found.
use std::io::{self, IsTerminal as _};

use super::directory::check_state;
use super::finders::check_finders;
use super::firewall::check_firewall;
use super::host::run_host;
use super::lan_checks::{
    check_clock, check_interfaces, check_methods, check_others, check_own_port, check_peers,
    check_static_peer, group_of,
};
use super::lan_probe::{LOOKUP_TIMEOUT, LanProbe, ResolvedStatic};
use super::output::print_checks;
use super::routes::check_routes;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::config::options::Options;
use crate::shell::config::values::Verbosity;
use crate::shell::ipc::attach;
use crate::shell::net::resolver::look_up_within;
use crate::shell::os::clock::Clock;
use crate::shell::state::network_keys::load_network_keys;
use crate::shell::stdio::stderr::{print_sentence, print_warnings};
use crate::ui::doctor_check::Check;
use crate::ui::session_event::Ready;
use crate::wire::code::DEFAULT_PORT;

/// Longest time between two beacons of a peer without `--interval`, in milliseconds.
const BEACON_INTERVAL_MS: u64 = 10_000;
/// Added to that interval, in milliseconds: for a beacon that is on its way.
const WAIT_MARGIN_MS: u64 = 1_000;

/// Runs all checks of this host, or with a HOST those of that peer. Exit status 0: all is well. 1:
/// something is to be mended.
///
/// # Errors
/// Exit status 2: the HOST is none. 78: the secret file is unusable. 1: the system refuses a
/// socket.
pub fn run_doctor(options: &Options) -> Result<ExitStatus, Failure> {
    match &options.text {
        Some(host) => run_host(options, &String::from_utf8_lossy(host)),
        None => check_here(options),
    }
}

fn check_here(options: &Options) -> Result<ExitStatus, Failure> {
    let mut warnings = Vec::new();
    let keys = load_network_keys(options, &mut warnings)?;
    print_warnings(&warnings);
    let mut checks = match options.directory.as_deref() {
        Some(directory) => check_state(directory),
        None => Vec::new(),
    };
    let running = running_program(options)?;
    if let Some(ready) = &running {
        let content = format!("{} runs here, on TCP port {}", ready.me, ready.port);
        checks.push(Check::ok("running", content));
        let directory = options.directory.as_deref();
        checks.extend(directory.map(check_finders).unwrap_or_default());
    }
    let interval_ms = options.timing.interval_ms.unwrap_or(BEACON_INTERVAL_MS);
    let wait_ms = options.wait_ms.unwrap_or(interval_ms + WAIT_MARGIN_MS);
    if io::stderr().is_terminal() && options.verbosity > Verbosity::Quiet {
        print_sentence(&format!("listening for {} s", wait_ms as f64 / 1000.0));
    }
    let running_id = running.as_ref().map(|ready| ready.me.id);
    let probe = LanProbe::new(options, keys.as_ref(), running_id)?;
    let static_peers = look_up_static_peers(options);
    let listener = running.as_ref().map(|ready| ready.port);
    let report = probe.run(wait_ms, &static_peers)?;

    let tcp_port = listener.or(options.port.filter(|port| *port != 0));
    let firewall_port = tcp_port.unwrap_or(DEFAULT_PORT);
    checks.extend(check_interfaces(options, &report));
    checks.extend(check_routes(&report.interfaces));
    let firewall = check_firewall(&report.interfaces, group_of(options), firewall_port);
    if let Some(port) = listener {
        checks.extend(check_own_port(&report, port));
    }
    // One cause is named once.
    let is_network_down = options.interfaces.is_empty() && report.is_loopback_only();
    let is_explained = firewall.is_finding() || is_network_down || options.multicast.is_none();
    if !firewall.is_finding() {
        checks.extend(check_methods(&report));
    }
    checks.push(firewall);
    checks.extend(check_peers(&report, is_explained, wait_ms, interval_ms));
    for known in &static_peers {
        checks.push(check_static_peer(options, keys.as_ref(), &report, known)?);
    }
    checks.extend(check_others(options, &report));
    checks.push(check_clock(&report, Clock::start().now().wall));
    print_checks(options, &checks)
}

/// The program that runs in the directory, if there is one.
fn running_program(options: &Options) -> Result<Option<Ready>, Failure> {
    let directory = options.directory.as_deref();
    let consequence = "its port is not known";
    let running = directory.map(|directory| attach::probe_running(directory, consequence));
    Ok(running.transpose()?.flatten())
}

fn look_up_static_peers(options: &Options) -> Vec<ResolvedStatic> {
    let with_host = options.static_peers.iter();
    let with_host = with_host.filter(|it| it.peer_without_host().is_none());
    let looked_up = with_host.map(|endpoint| ResolvedStatic {
        endpoint: endpoint.to_string(),
        peer: endpoint.peer,
        addresses: look_up_within(endpoint, LOOKUP_TIMEOUT).unwrap_or_default(),
    });
    looked_up.collect()
}
