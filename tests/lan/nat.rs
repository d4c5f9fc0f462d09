//! Hosts behind NATs: the talk goes through a peer that both reach, or over a port that `--nat` has
//! the gateway map.
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use p2pchat::shell::net::nat::gateway::parse_default_gateway;
use p2pchat::shell::net::nat::mapping::{LIFETIME_S, Mapping, NoMapping};
use p2pchat::shell::net::nat::session::GatewaySession;

use super::hosts::lan::Lan;
use super::hosts::program::Program;
use super::hosts::wait::wait_until;
use super::{TIMEOUT, say_and_wait, wait_mesh};

/// Alice and bob, each in a home with a router, and carol, whom both routers reach.
const ALICE: usize = 0;
const ALICES_ROUTER: usize = 1;
const BOB: usize = 2;
const BOBS_ROUTER: usize = 3;
const CAROL: usize = 4;
/// Dave lives with alice.
const DAVE: usize = 5;

/// The rules of a router: what comes from outside needs a mapping, what goes out gets its address.
/// miniupnpd adds its mappings to the chains of its name.
const ROUTER: &str = "
    table inet filter {
        chain miniupnpd {}
        chain prerouting_miniupnpd {}
        chain postrouting_miniupnpd {}
        chain forward {
            type filter hook forward priority 0; policy drop;
            ct state established,related accept
            iifname \"eth0\" accept
            iifname \"eth1\" accept
            jump miniupnpd
        }
        chain prerouting {
            type nat hook prerouting priority -100;
            jump prerouting_miniupnpd
        }
        chain postrouting {
            type nat hook postrouting priority 100;
            oifname \"eth2\" masquerade
        }
    }";

/// The address of this host between the homes.
fn outside(host: usize) -> String {
    format!("11.79.0.{}", host + 1)
}

fn two_homes() -> Option<Lan> {
    let lan = Lan::unplugged(6)?;
    let cards = [
        (ALICE, 0),
        (ALICES_ROUTER, 0),
        (ALICES_ROUTER, 2),
        (BOB, 1),
        (BOBS_ROUTER, 1),
        (BOBS_ROUTER, 2),
        (CAROL, 2),
        (DAVE, 0),
    ];
    for (host, segment) in cards {
        lan.attach(host, segment);
        lan.wait_up(host, segment);
    }
    // Outside, addresses are public: miniupnpd maps no port at a private or reserved one.
    for host in [ALICES_ROUTER, BOBS_ROUTER, CAROL] {
        lan.readdress(host, 2, &format!("{}/24", outside(host)));
    }
    for (host, router, home) in [
        (ALICE, ALICES_ROUTER, 0),
        (DAVE, ALICES_ROUTER, 0),
        (BOB, BOBS_ROUTER, 1),
    ] {
        let namespace = &lan.hosts[router].namespace;
        let gateway = Lan::address(router, home);
        let route = format!("route add default via {gateway}");
        lan.hosts[host].namespace.ip(&route);
        if host == DAVE {
            continue;
        }
        let forwarding = "/proc/sys/net/ipv4/ip_forward";
        namespace.inside(|| fs::write(forwarding, "1").expect("a sysctl of the namespace"));
        namespace.nft(ROUTER);
    }
    Some(lan)
}

/// Starts Debian's miniupnpd on alice's router, with these protocols. `None` (and NOT RUN on stderr) if it is missing.
fn gateway(lan: &Lan, protocols: &str) -> Option<Program> {
    if Command::new("miniupnpd").arg("--version").output().is_err() {
        super::hosts::namespace::print_not_run("MINIUPNPD IS MISSING");
        return None;
    }
    let router = &lan.hosts[ALICES_ROUTER];
    let folder = router.folder("");
    let config = folder.join("miniupnpd.conf");
    let text = format!(
        "ext_ifname=eth2\nlistening_ip=eth0\nport=0\n{protocols}\nsecure_mode=yes\n\
         system_uptime=yes\nuuid=00000000-0000-0000-0000-000000000000\n\
         allow 1024-65535 0.0.0.0/0 1024-65535\n"
    );
    fs::write(&config, text).expect("a file");
    let mut command = router.command("miniupnpd");
    command.arg("-d").arg("-f").arg(&config);
    command.arg("-P").arg(folder.join("pid"));
    let gateway = Program::spawn("gateway", command);
    // The ports of PCP and of SSDP, in hex.
    let port = match protocols.contains("enable_upnp=yes") {
        true => ":076C ",
        false => ":14E7 ",
    };
    wait_until("the gateway listens", TIMEOUT, || {
        let table = router
            .namespace
            .inside(|| fs::read_to_string("/proc/thread-self/net/udp"));
        table.expect("the sockets").contains(port)
    });
    Some(gateway)
}

