//! Discovery without configuration, over interfaces and addresses that come and go.
use super::hosts::lan::Lan;
use super::{
    PEER_TIMEOUT, TIMEOUT, count_events, messages, say_and_wait, wait_event, wait_joined,
    wait_mesh, wait_messages,
};

/// Peers without options find each other whatever order they start in, and each line reaches
/// all.
#[test]
fn peers_find_each_other_in_any_order_of_starts() {
    let Some(lan) = Lan::new(3) else { return };
    let names = ["alice", "bob", "carol"];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut programs: Vec<_> = order
            .iter()
            .map(|&host| lan.hosts[host].spawn(names[host], &[]))
            .collect();
        let all: Vec<_> = programs.iter().collect();
        wait_mesh(&all);
        for from in 0..3 {
            let mut program = programs.remove(from);
            let text = format!("of {}", program.name);
            say_and_wait(&mut program, &text, &programs.iter().collect::<Vec<_>>());
            programs.insert(from, program);
        }
    }
}

/// A host on two LANs finds the peers of both.
#[test]
fn a_host_on_two_lans_reaches_both() {
    let Some(lan) = Lan::unplugged(3) else { return };
    for (host, segment) in [(0, 0), (1, 0), (1, 1), (2, 1)] {
        lan.attach(host, segment);
        lan.wait_up(host, segment);
    }
    let mut alice = lan.hosts[0].start("alice", &[]);
    let mut bob = lan.hosts[1].start("bob", &[]);
    let carol = lan.hosts[2].start("carol", &[]);
    wait_mesh(&[&alice, &bob]);
    wait_mesh(&[&carol, &bob]);
    say_and_wait(&mut bob, "to both", &[&alice, &carol]);
    say_and_wait(&mut alice, "to the middle", &[&bob]);
}

/// Peers without an IPv4 address find each other by link-local IPv6.
#[test]
fn link_local_ipv6_is_enough() {
    let Some(lan) = Lan::new(3) else { return };
    for (number, host) in lan.hosts.iter().enumerate() {
        let address = Lan::address(number, 0);
        host.namespace
            .ip(&format!("address delete {address}/24 dev eth0"));
    }
    let mut alice = lan.hosts[0].start("alice", &[]);
    let bob = lan.hosts[1].start("bob", &[]);
    let carol = lan.hosts[2].start("carol", &[]);
    wait_mesh(&[&alice, &bob, &carol]);
    say_and_wait(&mut alice, "over IPv6", &[&bob, &carol]);
}

/// Peers find each other on a point-to-point link, where each has a /32 address and the other as its
/// peer. They also do if only a route says that the /32 addresses are on the link.
#[test]
fn hosts_with_single_addresses_are_found() {
    for has_peer_address in [true, false] {
        let Some(lan) = Lan::new(2) else { return };
        for (number, host) in lan.hosts.iter().enumerate() {
            let [own, other] = [number, 1 - number].map(|host| Lan::address(host, 0));
            let ip = |command: &str| host.namespace.ip(command);
            lan.disable_ipv6(number, 0);
            ip("address flush dev eth0");
            if has_peer_address {
                ip(&format!("address add {own} peer {other} dev eth0"));
            } else {
                ip(&format!("address add {own}/32 dev eth0"));
                ip("route add 10.77.0.0/24 dev eth0 scope link");
            }
        }
        let mut alice = lan.hosts[0].start("alice", &[]);
        let bob = lan.hosts[1].start("bob", &[]);
        wait_mesh(&[&alice, &bob]);
        say_and_wait(&mut alice, "over the link", &[&bob]);
    }
}

/// A program that starts without an interface finds its peers once one appears.
#[test]
fn an_interface_that_appears_later_is_used() {
    let Some(lan) = Lan::unplugged(3) else { return };
    lan.attach(1, 0);
    lan.attach(2, 0);
    let mut alice = lan.hosts[0].start("alice", &[]);
    alice.say("said alone");
    let bob = lan.hosts[1].start("bob", &[]);
    let carol = lan.hosts[2].start("carol", &[]);
    wait_mesh(&[&bob, &carol]);
    lan.attach(0, 0);
    wait_mesh(&[&alice, &bob, &carol]);
    say_and_wait(&mut alice, "said to all", &[&bob, &carol]);
    // A peer that started at least as early as the line was said prints it as news; for a later
    // one it is backfill.
    let printed = messages(&bob.out.all(), "alice");
    assert!(
        printed.ends_with(&["said to all".to_owned()]),
        "{printed:?}"
    );
}

