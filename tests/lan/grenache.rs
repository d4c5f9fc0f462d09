//! Grapes, the phonebooks of Grenache: peers find each other through them alone.
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use super::hosts::lan::Lan;
use super::hosts::namespace::print_not_run;
use super::hosts::program::Program;
use super::hosts::wait::wait_until;
use super::routed::linked_peers;
use super::{TIMEOUT, finish, wait_joined};

/// Where `scripts/test` installs the programs of Grenache.
pub const GRENACHE_FOLDER: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/grenache");
/// The HTTP port of each Grape.
const GRAPE_PORT: u16 = 30_001;
/// The port by which Grapes find each other.
const DHT_PORT: u16 = 20_001;

pub fn grape_url(lan_host: usize) -> String {
    format!("http://{}:{GRAPE_PORT}", Lan::address(lan_host, 0))
}

/// Starts a Grape on each host. `None`: `scripts/test` has not installed it.
pub fn start_grapes(lan: &Lan) -> Option<Vec<Program>> {
    let script = Path::new(GRENACHE_FOLDER).join("node_modules/grenache-grape/bin/grape.js");
    if !script.exists() {
        print_not_run("grenache-grape is missing; scripts/test installs it");
        return None;
    }
    let start = |index: usize| {
        let others = (0..lan.hosts.len()).filter(|other| *other != index);
        let others: Vec<String> = others
            .map(|other| format!("{}:{DHT_PORT}", Lan::address(other, 0)))
            .collect();
        let mut command = lan.hosts[index].command("node");
        command.arg(&script);
        command.args(["--dp", &DHT_PORT.to_string()]);
        command.args(["--aph", &GRAPE_PORT.to_string()]);
        command.args(["--bn", &others.join(",")]);
        Program::spawn("grape", command)
    };
    let grapes: Vec<Program> = (0..lan.hosts.len()).map(start).collect();
    for (index, host) in lan.hosts.iter().enumerate() {
        wait_until("the Grape", TIMEOUT, || {
            host.namespace.inside(|| stored_at(index) == Some(1))
        });
    }
    Some(grapes)
}

/// How many Grapes store an announcement that is made at the one on this host.
fn stored_at(host: usize) -> Option<u32> {
    let stored = ask(host, "announce", "[\"test\",1]")?.parse::<u32>().ok()?;
    Some(stored.min(1))
}

/// Sends a request to the Grape on this host.
fn ask(host: usize, verb: &str, data: &str) -> Option<String> {
    let mut stream = TcpStream::connect((Lan::address(host, 0), GRAPE_PORT)).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    let body = format!("{{\"rid\":\"test\",\"data\":{data}}}");
    let length = body.len();
    let request = format!(
        "POST /{verb} HTTP/1.1\r\nHost: grape\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.lines().last()?.trim().to_owned())
}

/// There are no beacons. Of three Grapes that alice and bob name, one dies, and one never was.
/// Carol, who comes later, finds them; in a closed network, too.
#[test]
fn peers_meet_by_grapes_of_which_one_dies() {
    for is_closed in [false, true] {
        let Some(lan) = Lan::new(3) else { return };
        let Some(mut grapes) = start_grapes(&lan) else {
            return;
        };
        let secret = lan.hosts[0].folder("secret");
        fs::write(&secret, "correct horse battery staple\n").expect("a file");
        let secret = secret.to_str().expect("a path");
        let urls: Vec<String> = (0..3).map(grape_url).collect();
        let nobody = format!("http://{}:9", Lan::address(0, 0));
        let mut options = vec!["-m", "none", "--grape", &nobody];
        urls.iter().for_each(|url| options.extend(["--grape", url]));
        if is_closed {
            options.extend(["--secret-file", secret]);
        }
        let alice = lan.hosts[0].start("alice", &[&options[..], &["-d"]].concat());
        let bob = lan.hosts[1].start("bob", &options);
        wait_joined(&alice, "bob");
        grapes[0].kill();
        let carol = lan.hosts[2].start("carol", &options);
        wait_joined(&alice, "carol");
        wait_joined(&bob, "carol");
        let troubled = format!("; {nobody}: ");
        alice.err.wait_for(TIMEOUT, |line| {
            line.contains("grenache: announced ") && line.contains(&troubled)
        });
        let hosts = lan.hosts.iter().zip(["alice", "bob", "carol"]);
        let found: Vec<String> = hosts
            .flat_map(|(host, user)| linked_peers(host, user))
            .collect();
        assert!(found.iter().any(|it| it == "grenache"), "{found:?}");
        [alice, bob, carol]
            .into_iter()
            .for_each(|it| drop(finish(it)));
        drop(grapes);
    }
}

/// A room that alice joins later is announced at once, as is her name, and her new one.
#[test]
fn later_rooms_and_names_are_announced() {
    let Some(lan) = Lan::new(2) else { return };
    let Some(grapes) = start_grapes(&lan) else {
        return;
    };
    let (url, other) = (grape_url(0), grape_url(1));
    let options = ["-m", "none", "-p", "9999", "--grape", &url, "--commands"];
    let mut alice = lan.hosts[0].start("alice", &options);
    let host = &lan.hosts[1].namespace;
    let wait_found = |name: &str| {
        wait_until(name, TIMEOUT, || {
            let found = host.inside(|| ask(1, "lookup", &format!("\"{name}\"")));
            found.is_some_and(|found| found.contains(":9999"))
        });
    };
    wait_found("alice");
    alice.say("/join ops");
    let options = ["-m", "none", "-r", "ops", "--grape", &other];
    wait_found("p2pchat:ops");
    let bob = lan.hosts[1].start("bob", &options);
    wait_joined(&bob, "alice");
    alice.say("/nick alicia");
    wait_found("alicia");
    [alice, bob].into_iter().for_each(|it| drop(finish(it)));
    drop(grapes);
}

/// Grapes that are dead or silent delay neither the start nor the end.
#[test]
fn dead_grapes_delay_nothing() {
    let Some(lan) = Lan::new(1) else { return };
    let (dead, lost) = (grape_url(0), "http://10.77.0.99:30001");
    let begin = std::time::Instant::now();
    let options = ["-m", "none", "--grape", &dead, "--grape", lost];
    let alice = lan.hosts[0].start("alice", &options);
    drop(finish(alice));
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
}