/// Two peers behind NATs cannot dial each other. A peer that both dial carries the talk, both ways.
#[test]
fn a_reachable_peer_carries_the_talk_of_two_behind_nats() {
    let Some(lan) = two_homes() else { return };
    let carols = outside(CAROL);
    let mut carol = lan.hosts[CAROL].start("carol", &[]);
    let mut alice = lan.hosts[ALICE].start("alice", &["--peer", &carols]);
    let mut bob = lan.hosts[BOB].start("bob", &["--peer", &carols]);
    wait_mesh(&[&alice, &bob, &carol]);
    say_and_wait(&mut alice, "from home", &[&bob, &carol]);
    say_and_wait(&mut bob, "from my home", &[&alice, &carol]);
    say_and_wait(&mut carol, "to both", &[&alice, &bob]);
}

/// Waits until bob has dialed this peer at an address to which he was introduced.
fn wait_linked_by_exchange(lan: &Lan, peer: &str, address: &str) {
    wait_until("bob is linked", 3 * TIMEOUT, || {
        let mut peers = lan.hosts[BOB].spawn("bob", &["peers", "-W", "0.5"]);
        peers.wait_code(TIMEOUT);
        let rows = peers.out.wait_end(TIMEOUT);
        let linked = format!("\t{address}\texchange\tlinked\t");
        let is_linked =
            |row: &String| row.starts_with(&format!("{peer}~")) && row.contains(&linked);
        rows.iter().any(is_linked)
    });
}

/// Two programs of one home listen on one port, so the gateway gives another one to the second. It
/// is dialed there.
#[test]
fn two_of_one_home_are_dialed_at_different_ports() {
    let Some(lan) = two_homes() else { return };
    let Some(_gateway) = gateway(&lan, "enable_natpmp=yes\nenable_upnp=no") else {
        return;
    };
    let carols = outside(CAROL);
    let carol = lan.hosts[CAROL].start("carol", &[]);
    let bob = lan.hosts[BOB].start("bob", &["--peer", &carols]);
    let outside = outside(ALICES_ROUTER);
    let prefix = format!("--nat: port 9999 is reachable as {outside}:");
    let mut programs = Vec::new();
    let mut ports = Vec::new();
    for (host, user) in [(ALICE, "alice"), (DAVE, "dave")] {
        let options = ["--nat", "--debug", "--peer", &carols];
        let program = lan.hosts[host].start(user, &options);
        let line = program.err.wait_for(TIMEOUT, |line| line.contains(&prefix));
        let (_, rest) = line.split_once(&prefix).expect("a port");
        ports.push(rest.split(' ').next().expect("a port").to_owned());
        wait_linked_by_exchange(&lan, user, &format!("{outside}:{}", ports[ports.len() - 1]));
        programs.push(program);
    }
    assert_ne!(ports[0], ports[1]);
    wait_mesh(&[&bob, &carol, &programs[0], &programs[1]]);
}

/// With `--nat`, the gateway maps the port: /code has the address outside, the other home is
/// introduced to it and dials it. The mapping ends with the program.
#[test]
fn a_mapped_port_is_dialed_from_outside() {
    let Some(lan) = two_homes() else { return };
    let Some(gateway) = gateway(&lan, "enable_natpmp=yes\nenable_upnp=no") else {
        return;
    };
    let carols = outside(CAROL);
    let carol = lan.hosts[CAROL].start("carol", &[]);
    let options = ["--nat", "--debug", "--commands", "--peer", &carols];
    let mut alice = lan.hosts[ALICE].start("alice", &options);
    let outside = outside(ALICES_ROUTER);
    let mapped = format!("--nat: port 9999 is reachable as {outside}:9999 (PCP)");
    alice.err.wait_for(TIMEOUT, |line| line.ends_with(&mapped));
    alice.say("/code");
    let code = alice
        .err
        .wait_for(TIMEOUT, |line| line.starts_with("code: "));
    assert!(code.contains(&format!("@{outside}:9999,")), "{code}");
    let whoami = super::finish(lan.hosts[ALICE].spawn("alice", &["whoami"]));
    assert!(whoami.contains(&code), "{whoami:?}");
    let attached = lan.hosts[ALICE].start("alice", &["--nat", "listen", "-W", "0.1"]);
    super::finish(attached);
    let bob = lan.hosts[BOB].start("bob", &["--peer", &carols]);
    wait_mesh(&[&alice, &bob, &carol]);
    wait_linked_by_exchange(&lan, "alice", &format!("{outside}:9999"));
    assert!(rules(&lan).contains("9999"), "{}", rules(&lan));
    super::finish(alice);
    assert!(!rules(&lan).contains("9999"), "{}", rules(&lan));
    drop(gateway);
}