/// A host whose IPv4 address changes is found again, and loses no line.
#[test]
fn a_changed_address_is_advertised() {
    let Some(lan) = Lan::new(3) else { return };
    let mut alice = lan.hosts[0].start("alice", &[]);
    let bob = lan.hosts[1].start("bob", &[]);
    let carol = lan.hosts[2].start("carol", &[]);
    wait_mesh(&[&alice, &bob, &carol]);
    say_and_wait(&mut alice, "before", &[&bob, &carol]);
    let ip = |command: &str| lan.hosts[0].namespace.ip(command);
    ip("address flush dev eth0");
    ip("address add 10.77.0.99/24 brd + dev eth0");
    alice.say("meanwhile");
    for program in [&bob, &carol] {
        wait_messages(
            program,
            "alice",
            &["before", "meanwhile"],
            PEER_TIMEOUT + TIMEOUT,
        );
    }
    say_and_wait(&mut alice, "after", &[&bob, &carol]);
}

/// A second interface that appears later carries the lines when the first one is removed.
#[test]
fn a_second_interface_takes_over() {
    let Some(lan) = Lan::new(2) else { return };
    let mut alice = lan.hosts[0].start("alice", &[]);
    let bob = lan.hosts[1].start("bob", &[]);
    wait_mesh(&[&alice, &bob]);
    for host in 0..2 {
        lan.attach(host, 1);
        lan.wait_up(host, 1);
    }
    // The first interface is removed for good.
    lan.detach(0, 0);
    alice.say("over the other cable");
    wait_messages(
        &bob,
        "alice",
        &["over the other cable"],
        PEER_TIMEOUT + TIMEOUT,
    );
    wait_event(&bob, "alice", "joined", 1, TIMEOUT);
    wait_joined(&alice, "bob");
}

/// Beacons pass, and links do not: `send` tells a firewall apart from an empty network.
#[test]
fn a_firewall_is_told_apart_from_an_empty_network() {
    let Some(lan) = Lan::new(3) else { return };
    let drop_links = "add table inet firewall
        add chain inet firewall in { type filter hook input priority 0; }
        add rule inet firewall in meta l4proto tcp drop";
    let (alice, others) = lan.hosts.split_first().expect("three hosts");
    let send = || {
        let mut send = alice.spawn("alice", &["send", "-W", "1", "hello"]);
        assert_eq!(send.wait_code(TIMEOUT), 69);
        send.err.wait_end(TIMEOUT).concat()
    };
    alice.namespace.nft(drop_links);
    assert!(send().contains("; none was heard: "), "{}", send());
    for host in others {
        host.namespace.nft(drop_links);
    }
    let _programs = [others[0].start("bob", &[]), others[1].start("carol", &[])];
    let text = send();
    assert!(
        text.contains("; 2 were heard, but none answers on TCP"),
        "{text}"
    );
}

/// Many bridge ports with addresses, as containers have them, leave no place for the card that
/// comes last. They are left out instead, and the user is told once.
#[test]
fn a_card_is_used_beside_many_bridge_ports() {
    let Some(lan) = Lan::unplugged(2) else { return };
    let ip = |command: &str| lan.hosts[0].namespace.ip(command);
    ip("link add br0 type bridge");
    for n in 0..80 {
        ip(&format!("link add d{n} type veth peer name e{n}"));
        ip(&format!("link set e{n} addrgenmode none up"));
        ip(&format!("link set d{n} master br0 up"));
        ip(&format!("address add 10.{n}.1.1/24 dev d{n}"));
    }
    lan.attach(0, 0);
    lan.attach(1, 0);
    lan.wait_up(0, 0);
    let mut alice = lan.hosts[0].start("alice", &[]);
    let bob = lan.hosts[1].start("bob", &[]);
    wait_mesh(&[&alice, &bob]);
    ip("link set d0 down");
    ip("link set d0 up");
    say_and_wait(&mut alice, "from the card", &[&bob]);
    let warnings = alice.err.all();
    let is_warning = |line: &&String| line.contains("64 network interfaces are used");
    assert_eq!(
        warnings.iter().filter(is_warning).count(),
        1,
        "{warnings:?}"
    );
}

