//! The beacon's sockets and the list of interfaces, in network namespaces: which destination reaches
//! which host, and how the sockets follow changes.

use std::net::{IpAddr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use crate::hosts::host::{Host, Loopback};
use crate::hosts::lan::Lan;
use crate::hosts::wait::wait_until;
use mio::{Events, Interest, Poll, Token};
use p2pchat::base::identity::PeerId;
use p2pchat::base::interface::{Interface, InterfaceAddress};
use p2pchat::base::time::Time;
use p2pchat::shell::net::interfaces::{NetlinkSocket, list_usable};
use p2pchat::shell::net::multicast::{
    DATAGRAM_MAX_BYTES, LISTENERS_MAX, Multicast, ReceivedDatagram, rest_ms,
};

const LIMIT: Duration = Duration::from_secs(10);
/// The first poll token of the sockets.
const FIRST_TOKEN: usize = 10;

fn interface_address(ip: &str, prefix_bits: u8) -> InterfaceAddress {
    InterfaceAddress {
        ip: ip.parse().expect("an address"),
        prefix_bits,
    }
}

fn default_group() -> SocketAddrV4 {
    "224.0.0.1:9999".parse().expect("an address")
}

/// The multicast sockets of one program, in the namespace of its host, and the received datagrams.
struct Sockets {
    poll: Poll,
    datagrams: Multicast,
    interfaces: Vec<Interface>,
    inbox: Vec<(ReceivedDatagram, String)>,
}

impl Sockets {
    /// Sockets for the default group, on the usable interfaces or on `only`.
    fn on(host: &Host, only: &[&str]) -> Sockets {
        Sockets::with(host, only, default_group())
    }

    /// Sockets for this group.
    fn with(host: &Host, only: &[&str], group: SocketAddrV4) -> Sockets {
        let mut sockets = Sockets {
            poll: Poll::new().expect("a poll"),
            datagrams: Multicast::new(Some(group), FIRST_TOKEN..FIRST_TOKEN + LISTENERS_MAX),
            interfaces: Vec::new(),
            inbox: Vec::new(),
        };
        sockets.set_interfaces_of(host, only);
        sockets
    }

    /// Lists the interfaces again, and opens and closes sockets accordingly.
    fn set_interfaces_of(&mut self, host: &Host, only: &[&str]) {
        let only: Vec<String> = only.iter().map(|&name| name.to_owned()).collect();
        host.namespace.inside(|| {
            self.interfaces = list_usable(&only).expect("interfaces").list;
            let missing = self
                .datagrams
                .set_interfaces(self.poll.registry(), &self.interfaces);
            assert_eq!(missing, 0, "all sockets open");
        });
    }

    /// Sends the text to every destination; returns how many sends succeeded.
    fn send_to_all(&mut self, host: &Host, text: &str) -> usize {
        host.namespace
            .inside(|| self.datagrams.send(None, text.as_bytes()))
    }

    /// Receives the datagrams that are there now, without waiting.
    fn receive_all(&mut self) {
        self.mark_readable();
        while self.receive_turn() > 0 {}
        assert!(!self.datagrams.has_readable());
    }

    /// Marks the sockets that have received something since they were last empty.
    fn mark_readable(&mut self) {
        let mut events = Events::with_capacity(64);
        let wait = Some(Duration::ZERO);
        self.poll.poll(&mut events, wait).expect("a poll");
        for event in &events {
            assert!(self.datagrams.owns_token(event.token()));
            self.datagrams.mark_readable(event.token());
        }
    }

    /// Receives in one turn. Returns the number of datagrams.
    fn receive_turn(&mut self) -> usize {
        self.datagrams.begin_turn();
        let before = self.inbox.len();
        let mut buffer = [0; DATAGRAM_MAX_BYTES];
        while let Some(received) = self.datagrams.receive(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..received.length]).into_owned();
            self.inbox.push((received, text));
        }
        self.inbox.len() - before
    }

    /// All received datagrams that no `wait_for` has taken.
    fn take_inbox(&mut self) -> Vec<(ReceivedDatagram, String)> {
        self.receive_all();
        std::mem::take(&mut self.inbox)
    }

    /// Receives until there are at least `count` datagrams of this text, and takes all of them.
    fn wait_for(&mut self, text: &str, count: usize) -> Vec<ReceivedDatagram> {
        wait_until(&format!("{count} times {text:?}"), LIMIT, || {
            self.receive_all();
            self.inbox
                .iter()
                .filter(|(_, content)| content == text)
                .count()
                >= count
        });
        let of_text = |(_, content): &mut (ReceivedDatagram, String)| content == text;
        let all = self.inbox.extract_if(.., of_text);
        all.map(|(received, _)| received).collect()
    }

    fn interface_names(&self) -> Vec<&str> {
        self.interfaces.iter().map(|i| i.name.as_str()).collect()
    }

    fn interface_index(&self, name: &str) -> u32 {
        let mut all = self.interfaces.iter();
        all.find(|i| i.name == name).expect("the interface").index
    }
}

