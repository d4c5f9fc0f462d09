//! The real program on several hosts of a LAN: discovery, delivery, and recovery when cables,
//! hosts and programs fail.

#[path = "../support/hosts/mod.rs"]
mod hosts;

mod crash;
mod damage;
#[cfg(feature = "dht")]
mod dht;
mod direct;
mod discovery;
#[cfg(feature = "doctor")]
mod doctor;
#[cfg(feature = "doctor")]
mod doctor_host;
mod faults;
mod fork;
#[cfg(feature = "grenache")]
mod grenache;
#[cfg(feature = "grenache")]
mod grenache_room;
#[cfg(feature = "guests")]
mod guests;
#[cfg(feature = "invite")]
mod invites;
mod main_job;
#[cfg(feature = "mdns")]
mod mdns;
#[cfg(feature = "nat")]
mod nat;
mod news;
mod partition;
mod routed;
#[cfg(feature = "scan")]
mod scan;
mod stopped;
mod support;
#[cfg(feature = "upnp")]
mod upnp;

use std::time::{Duration, Instant};

use hosts::lan::Lan;
use hosts::program::{Program, TIMEOUT};

/// A peer whose path or process has failed is printed as left within this time. Kernel timers
/// of 9 to 14 s decide, not the speed of the machine.
pub const PEER_TIMEOUT: Duration = Duration::from_secs(15);

/// Whether this transcript line is this event of this peer.
fn is_event(line: &str, nick: &str, event: &str) -> bool {
    line.contains(&format!(" * {nick}~")) && line.ends_with(event)
}

/// How many lines say that a peer of this name did this (`joined` or `left`).
pub fn count_events(lines: &[String], nick: &str, event: &str) -> usize {
    let events = lines.iter().filter(|line| is_event(line, nick, event));
    events.count()
}

/// Waits until the program has printed this event of this peer `times` times.
pub fn wait_event(program: &Program, nick: &str, event: &str, times: usize, limit: Duration) {
    program
        .out
        .wait_all(limit, |lines| count_events(lines, nick, event) >= times);
}

/// Waits until the program has printed that a peer of this name joined.
pub fn wait_joined(program: &Program, nick: &str) {
    wait_event(program, nick, "joined", 1, TIMEOUT);
}

/// Waits until each of these programs has printed that each other one joined.
pub fn wait_mesh(programs: &[&Program]) {
    for program in programs {
        for other in programs {
            if other.name != program.name {
                wait_joined(program, &other.name);
            }
        }
    }
}

/// The texts of the chat lines of this author, in order.
pub fn messages(lines: &[String], nick: &str) -> Vec<String> {
    lines
        .iter()
        .filter_map(|line| line.split_once(' ')?.1.split_once(": "))
        .filter(|(who, _)| who.contains(&format!(" {nick}~")))
        .map(|(_, content)| content.to_owned())
        .collect()
}

/// Waits until `history` prints the same bytes for all these users, given as (host, name), in
/// JSON and in text. Returns its lines.
///
/// # Panics
/// The histories still differ after the limit, or hold another number of lines than `total`.
pub fn wait_same_history(lan: &Lan, users: &[(usize, &str)], total: usize) -> Vec<String> {
    let printed = |options: &[&str]| -> Vec<String> {
        let all = users.iter();
        all.map(|(host, name)| lan.hosts[*host].history(name, options))
            .collect()
    };
    let end = Instant::now() + 2 * TIMEOUT;
    loop {
        let json = printed(&["--json"]);
        let differs = json.iter().position(|other| *other != json[0]);
        let counts: Vec<usize> = json.iter().map(|text| text.lines().count()).collect();
        if differs.is_none() && counts[0] >= total {
            break;
        }
        let mut pairs = json[0].lines().zip(json[differs.unwrap_or(0)].lines());
        assert!(
            Instant::now() < end,
            "{counts:?} of {total} lines at {users:?}; {differs:?} differs from the first in {:?}",
            pairs.find(|(one, other)| one != other),
        );
    }
    let text = printed(&[]);
    for (printed, user) in text.iter().zip(users) {
        assert!(*printed == text[0], "what is printed at {user:?}");
    }
    let lines: Vec<String> = text[0].lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), total, "lines in all");
    lines
}

/// Waits for as many lines of this author as expected.
///
/// # Panics
/// Their texts differ from the expected ones.
pub fn wait_messages(program: &Program, nick: &str, expected: &[&str], limit: Duration) {
    program
        .out
        .wait_all(limit, |lines| messages(lines, nick).len() >= expected.len());
    assert_eq!(
        messages(&program.out.all(), nick),
        expected,
        "at {}",
        program.name
    );
}

/// Says a line, and waits until all of these programs have printed it.
pub fn say_and_wait(from: &mut Program, text: &str, to: &[&Program]) {
    from.say(text);
    let end = format!(": {text}");
    for program in to {
        program.out.wait_for(TIMEOUT, |line| line.ends_with(&end));
    }
}

/// Closes stdin, waits for the end of the program, and returns its stdout.
pub fn finish(mut program: Program) -> Vec<String> {
    program.close_stdin();
    program.wait_exit(TIMEOUT);
    program.out.wait_end(TIMEOUT)
}
