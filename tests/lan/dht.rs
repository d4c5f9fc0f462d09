//! The DHT of BitTorrent, a private one of five nodes: peers find each other through it alone, by
//! an id, or as members of a closed network. Two of the nodes die.
use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use mainline::{Dht, Testnet};

use super::hosts::lan::Lan;
use super::hosts::program::Program;
use super::hosts::wait::wait_until;
use super::routed::linked_peers;
use super::{TIMEOUT, finish, say_and_wait, wait_joined};

/// A private DHT on the last host of a LAN.
struct PrivateDht {
    nodes: Vec<Dht>,
    bootstrap: Vec<String>,
}

impl PrivateDht {
    fn start(lan: &Lan) -> PrivateDht {
        let last = lan.hosts.len() - 1;
        let address: Ipv4Addr = Lan::address(last, 0).parse().expect("an address");
        // What the threads of the nodes open belongs to the namespace.
        let Testnet { nodes, bootstrap } = lan.hosts[last].namespace.inside(|| {
            let testnet = Testnet::builder(5).bind_address(address).build();
            testnet.expect("five nodes")
        });
        PrivateDht { nodes, bootstrap }
    }

    /// The options with which a program uses this DHT, and nothing else. It bootstraps from one of
    /// the nodes that die, and from one that does not.
    fn options<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let mut options = vec!["-m", "none", "--dht"];
        for node in [0, 4] {
            options.extend(["--dht-bootstrap", &self.bootstrap[node]]);
        }
        options.extend(more);
        options
    }

    /// The first two nodes die.
    fn kill_two(&mut self) {
        self.nodes.drain(..2);
    }
}

/// The id of this user.
fn id_of(lan: &Lan, host: usize, user: &str) -> String {
    let mut whoami = lan.hosts[host].spawn(user, &["whoami"]);
    whoami.wait_code(TIMEOUT);
    let lines = whoami.out.wait_end(TIMEOUT);
    let id = lines.iter().find_map(|line| line.strip_prefix("id: "));
    id.expect("an id").to_owned()
}

/// Waits until the finder of this program has announced it so often.
fn wait_announced(program: &Program, times: u32) {
    let announced = format!("dht: announced {times}, ");
    program
        .err
        .wait_for(2 * TIMEOUT, |line| line.contains(&announced));
}

/// Bob names alice by her id before she is there. Two of the five nodes die while he looks for her
/// and she publishes. Carol comes after that, and finds her, too.
#[test]
fn a_peer_is_found_by_its_id_when_two_of_five_nodes_die() {
    let Some(lan) = Lan::new(4) else { return };
    let mut dht = PrivateDht::start(&lan);
    let id = format!("@{}", id_of(&lan, 0, "alice"));
    let bob = lan.hosts[1].start("bob", &dht.options(&["--peer", &id]));
    bob.err.wait_for(TIMEOUT, |line| {
        line.contains("the DHT knows no address of this peer yet")
    });
    let alice = lan.hosts[0].spawn("alice", &dht.options(&["-d"]));
    dht.kill_two();
    alice.wait_ready();
    wait_announced(&alice, 1);
    wait_joined(&bob, "alice");
    assert_eq!(linked_peers(&lan.hosts[1], "bob"), ["dht"]);
    let mut carol = lan.hosts[2].start("carol", &dht.options(&["--commands"]));
    carol.say(&format!("/connect {id}"));
    wait_joined(&carol, "alice");
    // A command passes the id to the program that runs.
    let dave = lan.hosts[2].start("dave", &dht.options(&[]));
    let mut peers = lan.hosts[2].spawn("dave", &["peers", "--dht", "--peer", &id, "-W", "1"]);
    wait_joined(&dave, "alice");
    peers.wait_exit(TIMEOUT);
    say_and_wait(&mut carol, "found you", &[&alice, &bob]);
    [alice, bob, carol, dave]
        .into_iter()
        .for_each(|it| drop(finish(it)));
}