fn sources(received: &[ReceivedDatagram]) -> Vec<IpAddr> {
    received.iter().map(|r| r.source.ip()).collect()
}

/// Drops all incoming packets of the host but those that the nftables rule accepts.
fn accept_only(host: &Host, accept: &str) {
    host.namespace.nft(&format!(
        "table inet only {{ chain input {{ type filter hook input priority 0; policy drop; {accept} accept; }}; }}"
    ));
}

/// Waits until `count` sockets listen on the beacon's port. A command that another test starts
/// inherits closed sockets for a moment.
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
    let destinations = [
        ("ip daddr 224.0.0.1", true),
        ("ip daddr 10.77.0.255", true),
        ("ip6 daddr ff12::7032:7063", false),
    ];
    let Some(lan) = Lan::new(1 + destinations.len()) else {
        return;
    };
    let sender = &lan.hosts[0];
    let mut alice = Sockets::on(sender, &[]);
    let mut listeners: Vec<Sockets> = Vec::new();
    for ((accept, _), host) in destinations.iter().zip(&lan.hosts[1..]) {
        accept_only(host, accept);
        listeners.push(Sockets::on(host, &[]));
    }
    assert_eq!(alice.send_to_all(sender, "hello"), 3, "three destinations");
    assert_eq!(
        alice.wait_for("hello", 3).len(),
        3,
        "the own copies, at once"
    );
    assert_eq!(alice.send_to_all(sender, "again"), 3);
    for ((accept, v4), listener) in destinations.iter().zip(&mut listeners) {
        // "again" was sent later to the same destination: no further "hello" can follow.
        assert_eq!(listener.wait_for("again", 1).len(), 1, "{accept}: once");
        let all = listener.wait_for("hello", 1);
        assert_eq!(all.len(), 1, "{accept}: once");
        assert_eq!(listener.take_inbox(), []);
        assert_eq!(
            all[0].interface_index,
            listener.interface_index("eth0"),
            "{accept}"
        );
        match all[0].source {
            SocketAddr::V4(source) => {
                assert!(v4, "{accept}");
                assert_eq!(IpAddr::V4(*source.ip()), ip("10.77.0.1"));
            }
            SocketAddr::V6(source) => {
                assert!(!v4, "{accept}");
                assert!(source.ip().is_unicast_link_local());
                assert_eq!(source.scope_id(), listener.interface_index("eth0"));
            }
        }
        assert_ne!(all[0].source.port(), 9999, "sent from a socket of its own");
    }
}