/// Two cards are in one subnet, and only the second one leads to the peer. The routes name the first
/// one, so the program dials over the interface on which it received the beacon.
#[test]
fn of_two_cards_in_one_subnet_the_right_one_is_used() {
    let Some(lan) = Lan::unplugged(2) else { return };
    for (host, segment) in [(0, 0), (0, 1), (1, 1)] {
        lan.attach(host, segment);
        lan.wait_up(host, segment);
    }
    for (host, segment, address) in [(0, 0, 1), (0, 1, 2), (1, 1, 3)] {
        lan.readdress(host, segment, &format!("10.77.0.{address}/24"));
    }
    let mut alice = lan.hosts[0].start("alice", &[]);
    let neighbour = lan.hosts[0].start("neighbour", &[]);
    let bob = lan.hosts[1].start("bob", &[]);
    wait_mesh(&[&alice, &bob, &neighbour]);
    say_and_wait(&mut alice, "over the second card", &[&bob, &neighbour]);
}

/// Both hosts have two cards in one subnet, as a laptop with a cable and WLAN has. They link once,
/// and again after any of the cards has lost its cable or is removed.
#[test]
fn hosts_with_two_cards_in_one_subnet_survive_the_loss_of_any() {
    let Some(lan) = Lan::new(2) else { return };
    for host in 0..2 {
        lan.attach_second(host);
        lan.wait_up(host, 1);
        lan.disable_ipv6(host, 0);
        lan.disable_ipv6(host, 1);
    }
    let mut alice = lan.hosts[0].start("alice", &[]);
    let bob = lan.hosts[1].start("bob", &[]);
    wait_mesh(&[&alice, &bob]);
    let mut said = Vec::new();
    let mut say = |text: String| {
        alice.say(&text);
        said.push(text);
        let expected: Vec<&str> = said.iter().map(String::as_str).collect();
        wait_messages(&bob, "alice", &expected, PEER_TIMEOUT + TIMEOUT);
    };
    let cards = [(0, 0), (1, 0), (0, 1), (1, 1)];
    for (host, card) in cards {
        lan.cut(host, card);
        say(format!("card {card} of host {host} has no cable"));
        lan.plug(host, card);
    }
    lan.detach(0, 0);
    say("a card is removed".to_owned());
    let ended = count_events(&alice.out.all(), "bob", "left");
    assert!(ended <= cards.len() + 1, "{ended} times");
}

/// Two hosts have two cards each, on switches that are separate and use one subnet. The kernel
/// answers on the first card whatever comes in on the second one, but the link-local IPv6 addresses
/// name their card. So the hosts stay in touch whichever switch fails, and with a host on one of
/// them.
#[test]
fn hosts_on_two_switches_with_one_subnet_survive_the_loss_of_either() {
    let Some(lan) = Lan::unplugged(3) else { return };
    for (host, segment, address) in [(0, 0, 1), (0, 1, 2), (1, 0, 3), (1, 1, 4), (2, 1, 5)] {
        lan.attach(host, segment);
        lan.wait_up(host, segment);
        let ip = |command: &str| lan.hosts[host].namespace.ip(command);
        ip(&format!("address flush dev eth{segment} scope global"));
        ip(&format!(
            "address add 10.77.0.{address}/24 brd + dev eth{segment}"
        ));
    }
    let mut alice = lan.hosts[0].start("alice", &[]);
    let bob = lan.hosts[1].start("bob", &[]);
    let carol = lan.hosts[2].start("carol", &[]);
    wait_mesh(&[&alice, &bob, &carol]);
    let mut said = Vec::new();
    for (dead, alive, hears) in [(0, 1, vec![&bob, &carol]), (1, 0, vec![&bob])] {
        for host in 0..2 {
            lan.mute(host, dead);
        }
        alice.say(&format!("over switch {alive}"));
        said.push(format!("over switch {alive}"));
        let expected: Vec<&str> = said.iter().map(String::as_str).collect();
        for program in hears {
            wait_messages(program, "alice", &expected, PEER_TIMEOUT + TIMEOUT);
        }
        for host in 0..2 {
            lan.unmute(host, dead);
        }
    }
}

/// Two programs of one host meet over loopback while all other interfaces are down.
#[test]
fn programs_of_one_host_meet_without_a_network() {
    let Some(lan) = Lan::new(1) else { return };
    let mut alice = lan.hosts[0].start("alice", &[]);
    let bob = lan.hosts[0].start("bob", &[]);
    wait_mesh(&[&alice, &bob]);
    lan.hosts[0].namespace.ip("link set eth0 down");
    let carol = lan.hosts[0].start("carol", &[]);
    wait_mesh(&[&alice, &bob, &carol]);
    say_and_wait(&mut alice, "without a network", &[&bob, &carol]);
}