/// A gateway that speaks UPnP only maps the port as well, for each of two programs that listen on the
/// same one, and deletes the mappings at their end.
#[cfg(feature = "upnp")]
#[test]
fn a_gateway_with_upnp_maps_the_port() {
    let Some(lan) = two_homes() else { return };
    let Some(_gateway) = gateway(&lan, "enable_natpmp=no\nenable_upnp=yes") else {
        return;
    };
    let outside = outside(ALICES_ROUTER);
    let mut programs = Vec::new();
    for (host, user, port) in [(ALICE, "alice", 9999), (DAVE, "dave", 10_000)] {
        let program = lan.hosts[host].start(user, &["--nat", "--debug", "--commands"]);
        let mapped = format!("--nat: port 9999 is reachable as {outside}:{port} (UPnP)");
        program
            .err
            .wait_for(TIMEOUT, |line| line.ends_with(&mapped));
        programs.push(program);
    }
    let carol = lan.hosts[CAROL].start("carol", &["--peer", &format!("{outside}:10000")]);
    wait_mesh(&[&programs[1], &carol]);
    programs.into_iter().for_each(|program| {
        super::finish(program);
    });
    assert!(!rules(&lan).contains("9999"), "{}", rules(&lan));
}

/// The rules of alice's router.
fn rules(lan: &Lan) -> String {
    let mut nft = lan.hosts[ALICES_ROUTER].command("nft");
    let output = nft.args(["list", "ruleset"]).output().expect("nft");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A gateway on host 1 of a LAN, which answers each datagram with those of `answers`.
fn answer_as_gateway<T: Send>(
    lan: &Lan,
    answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + Sync,
    client: impl FnOnce() -> T + Send,
) -> T {
    let bind = |port| {
        let mut socket = None;
        // A program that another test starts just now may still have the last socket.
        wait_until("a free port", TIMEOUT, || {
            let address = (Ipv4Addr::UNSPECIFIED, port);
            let gateway = &lan.hosts[1].namespace;
            socket = gateway.inside(|| UdpSocket::bind(address).ok());
            socket.is_some()
        });
        socket.expect("a socket")
    };
    // Answers that come from another port are not the gateway's.
    let (socket, other) = (bind(5351), bind(5352));
    socket
        .set_read_timeout(Some(Duration::from_millis(20)))
        .expect("a socket");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 1100];
            while !is_over.load(Ordering::Relaxed) {
                let Ok((n, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                for answer in answers(&buffer[..n]) {
                    match answer.strip_prefix(b"other port") {
                        Some(answer) => other.send_to(answer, from),
                        None if answer == b"announce" => {
                            socket.send_to(&answer, (Ipv4Addr::new(224, 0, 0, 1), 5350))
                        }
                        None => socket.send_to(&answer, from),
                    }
                    .expect("a client");
                }
            }
        });
        let _end = EndOnDrop(&is_over);
        lan.hosts[0].namespace.inside(client)
    })
}

/// Ends a thread, also if the test fails meanwhile.
pub struct EndOnDrop<'a>(pub &'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks host 1 for a mapping of port 9999.
fn ask(
    lan: &Lan,
    answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + Sync,
) -> Result<Mapping, NoMapping> {
    let gateway = Lan::address(1, 0).parse().expect("an address");
    answer_as_gateway(lan, answers, move || {
        let opened = GatewaySession::open(gateway, 9999, *b"twelve bytes");
        opened.expect("a socket").map(&|| false)
    })
}

/// The answer of PCP to this request: the external address 11.0.0.1 with this port.
fn pcp_answer(request: &[u8], port: u16, lifetime_s: u32) -> Vec<u8> {
    let mut answer = request.to_vec();
    answer[1] |= 0x80;
    answer[2..24].fill(0);
    answer[4..8].copy_from_slice(&lifetime_s.to_be_bytes());
    answer[42..44].copy_from_slice(&port.to_be_bytes());
    answer[56..].copy_from_slice(&[11, 0, 0, 1]);
    answer
}