/// Programs of one host share the port, and each receives every copy.
#[test]
fn every_program_of_a_host_receives_every_datagram() {
    let Some(lan) = Lan::new(2) else { return };
    let mut alice = Sockets::on(&lan.hosts[0], &[]);
    let mut remote = [(); 3].map(|()| Sockets::on(&lan.hosts[1], &[]));
    let mut local = Sockets::on(&lan.hosts[0], &[]);
    alice.send_to_all(&lan.hosts[0], "hello");
    for sockets in &mut remote {
        assert_eq!(sockets.wait_for("hello", 3).len(), 3);
    }
    assert_eq!(
        local.wait_for("hello", 3).len(),
        3,
        "on the same host as the sender"
    );
}

/// A sender can drain its own copies at once, so that they do not wake the event loop.
#[test]
fn own_copies_are_received_without_a_wakeup() {
    let Some(lan) = Lan::new(1) else { return };
    let mut alice = Sockets::on(&lan.hosts[0], &[]);
    alice.take_inbox();
    alice.send_to_all(&lan.hosts[0], "hello");
    alice.datagrams.begin_turn();
    let mut buffer = [0; DATAGRAM_MAX_BYTES];
    for _ in 0..3 {
        assert!(alice.datagrams.receive(&mut buffer).is_some());
    }
    let mut events = Events::with_capacity(8);
    let wait = Some(Duration::ZERO);
    alice.poll.poll(&mut events, wait).expect("a poll");
    assert!(events.is_empty(), "no event is left");
}

/// A host without a network uses loopback.
#[test]
fn two_programs_exchange_datagrams_over_loopback() {
    let Some(lo) = Loopback::new() else { return };
    for group in ["224.0.0.1:9999", "239.1.2.3:4000"] {
        let group = group.parse().expect("an address");
        let mut alice = Sockets::with(&lo.host, &[], group);
        let mut bob = Sockets::with(&lo.host, &["lo"], group);
        assert_eq!(
            (alice.interface_names(), bob.interface_names()),
            (vec!["lo"], vec!["lo"])
        );
        assert!(alice.interfaces[0].is_loopback);
        assert_eq!(alice.send_to_all(&lo.host, "hello"), 1);
        let received = bob.wait_for("hello", 1);
        assert_eq!(sources(&received), [ip("127.0.0.1")]);
        assert_eq!(received[0].interface_index, bob.interface_index("lo"));
    }
}

/// Loopback is left out once another interface is usable, unless the user names it.
#[test]
fn loopback_is_used_only_without_a_network() {
    let Some(lan) = Lan::new(1) else { return };
    let host = &lan.hosts[0];
    assert_eq!(Sockets::on(host, &[]).interface_names(), ["eth0"]);
    assert_eq!(Sockets::on(host, &["lo"]).interface_names(), ["lo"]);
    assert_eq!(
        Sockets::on(host, &["lo", "eth0"]).interface_names(),
        ["lo", "eth0"]
    );
    assert!(Sockets::on(host, &["eth7"]).interface_names().is_empty());
    let sockets = Sockets::on(host, &[]);
    let addresses = &sockets.interfaces[0].addresses;
    assert!(
        addresses.contains(&interface_address("10.77.0.1", 24)),
        "{addresses:?}"
    );
    let link_local = |a: &InterfaceAddress| matches!(a.ip, IpAddr::V6(ip) if ip.is_unicast_link_local() && a.prefix_bits == 64);
    assert!(addresses.iter().any(link_local), "{addresses:?}");
    // An address with a label belongs to the interface like any other.
    host.namespace
        .ip("address add 10.9.9.1/28 dev eth0 label eth0:1");
    for only in [&[][..], &["eth0"]] {
        let sockets = Sockets::on(host, only);
        assert_eq!(sockets.interface_names(), ["eth0"]);
        let addresses = &sockets.interfaces[0].addresses;
        assert!(
            addresses.contains(&interface_address("10.9.9.1", 28)),
            "{addresses:?}"
        );
    }
}