/// Members of a closed network find each other without ids. Two of the five nodes die before the
/// last one comes. `send` finds a member by the id alone.
#[test]
fn members_of_a_closed_network_meet_by_the_dht() {
    let Some(lan) = Lan::new(4) else { return };
    let mut dht = PrivateDht::start(&lan);
    let secret = lan.hosts[0].folder("secret");
    fs::write(&secret, "correct horse battery staple\n").expect("a file");
    let secret = secret.to_str().expect("a path").to_owned();
    let of_network = ["--secret-file", &secret, "-d"];
    let alice = lan.hosts[0].start("alice", &dht.options(&of_network));
    let bob = lan.hosts[1].start("bob", &dht.options(&of_network));
    wait_joined(&alice, "bob");
    wait_announced(&bob, 1);
    dht.kill_two();
    let carol = lan.hosts[2].start("carol", &dht.options(&of_network));
    wait_joined(&alice, "carol");
    wait_joined(&bob, "carol");
    let found = linked_peers(&lan.hosts[2], "carol");
    assert!(found.contains(&"dht".to_owned()), "{found:?}");
    let id = format!("@{}", id_of(&lan, 1, "bob"));
    let to_bob = ["--secret-file", &secret, "--peer", &id, "--need", "1", "hi"];
    let arguments = [&["send"], &dht.options(&to_bob)[..]].concat();
    let mut dave = lan.hosts[2].spawn("dave", &arguments);
    assert_eq!(dave.wait_code(TIMEOUT), 0, "{:?}", dave.err.all());
    bob.out.wait_for(TIMEOUT, |line| line.ends_with(": hi"));
    [alice, bob, carol]
        .into_iter()
        .for_each(|it| drop(finish(it)));
}

/// Mallory has taken the address that alice's item names. A `send` to alice's id reaches nobody.
/// A private address may just be mallory's, too, on bob's own LAN: then alice is only unreachable.
/// Nobody else has a public address of alice.
#[test]
fn another_key_at_the_address_of_an_id_is_refused() {
    for (address, code) in [("10.77.0.1/24", 69), ("203.0.113.1/24", 77)] {
        let Some(lan) = Lan::new(3) else { return };
        let dht = PrivateDht::start(&lan);
        lan.readdress(0, 0, address);
        for host in &lan.hosts {
            host.namespace.ip("route replace 10.77.0.0/24 dev eth0");
            host.namespace.ip("route replace 203.0.113.0/24 dev eth0");
        }
        let id = format!("@{}", id_of(&lan, 0, "alice"));
        let alice = lan.hosts[0].start("alice", &dht.options(&["-p", "9999", "-d"]));
        wait_announced(&alice, 1);
        finish(alice);
        let mallory = lan.hosts[0].start("mallory", &["-m", "none", "-p", "9999"]);
        let options = dht.options(&["--peer", &id, "-W", "5", "psst"]);
        let mut bob = lan.hosts[1].spawn("bob", &[&["send"], &options[..]].concat());
        let ended = bob.wait_code(TIMEOUT);
        let lines = bob.err.wait_end(TIMEOUT);
        assert_eq!(ended, code, "{lines:?}");
        let is_named = lines.iter().any(|line| line.contains("mallory"));
        assert_eq!(is_named, code == 77, "{lines:?}");
        assert!(!finish(mallory).iter().any(|line| line.contains("psst")));
    }
}

/// A DHT whose nodes are all dead or silent delays neither the start nor the end. `/stats` says so.
#[test]
fn a_dead_dht_delays_nothing() {
    let Some(lan) = Lan::new(2) else { return };
    let silent = format!("{}:6881", Lan::address(1, 0));
    let lost = "10.77.0.99:6881";
    let options = ["-m", "none", "--dht", "--dht-bootstrap", &silent];
    let options = [&options[..], &["--dht-bootstrap", lost, "--commands"]].concat();
    let begin = std::time::Instant::now();
    let mut alice = lan.hosts[0].start("alice", &options);
    wait_until("the trouble", TIMEOUT, || {
        alice.say("/stats");
        let lines = alice.err.all();
        lines
            .iter()
            .any(|line| line.contains("no node of the DHT answers"))
    });
    drop(finish(alice));
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
}