/// Whatever a gateway or its neighbours send: only the gateway's answer to this request counts, its
/// lifetime is bounded, and an address that nobody can dial is none.
#[test]
fn a_lying_gateway_is_not_believed() {
    let Some(lan) = Lan::new(2) else { return };
    let mapping = ask(&lan, |request| {
        let forged = pcp_answer(request, 6666, 7200);
        let mut wrong_nonce = forged.clone();
        wrong_nonce[30] ^= 1;
        let mut wrong_opcode = forged.clone();
        wrong_opcode[1] = 0x82;
        let other_port = [b"other port".to_vec(), forged].concat();
        let huge_lifetime = pcp_answer(request, 10_000, u32::MAX);
        vec![
            wrong_nonce,
            wrong_opcode,
            other_port,
            vec![],
            vec![2],
            huge_lifetime,
        ]
    });
    let mapping = mapping.expect("a mapping");
    assert_eq!(mapping.external, "11.0.0.1:10000".parse().unwrap());
    assert_eq!((mapping.lifetime_s, mapping.protocol), (LIFETIME_S, "PCP"));
    for useless in [(0, 7200), (10_000, 0)] {
        let answered = ask(&lan, |request| {
            vec![pcp_answer(request, useless.0, useless.1)]
        });
        assert_eq!(answered, Err(NoMapping::Useless));
    }
    for (begin, nested) in [([192, 168], true), ([100, 64], true), ([100, 128], false)] {
        let answered = ask(&lan, |request| {
            let mut answer = pcp_answer(request, 10_000, 7200);
            answer[56..58].copy_from_slice(&begin);
            vec![answer]
        });
        let outer = Ipv4Addr::new(begin[0], begin[1], 0, 1);
        match nested {
            true => assert_eq!(answered, Err(NoMapping::Nested(outer))),
            false => assert_eq!(answered.expect("a mapping").external.ip(), outer),
        }
    }
    let refused = ask(&lan, |request| {
        let mut refused = pcp_answer(request, 0, 30);
        refused[3] = 2;
        vec![refused]
    });
    assert_eq!(refused, Err(NoMapping::Refused("PCP", 2)));
}

/// The answers of the gateway are lost when the program ends. What may be mapped is deleted.
#[test]
fn a_mapping_whose_answer_is_lost_is_deleted() {
    let Some(lan) = Lan::new(2) else { return };
    let namespace = &lan.hosts[0].namespace;
    namespace.ip(&format!("route add default via {}", Lan::address(1, 0)));
    let lifetimes = Mutex::new(Vec::new());
    let lose = |request: &[u8]| {
        let lifetime_s = request.get(4..8).expect("a request of PCP");
        lifetimes.lock().expect("a lock").push(lifetime_s != [0; 4]);
        vec![]
    };
    answer_as_gateway(&lan, lose, || {
        let alice = lan.hosts[0].start("alice", &["--nat"]);
        wait_until("the gateway is asked", TIMEOUT, || {
            lifetimes.lock().expect("a lock").contains(&true)
        });
        super::finish(alice);
    });
    let lifetimes = lifetimes.into_inner().expect("a lock");
    assert_eq!(lifetimes.last(), Some(&false), "{lifetimes:?}");
}

/// A gateway that announces a restart or a new address is asked again, long before the mapping ends.
/// The address outside is then the new one, also for those who are introduced to us.
#[test]
fn an_announced_change_counts_at_once() {
    let Some(lan) = Lan::new(4) else { return };
    let namespace = &lan.hosts[0].namespace;
    namespace.ip(&format!("route add default via {}", Lan::address(1, 0)));
    let group = "route add 224.0.0.0/4 dev eth0";
    lan.hosts[1].namespace.ip(group);
    let (has_changed, asked_at) = (AtomicBool::new(false), Mutex::new(Instant::now()));
    let answers = |request: &[u8]| {
        if request == b"announce" {
            has_changed.store(true, Ordering::Relaxed);
            return vec![b"announce".to_vec()];
        }
        *asked_at.lock().expect("a lock") = Instant::now();
        let mut answer = pcp_answer(request, 10_000, 7200);
        answer[59] += u8::from(has_changed.load(Ordering::Relaxed));
        vec![answer]
    };
    answer_as_gateway(&lan, answers, || {
        let bob = lan.hosts[2].start("bob", &[]);
        let mut alice = lan.hosts[0].start("alice", &["--nat", "--debug", "--commands"]);
        wait_mesh(&[&alice, &bob]);
        let mapped = |ip| format!("--nat: port 9999 is reachable as {ip}:10000 (PCP)");
        let wait_mapped = |ip| {
            alice
                .err
                .wait_for(TIMEOUT, |line| line.ends_with(&mapped(ip)))
        };
        wait_mapped("11.0.0.1");
        // The interfaces of a host that starts change, and each change makes the program ask.
        wait_until("it asks no more", TIMEOUT, || {
            let last = *asked_at.lock().expect("a lock");
            last.elapsed() > Duration::from_secs(3)
        });
        let trigger = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
        let gateway = (&*Lan::address(1, 0), 5351);
        trigger.send_to(b"announce", gateway).expect("a gateway");
        wait_mapped("11.0.0.2");
        alice.say("/code");
        let code = alice
            .err
            .wait_for(TIMEOUT, |line| line.starts_with("code: "));
        assert!(code.contains("@11.0.0.2:10000,"), "{code}");
        super::finish(alice);
    });
}