/// Each datagram has the index of its interface, even with one subnet on both.
#[test]
fn a_datagram_is_attributed_to_its_interface() {
    let Some(lan) = Lan::new(3) else { return };
    // Host 0 is on both segments, each neighbour on one. Both segments have one subnet, so that routes
    // cannot tell them apart.
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

    let mut middle = Sockets::on(&lan.hosts[0], &[]);
    let mut left = Sockets::on(&lan.hosts[1], &[]);
    let mut right = Sockets::on(&lan.hosts[2], &[]);
    assert_eq!(middle.interface_names(), ["eth0", "eth1"]);
    for (sockets, host, name) in [(&mut left, 1, "eth0"), (&mut right, 2, "eth1")] {
        assert_eq!(sockets.send_to_all(&lan.hosts[host], name), 3);
        let received = middle.wait_for(name, 3);
        let index = middle.interface_index(name);
        assert!(
            received.iter().all(|r| r.interface_index == index),
            "{received:?}"
        );
        assert_eq!(middle.take_inbox(), [], "once for each destination");
    }
    left.take_inbox();
    right.take_inbox();
    assert_eq!(middle.send_to_all(&lan.hosts[0], "hello"), 6);
    for (sockets, source) in [(&mut left, "10.77.0.1"), (&mut right, "10.77.0.101")] {
        let received = sockets.wait_for("hello", 3);
        let v4: Vec<IpAddr> = sources(&received)
            .into_iter()
            .filter(IpAddr::is_ipv4)
            .collect();
        assert_eq!(v4, [ip(source); 2]);
    }
    // With `--interface eth0`, eth1 is ignored, although its segment has the same groups.
    let mut eth0_only = Sockets::on(&lan.hosts[0], &["eth0"]);
    right.send_to_all(&lan.hosts[2], "unheard");
    middle.wait_for("unheard", 3);
    left.send_to_all(&lan.hosts[1], "heard");
    eth0_only.wait_for("heard", 3);
    assert_eq!(eth0_only.take_inbox(), []);
}

/// Cables, addresses and network cards may change while the program runs.
#[test]
fn sockets_follow_interfaces_that_come_go_and_change() {
    let Some(lan) = Lan::unplugged(2) else { return };
    let [a, b] = [&lan.hosts[0], &lan.hosts[1]];
    let mut alice = Sockets::on(a, &[]);
    let mut bob = Sockets::on(b, &[]);
    assert_eq!(alice.interface_names(), ["lo"]);
    let mut changes = a
        .namespace
        .inside(|| NetlinkSocket::open().expect("netlink"));
    let mut poll = Poll::new().expect("a poll");
    let mut events = Events::with_capacity(8);
    poll.registry()
        .register(&mut changes, Token(0), Interest::READABLE)
        .expect("a source");
    wait_listening(a, 1);

    // A cable is plugged into a host without a network.
    for (host, sockets) in [(0, &mut alice), (1, &mut bob)] {
        lan.attach(host, 0);
        lan.wait_up(host, 0);
        sockets.set_interfaces_of(&lan.hosts[host], &[]);
        assert_eq!(sockets.interface_names(), ["eth0"]);
    }
    wait_listening(a, 3);
    poll.poll(&mut events, Some(LIMIT)).expect("a poll");
    assert!(!events.is_empty(), "netlink woke the poll");
    alice.send_to_all(a, "one");
    bob.wait_for("one", 3);

    // The cable is pulled: no carrier.
    changes.drain();
    let now = Some(Duration::ZERO);
    poll.poll(&mut events, now).expect("a poll");
    lan.cut(0, 0);
    poll.poll(&mut events, Some(LIMIT)).expect("a poll");
    assert!(!events.is_empty(), "netlink reports the loss of carrier");
    wait_until("eth0 is not usable", LIMIT, || {
        alice.set_interfaces_of(a, &[]);
        alice.interface_names() == ["lo"]
    });
    wait_listening(a, 1);
    assert_eq!(alice.send_to_all(a, "unheard"), 1, "to loopback alone");
    // The cable is plugged in again, and the host gets another address.
    lan.heal(0, 0);
    a.namespace.ip("address flush dev eth0 scope global");
    a.namespace.ip("address add 10.77.9.1/16 brd + dev eth0");
    b.namespace.ip("address add 10.77.9.2/16 brd + dev eth0");
    alice.set_interfaces_of(a, &[]);
    bob.set_interfaces_of(b, &[]);
    assert_eq!(alice.interface_names(), ["eth0"]);
    bob.take_inbox();
    alice.send_to_all(a, "two");
    let received = bob.wait_for("two", 3);
    let from_new_address = |r: &&ReceivedDatagram| r.source.ip() == ip("10.77.9.1");
    assert_eq!(received.iter().filter(from_new_address).count(), 2);
    bob.send_to_all(b, "back");
    assert!(
        alice
            .wait_for("back", 3)
            .iter()
            .all(|r| r.interface_index == alice.interface_index("eth0"))
    );

    // The network card is replaced by another of the same name.
    let index = alice.interface_index("eth0");
    lan.detach(0, 0);
    assert!(
        alice.send_to_all(a, "nowhere") == 0,
        "no destination is left"
    );
    alice.set_interfaces_of(a, &[]);
    lan.attach(0, 0);
    lan.wait_up(0, 0);
    alice.set_interfaces_of(a, &[]);
    assert_ne!(alice.interface_index("eth0"), index, "a new card");
    bob.take_inbox();
    alice.send_to_all(a, "three");
    bob.wait_for("three", 3);
    bob.send_to_all(b, "four");
    alice.wait_for("four", 2);
    assert!(
        alice.datagrams.counters().send_failures > 0,
        "failed sends are counted"
    );
}

