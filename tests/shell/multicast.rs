//! The beacon's sockets and the list of interfaces, in networks made for it: which way of saying is heard where, and what changes bring.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use crate::hosts::host::{Host, Loopback};
use crate::hosts::lan::Lan;
use crate::hosts::wait::wait_until;
use mio::{Events, Interest, Poll, Token};
use p2pchat::base::event::{Interface, InterfaceAddress};
use p2pchat::shell::net::interfaces::{NetlinkSocket, list_usable};
use p2pchat::shell::net::multicast::{
    DATAGRAM_MAX_BYTES, LISTENERS_MAX, Multicast, ReceivedDatagram,
};

const LIMIT: Duration = Duration::from_secs(10);
const FIRST: usize = 10;

fn network(ip: &str, prefix_bits: u8) -> InterfaceAddress {
    InterfaceAddress {
        ip: ip.parse().expect("an address"),
        prefix_bits,
    }
}

fn group() -> SocketAddrV4 {
    "224.0.0.1:9999".parse().expect("an address")
}

/// A program's share of the network: its sockets live in the host, whatever thread uses them.
struct Party {
    poll: Poll,
    datagrams: Multicast,
    interfaces: Vec<Interface>,
    inbox: Vec<(ReceivedDatagram, String)>,
}

impl Party {
    fn on(host: &Host, only: &[&str]) -> Party {
        Party::with(host, only, group())
    }

    fn with(host: &Host, only: &[&str], group: SocketAddrV4) -> Party {
        let mut party = Party {
            poll: Poll::new().expect("a poll"),
            datagrams: Multicast::new(Some(group), FIRST..FIRST + LISTENERS_MAX),
            interfaces: Vec::new(),
            inbox: Vec::new(),
        };
        party.update(host, only);
        party
    }

    fn update(&mut self, host: &Host, only: &[&str]) {
        let only: Vec<String> = only.iter().map(|&name| name.to_owned()).collect();
        host.namespace.inside(|| {
            self.interfaces = list_usable(&only).expect("interfaces");
            let missing = self
                .datagrams
                .set_interfaces(self.poll.registry(), &self.interfaces);
            assert_eq!(missing, 0, "all sockets open");
        });
    }

    fn say(&mut self, host: &Host, text: &str) -> usize {
        host.namespace
            .inside(|| self.datagrams.send(text.as_bytes()))
    }

    /// Takes in what is there now, without waiting.
    fn listen(&mut self) {
        let mut events = Events::with_capacity(64);
        let wait = Some(Duration::ZERO);
        self.poll.poll(&mut events, wait).expect("a poll");
        for event in &events {
            assert!(self.datagrams.owns_token(event.token()));
            self.datagrams.mark_readable(event.token());
        }
        let mut buffer = [0; DATAGRAM_MAX_BYTES];
        while let Some(received) = self.datagrams.receive(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..received.length]).into_owned();
            self.inbox.push((received, text));
        }
        assert!(!self.datagrams.has_readable());
    }

    /// All that came in and was not asked for.
    fn rest(&mut self) -> Vec<(ReceivedDatagram, String)> {
        self.listen();
        std::mem::take(&mut self.inbox)
    }

    /// Listens until at least `count` datagrams of this text came, and gives all of them.
    fn hear(&mut self, text: &str, count: usize) -> Vec<ReceivedDatagram> {
        wait_until(&format!("{count} times {text:?}"), LIMIT, || {
            self.listen();
            self.inbox.iter().filter(|(_, said)| said == text).count() >= count
        });
        let of_text = |(_, said): &mut (ReceivedDatagram, String)| said == text;
        let all = self.inbox.extract_if(.., of_text);
        all.map(|(received, _)| received).collect()
    }

    fn names(&self) -> Vec<&str> {
        self.interfaces.iter().map(|i| i.name.as_str()).collect()
    }

    fn index(&self, name: &str) -> u32 {
        let mut all = self.interfaces.iter();
        all.find(|i| i.name == name).expect("the interface").index
    }
}

fn sources(received: &[ReceivedDatagram]) -> Vec<IpAddr> {
    received.iter().map(|r| r.source.ip()).collect()
}

/// Keeps this host deaf to all but what the rule accepts.
fn only(host: &Host, accept: &str) {
    host.namespace.nft(&format!(
        "table inet only {{ chain input {{ type filter hook input priority 0; policy drop; {accept} accept; }}; }}"
    ));
}