/// A gateway that knows NAT-PMP only says so, and is asked in NAT-PMP.
#[test]
fn an_older_gateway_is_asked_in_nat_pmp() {
    let Some(lan) = Lan::new(2) else { return };
    let mapping = ask(&lan, |request| match request {
        [0, 0] => {
            // An answer to another request comes first.
            let mapping = [0, 0x82, 0, 0, 0, 0, 0, 9, 39, 15, 0, 1, 0, 0, 14, 16].to_vec();
            vec![mapping, [0, 0x80, 0, 0, 0, 0, 0, 9, 11, 0, 0, 1].to_vec()]
        }
        [0, 2, ..] => {
            assert_eq!(request.len(), 12);
            let other_port = [0, 0x82, 0, 0, 0, 0, 0, 9, 1, 1, 0, 1, 0, 0, 14, 16].to_vec();
            let mapping = [0, 0x82, 0, 0, 0, 0, 0, 9, 39, 15, 39, 16, 0, 0, 14, 16].to_vec();
            vec![other_port, mapping]
        }
        _ => vec![vec![0, request[1] | 0x80, 0, 1, 0, 0, 0, 9]],
    });
    let mapping = mapping.expect("a mapping");
    assert_eq!(mapping.external, "11.0.0.1:10000".parse().unwrap());
    assert_eq!((mapping.lifetime_s, mapping.protocol), (3600, "NAT-PMP"));
}

/// A gateway that does not answer costs the talk nothing, and the user is told once. The program
/// ends at once, although the gateway is still being asked.
#[test]
fn a_silent_gateway_is_reported() {
    let Some(lan) = Lan::new(2) else { return };
    let bob = lan.hosts[1].start("bob", &[]);
    let mut alice = lan.hosts[0].start("alice", &["--nat"]);
    alice.err.wait_for(TIMEOUT, |line| {
        line.contains("--nat: there is no default gateway")
    });
    say_and_wait(&mut alice, "nevertheless", &[&bob]);
    let namespace = &lan.hosts[0].namespace;
    namespace.ip(&format!("route add default via {}", Lan::address(1, 0)));
    super::finish(alice);
    let alice = lan.hosts[0].start("alice", &["--nat"]);
    let begin = Instant::now();
    super::finish(alice);
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
}

/// The default route with the least metric counts; routes that are down, lead nowhere or belong to
/// an interface that is not used do not.
#[test]
fn the_gateway_is_that_of_the_default_route() {
    let gateway = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
    let [first, second] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(gateway);
    let table = format!(
        "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
         eth0 00000000 {first} 0003 0 0 100 00000000 0 0 0\n\
         eth1 00000000 {second} 0003 0 0 50 00000000 0 0 0\n\
         eth2 00000000 {first} 0002 0 0 1 00000000 0 0 0\n\
         eth2 00000000 00000000 0001 0 0 1 00000000 0 0 0\n\
         eth2 0000000A {first} 0003 0 0 1 000000FF 0 0 0\n\
         eth2 malformed\n"
    );
    let chosen = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        parse_default_gateway(&table, &names)
    };
    assert_eq!(chosen(&[]), Some(Ipv4Addr::new(10, 0, 0, 2)));
    assert_eq!(chosen(&["eth0"]), Some(Ipv4Addr::new(10, 0, 0, 1)));
    assert_eq!(chosen(&["eth2"]), None);
    assert_eq!(parse_default_gateway("", &[]), None);
}