/// Failures are counted and never end the program.
#[test]
fn refused_and_oversized_datagrams_are_counted() {
    let Some(lan) = Lan::new(2) else { return };
    let [a, b] = [&lan.hosts[0], &lan.hosts[1]];
    let (mut alice, mut bob) = (Sockets::on(a, &[]), Sockets::on(b, &[]));
    assert_eq!(alice.send_to_all(a, &"x".repeat(DATAGRAM_MAX_BYTES + 1)), 3);
    alice.send_to_all(a, "hello");
    bob.wait_for("hello", 3);
    assert_eq!(bob.datagrams.counters().oversized, 3);
    assert_eq!(bob.datagrams.counters().received, 3);
    a.namespace.nft(
        "table inet no { chain output { type filter hook output priority 0; policy drop; }; }",
    );
    let before = alice.datagrams.counters().send_failures;
    assert_eq!(alice.send_to_all(a, "refused"), 0);
    assert_eq!(alice.datagrams.counters().send_failures, before + 3);
}

/// A turn makes a bounded number of reads, so that a flood of datagrams does not delay the links.
#[test]
fn a_flood_of_datagrams_is_received_in_turns() {
    let Some(lan) = Lan::new(1) else { return };
    let host = &lan.hosts[0];
    let (mut alice, mut bob) = (Sockets::on(host, &[]), Sockets::on(host, &[]));
    // Three sockets of bob receive 70 datagrams each, and keep them.
    for _ in 0..70 {
        assert_eq!(alice.send_to_all(host, "flood"), 3);
    }
    let mut turns = Vec::new();
    wait_until("the flood is received", LIMIT, || {
        bob.mark_readable();
        turns.push(bob.receive_turn());
        turns.iter().sum::<usize>() == 3 * 70
    });
    assert_eq!(turns.iter().max(), Some(&64), "{turns:?}");
}