/// Waits until so many sockets listen on the beacon's port. A test beside this one, while it starts a command, holds for a
/// moment what was closed here.
fn wait_listening(host: &Host, count: usize) {
    let table = |name| std::fs::read_to_string(format!("/proc/thread-self/net/{name}"));
    wait_until(&format!("{count} sockets"), LIMIT, || {
        let [v4, v6] = host.namespace.inside(|| ["udp", "udp6"].map(table));
        let tables = v4.expect("a table") + &v6.expect("a table");
        tables.matches(":270F ").count() == count
    });
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A beacon goes to the IPv4 group, the subnet's broadcast and the IPv6 group; any one is enough.
#[test]
fn each_of_the_three_destinations_delivers_alone() {
    let ways = [
        ("ip daddr 224.0.0.1", true),
        ("ip daddr 10.77.0.255", true),
        ("ip6 daddr ff12::7032:7063", false),
    ];
    let Some(lan) = Lan::new(1 + ways.len()) else {
        return;
    };
    let speaker = &lan.hosts[0];
    let mut alice = Party::on(speaker, &[]);
    let mut listeners: Vec<Party> = Vec::new();
    for ((accept, _), host) in ways.iter().zip(&lan.hosts[1..]) {
        only(host, accept);
        listeners.push(Party::on(host, &[]));
    }
    assert_eq!(alice.say(speaker, "hello"), 3, "three ways");
    assert_eq!(alice.hear("hello", 3).len(), 3, "the own copies, at once");
    assert_eq!(alice.say(speaker, "again"), 3);
    for ((accept, v4), listener) in ways.iter().zip(&mut listeners) {
        // "again" came later on the same way: nothing more of "hello" can follow.
        assert_eq!(listener.hear("again", 1).len(), 1, "{accept}: once");
        let all = listener.hear("hello", 1);
        assert_eq!(all.len(), 1, "{accept}: once");
        assert_eq!(listener.rest(), []);
        assert_eq!(all[0].interface_index, listener.index("eth0"), "{accept}");
        match all[0].source {
            SocketAddr::V4(source) => {
                assert!(v4, "{accept}");
                assert_eq!(IpAddr::V4(*source.ip()), ip("10.77.0.1"));
            }
            SocketAddr::V6(source) => {
                assert!(!v4, "{accept}");
                assert!(source.ip().is_unicast_link_local());
                assert_eq!(source.scope_id(), listener.index("eth0"));
            }
        }
        assert_ne!(all[0].source.port(), 9999, "a socket of its own speaks");
    }
}

/// Programs of one host share the port, and each receives every copy.
#[test]
fn every_program_of_a_host_receives_every_datagram() {
    let Some(lan) = Lan::new(2) else { return };
    let mut alice = Party::on(&lan.hosts[0], &[]);
    let mut there = [(); 3].map(|()| Party::on(&lan.hosts[1], &[]));
    let mut here = Party::on(&lan.hosts[0], &[]);
    alice.say(&lan.hosts[0], "hello");
    for party in &mut there {
        assert_eq!(party.hear("hello", 3).len(), 3);
    }
    assert_eq!(here.hear("hello", 3).len(), 3, "beside the speaker");
}

/// A sender can drain its own copies at once, so that they do not wake the event loop.
#[test]
fn own_copies_are_received_without_a_wakeup() {
    let Some(lan) = Lan::new(1) else { return };
    let mut alice = Party::on(&lan.hosts[0], &[]);
    alice.rest();
    alice.say(&lan.hosts[0], "hello");
    let mut buffer = [0; DATAGRAM_MAX_BYTES];
    for _ in 0..3 {
        assert!(alice.datagrams.receive(&mut buffer).is_some());
    }
    let mut events = Events::with_capacity(8);
    let wait = Some(Duration::ZERO);
    alice.poll.poll(&mut events, wait).expect("a poll");
    assert!(events.is_empty(), "and wake nobody afterwards");
}

/// A host without a network uses loopback.
#[test]
fn two_programs_exchange_datagrams_over_loopback() {
    let Some(lo) = Loopback::new() else { return };
    for group in ["224.0.0.1:9999", "239.1.2.3:4000"] {
        let group = group.parse().expect("an address");
        let mut alice = Party::with(&lo.host, &[], group);
        let mut bob = Party::with(&lo.host, &["lo"], group);
        assert_eq!((alice.names(), bob.names()), (vec!["lo"], vec!["lo"]));
        assert!(alice.interfaces[0].is_loopback);
        assert_eq!(alice.say(&lo.host, "hello"), 1);
        let received = bob.hear("hello", 1);
        assert_eq!(sources(&received), [ip("127.0.0.1")]);
        assert_eq!(received[0].interface_index, bob.index("lo"));
    }
}

/// Loopback is left out once another interface is usable, unless the user names it.
#[test]
fn loopback_is_used_only_without_a_network() {
    let Some(lan) = Lan::new(1) else { return };
    let host = &lan.hosts[0];
    assert_eq!(Party::on(host, &[]).names(), ["eth0"]);
    assert_eq!(Party::on(host, &["lo"]).names(), ["lo"]);
    assert_eq!(Party::on(host, &["lo", "eth0"]).names(), ["lo", "eth0"]);
    assert!(Party::on(host, &["eth7"]).names().is_empty());
    let party = Party::on(host, &[]);
    let addresses = &party.interfaces[0].addresses;
    assert!(
        addresses.contains(&network("10.77.0.1", 24)),
        "{addresses:?}"
    );
    let link_local = |a: &InterfaceAddress| matches!(a.ip, IpAddr::V6(ip) if ip.is_unicast_link_local() && a.prefix_bits == 64);
    assert!(addresses.iter().any(link_local), "{addresses:?}");
    // An address with a label of its own is still one of the interface.
    host.namespace
        .ip("address add 10.9.9.1/28 dev eth0 label eth0:1");
    for only in [&[][..], &["eth0"]] {
        let party = Party::on(host, only);
        assert_eq!(party.names(), ["eth0"]);
        let addresses = &party.interfaces[0].addresses;
        assert!(
            addresses.contains(&network("10.9.9.1", 28)),
            "{addresses:?}"
        );
    }
}

/// Each datagram has the index of its interface, even with one subnet on both.
#[test]
fn a_datagram_is_attributed_to_its_interface() {
    let Some(lan) = Lan::new(3) else { return };
    // Host 0 is on both segments; each neighbour on one. And so that routes alone could not tell: both segments are one network.
    for host in [0, 2] {
        lan.attach(host, 1);
        lan.wait_up(host, 1);
    }
    let [both, right] = [0, 2].map(|i| &lan.hosts[i].namespace);
    right.ip("link set eth0 down");
    right.ip("address flush dev eth1");
    right.ip("address add 10.77.0.3/24 brd + dev eth1");
    both.ip("address flush dev eth1 scope global");
    both.ip("address add 10.77.0.101/24 brd + dev eth1");
    right.ip("link set eth1 down");
    right.ip("link set eth1 up");
    lan.wait_up(2, 1);

    let mut middle = Party::on(&lan.hosts[0], &[]);
    let mut left = Party::on(&lan.hosts[1], &[]);
    let mut right = Party::on(&lan.hosts[2], &[]);
    assert_eq!(middle.names(), ["eth0", "eth1"]);
    for (party, host, name) in [(&mut left, 1, "eth0"), (&mut right, 2, "eth1")] {
        assert_eq!(party.say(&lan.hosts[host], name), 3);
        let received = middle.hear(name, 3);
        let index = middle.index(name);
        assert!(
            received.iter().all(|r| r.interface_index == index),
            "{received:?}"
        );
        assert_eq!(middle.rest(), [], "once each way");
    }
    left.rest();
    right.rest();
    assert_eq!(middle.say(&lan.hosts[0], "hello"), 6);
    for (party, source) in [(&mut left, "10.77.0.1"), (&mut right, "10.77.0.101")] {
        let received = party.hear("hello", 3);
        let v4: Vec<IpAddr> = sources(&received)
            .into_iter()
            .filter(IpAddr::is_ipv4)
            .collect();
        assert_eq!(v4, [ip(source); 2]);
    }
    // One interface asked for: the other is not listened to, although the same groups live there.
    let mut one = Party::on(&lan.hosts[0], &["eth0"]);
    right.say(&lan.hosts[2], "unheard");
    middle.hear("unheard", 3);
    left.say(&lan.hosts[1], "heard");
    one.hear("heard", 3);
    assert_eq!(one.rest(), []);
}

/// Cables, addresses and network cards may change while the program runs.
#[test]
fn sockets_follow_interfaces_that_come_go_and_change() {
    let Some(lan) = Lan::unplugged(2) else { return };
    let [a, b] = [&lan.hosts[0], &lan.hosts[1]];
    let mut alice = Party::on(a, &[]);
    let mut bob = Party::on(b, &[]);
    assert_eq!(alice.names(), ["lo"]);
    let mut changes = a
        .namespace
        .inside(|| NetlinkSocket::open().expect("netlink"));
    let mut poll = Poll::new().expect("a poll");
    let mut events = Events::with_capacity(8);
    poll.registry()
        .register(&mut changes, Token(0), Interest::READABLE)
        .expect("a source");
    assert!(!changes.drain(), "nothing happened yet");
    wait_listening(a, 1);

    // A cable is plugged into a box that had none.
    for (host, party) in [(0, &mut alice), (1, &mut bob)] {
        lan.attach(host, 0);
        lan.wait_up(host, 0);
        party.update(&lan.hosts[host], &[]);
        assert_eq!(party.names(), ["eth0"]);
    }
    wait_listening(a, 3);
    poll.poll(&mut events, Some(LIMIT)).expect("a poll");
    assert!(!events.is_empty(), "netlink woke the poll");
    assert!(changes.drain());
    alice.say(a, "one");
    bob.hear("one", 3);

    // It is pulled: no carrier.
    changes.drain();
    lan.cut(0, 0);
    wait_until("loss of carrier is told", LIMIT, || changes.drain());
    wait_until("eth0 is not usable", LIMIT, || {
        alice.update(a, &[]);
        alice.names() == ["lo"]
    });
    wait_listening(a, 1);
    assert_eq!(alice.say(a, "unheard"), 1, "to loopback alone");
    // And plugged in again, with another address.
    lan.heal(0, 0);
    a.namespace.ip("address flush dev eth0 scope global");
    a.namespace.ip("address add 10.77.9.1/16 brd + dev eth0");
    b.namespace.ip("address add 10.77.9.2/16 brd + dev eth0");
    alice.update(a, &[]);
    bob.update(b, &[]);
    assert_eq!(alice.names(), ["eth0"]);
    bob.rest();
    alice.say(a, "two");
    let received = bob.hear("two", 3);
    let again = |r: &&ReceivedDatagram| r.source.ip() == ip("10.77.9.1");
    assert_eq!(received.iter().filter(again).count(), 2);
    bob.say(b, "back");
    assert!(
        alice
            .hear("back", 3)
            .iter()
            .all(|r| r.interface_index == alice.index("eth0"))
    );

    // The card itself is taken out, and another put in under the old name.
    let index = alice.index("eth0");
    lan.detach(0, 0);
    assert!(alice.say(a, "nowhere") == 0, "and nothing breaks");
    alice.update(a, &[]);
    lan.attach(0, 0);
    lan.wait_up(0, 0);
    alice.update(a, &[]);
    assert_ne!(alice.index("eth0"), index, "a new card");
    bob.rest();
    alice.say(a, "three");
    bob.hear("three", 3);
    bob.say(b, "four");
    alice.hear("four", 2);
    assert!(
        alice.datagrams.counters().send_failures > 0,
        "what went nowhere is counted"
    );
}

/// Failures are counted and never end the program.
#[test]
fn refused_and_oversized_datagrams_are_counted() {
    let Some(lan) = Lan::new(2) else { return };
    let [a, b] = [&lan.hosts[0], &lan.hosts[1]];
    let (mut alice, mut bob) = (Party::on(a, &[]), Party::on(b, &[]));
    assert_eq!(alice.say(a, &"x".repeat(DATAGRAM_MAX_BYTES + 1)), 3);
    alice.say(a, "hello");
    bob.hear("hello", 3);
    assert_eq!(bob.datagrams.counters().oversized, 3);
    assert_eq!(bob.datagrams.counters().received, 3);
    a.namespace.nft(
        "table inet no { chain output { type filter hook output priority 0; policy drop; }; }",
    );
    let before = alice.datagrams.counters().send_failures;
    assert_eq!(alice.say(a, "refused"), 0);
    assert_eq!(alice.datagrams.counters().send_failures, before + 3);
}

/// `-m none` opens no socket.
#[test]
fn without_a_group_there_are_no_sockets() {
    let Some(lan) = Lan::new(1) else { return };
    let host = &lan.hosts[0].namespace;
    let poll = Poll::new().expect("a poll");
    host.inside(|| {
        let interfaces = list_usable(&[]).expect("interfaces");
        let mut none = Multicast::new(None, FIRST..FIRST + LISTENERS_MAX);
        assert_eq!(none.set_interfaces(poll.registry(), &interfaces), 0);
        assert_eq!(none.send(b"hello"), 0);
        assert_eq!(none.receive(&mut [0; DATAGRAM_MAX_BYTES]), None);
    });
    wait_listening(&lan.hosts[0], 0);
}

/// A host with more interfaces uses 64.
#[test]
fn at_most_64_interfaces_are_used() {
    let Some(lan) = Lan::unplugged(1) else { return };
    let host = &lan.hosts[0];
    // More than a socket may join groups, and more than are used.
    for n in (0..70).step_by(2) {
        let pair = format!("link add d{n} type veth peer name d{}", n + 1);
        host.namespace.ip(&pair);
    }
    for n in 0..70 {
        host.namespace
            .ip(&format!("address add 10.{n}.1.1/24 dev d{n}"));
        host.namespace.ip(&format!("link set d{n} up"));
    }
    let mut party = Party::on(host, &[]);
    assert_eq!(party.names().len(), 64);
    assert_eq!(party.say(host, "hello"), 64 * 3);
}