/// The sockets take turns, also while each datagram of one of them is refused as too long.
#[test]
fn a_flood_on_one_socket_does_not_block_the_others() {
    let Some(lan) = Lan::new(1) else { return };
    let host = &lan.hosts[0];
    let (mut alice, mut bob) = (Sockets::on(host, &[]), Sockets::on(host, &[]));
    host.namespace.inside(|| {
        let flood = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        flood.set_broadcast(true).expect("broadcasts");
        for _ in 0..60 {
            let datagram = [b'x'; DATAGRAM_MAX_BYTES + 1];
            flood
                .send_to(&datagram, "10.77.0.255:9999")
                .expect("a datagram is sent");
        }
    });
    for _ in 0..2 {
        assert_eq!(alice.send_to_all(host, "hello"), 3);
    }
    bob.mark_readable();
    bob.datagrams.begin_turn();
    // The other two sockets have two datagrams each.
    for _ in 0..4 {
        let received = bob.datagrams.receive(&mut [0; DATAGRAM_MAX_BYTES]);
        assert!(received.is_some());
    }
    assert!(bob.datagrams.counters().oversized <= 4);
}

/// `-m none` opens no socket.
#[test]
fn without_a_group_there_are_no_sockets() {
    let Some(lan) = Lan::new(1) else { return };
    let host = &lan.hosts[0].namespace;
    let poll = Poll::new().expect("a poll");
    host.inside(|| {
        let interfaces = list_usable(&[]).expect("interfaces").list;
        let mut none = Multicast::new(None, FIRST_TOKEN..FIRST_TOKEN + LISTENERS_MAX);
        assert_eq!(none.set_interfaces(poll.registry(), &interfaces), 0);
        assert_eq!(none.send(None, b"hello"), 0);
        assert_eq!(none.receive(&mut [0; DATAGRAM_MAX_BYTES]), None);
    });
    wait_listening(&lan.hosts[0], 0);
}

/// A host with more interfaces uses 64.
#[test]
fn at_most_64_interfaces_are_used() {
    let Some(lan) = Lan::unplugged(1) else { return };
    let host = &lan.hosts[0];
    // More interfaces than a socket may join groups on, and more than the limit.
    for n in (0..70).step_by(2) {
        let pair = format!("link add d{n} type veth peer name d{}", n + 1);
        host.namespace.ip(&pair);
    }
    for n in 0..70 {
        host.namespace
            .ip(&format!("address add 10.{n}.1.1/24 dev d{n}"));
        host.namespace.ip(&format!("link set d{n} up"));
    }
    let mut sockets = Sockets::on(host, &[]);
    assert_eq!(sockets.interface_names().len(), 64);
    assert_eq!(sockets.send_to_all(host, "hello"), 64 * 3);
}

/// While the sockets rest, a datagram causes no event. It is received afterwards, and so is the
/// next one.
#[test]
fn resting_sockets_cause_no_event() {
    let Some(lan) = Lan::new(2) else { return };
    let [a, b] = [&lan.hosts[0], &lan.hosts[1]];
    let (mut alice, mut bob) = (Sockets::on(a, &[]), Sockets::on(b, &[]));
    alice.send_to_all(a, "first");
    bob.wait_for("first", 3);
    let registry = bob.poll.registry().try_clone().expect("a registry");
    bob.datagrams.rest(&registry, Time(500));
    assert_eq!(bob.datagrams.rests_until(), Some(Time(500)));
    alice.send_to_all(a, "second");
    let mut events = Events::with_capacity(8);
    let poll = bob.poll.poll(&mut events, Some(Duration::from_millis(100)));
    poll.expect("a poll");
    assert!(events.is_empty() && !bob.datagrams.has_readable());
    assert_eq!(bob.receive_turn(), 0);
    bob.datagrams.end_rest(&registry);
    assert_eq!(bob.datagrams.rests_until(), None);
    bob.wait_for("second", 3);
    alice.send_to_all(a, "third");
    bob.wait_for("third", 3);
}

/// Each program rests for a time of its own, between 0.75 and 1.5 s. Otherwise all
/// programs of a LAN would wake together, and hear a newcomer late.
#[test]
fn programs_rest_for_different_times() {
    let times = [0, 50, 100, 150, 200, 255].map(|byte| rest_ms(&PeerId([byte; 32])));
    assert_eq!((times[0], times[5]), (750, 1_500));
    assert!(
        times.windows(2).all(|pair| pair[0] + 50 < pair[1]),
        "{times:?}"
    );
}
