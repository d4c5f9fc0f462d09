//! Multicast DNS: peers find each other by it alone, and avahi and we see each other's services.
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::time::Instant;

use super::hosts::host::Host;
use super::hosts::lan::Lan;
use super::hosts::program::Program;
use super::hosts::wait::wait_until;
use super::routed::linked_peers;
use super::{TIMEOUT, finish, say_and_wait, wait_joined, wait_mesh};

/// Drops all beacons from and to this host. Multicast DNS uses another port.
fn block_beacons(host: &Host) {
    host.namespace.nft(
        "add table inet beacons
        add chain inet beacons in { type filter hook input priority 0; }
        add chain inet beacons out { type filter hook output priority 0; }
        add rule inet beacons in udp dport 9999 drop
        add rule inet beacons out udp dport 9999 drop",
    );
}

const USERS: [&str; 3] = ["alice", "bob", "carol"];

/// Starts a program on each host, with these options.
fn start_all(lan: &Lan, options: &[&str]) -> Vec<Program> {
    let hosts = lan.hosts.iter().zip(USERS);
    hosts
        .map(|(host, user)| host.start(user, options))
        .collect()
}

/// Beacons are blocked. All find each other by multicast DNS, in the open and in a closed network,
/// and a program that leaves soon finds them, too.
#[test]
fn all_meet_by_mdns_alone() {
    for is_closed in [false, true] {
        let Some(lan) = Lan::new(3) else { return };
        lan.hosts.iter().for_each(block_beacons);
        let secret = lan.hosts[0].folder("secret");
        fs::write(&secret, "correct horse battery staple\n").expect("a file");
        let secret = secret.to_str().expect("a path");
        let options: &[&str] = match is_closed {
            true => &["--secret-file", secret],
            false => &[],
        };
        let mut programs = start_all(&lan, options);
        let [alice, others @ ..] = &mut programs[..] else {
            panic!("no programs");
        };
        wait_mesh(&[&*alice, &others[0], &others[1]]);
        say_and_wait(alice, "by mdns", &others.iter().collect::<Vec<_>>());
        let hosts = lan.hosts.iter().zip(USERS);
        let found: Vec<String> = hosts
            .flat_map(|(host, user)| linked_peers(host, user))
            .collect();
        let count = |word: &str| found.iter().filter(|it| *it == word).count();
        assert_eq!(count("multicast"), 0, "{found:?}");
        assert!(count("mdns") >= 2, "{found:?}");
        let mut arguments = vec!["send", "--ephemeral", "--need", "1"];
        arguments.extend(options);
        arguments.push("hello");
        let mut dave = lan.hosts[1].spawn("dave", &arguments);
        assert_eq!(dave.wait_code(2 * TIMEOUT), 0, "{:?}", dave.err.all());
        programs
            .into_iter()
            .for_each(|program| drop(finish(program)));
    }
}

/// A daemon of avahi on this host, and its bus. Both end with these values.
fn start_avahi(host: &Host) -> (String, Vec<Program>) {
    let folder = host.folder("avahi");
    fs::create_dir(&folder).expect("a folder");
    let folder = folder.to_str().expect("a path");
    let bus = format!("unix:path={folder}/bus");
    let config = format!(
        "<busconfig><type>custom</type><listen>{bus}</listen><policy context=\"default\">\
         <allow user=\"*\"/><allow own=\"*\"/><allow send_destination=\"*\"/>\
         <allow receive_sender=\"*\"/></policy></busconfig>"
    );
    fs::write(format!("{folder}/bus.conf"), config).expect("a file");
    fs::write(
        format!("{folder}/avahi.conf"),
        "[server]\nuse-iff-running=yes\n",
    )
    .expect("a file");
    let mut command = host.command("dbus-daemon");
    command.args(["--nofork", &format!("--config-file={folder}/bus.conf")]);
    let dbus = Program::spawn("dbus", command);
    wait_until("the bus", TIMEOUT, || {
        fs::exists(format!("{folder}/bus")).is_ok_and(|exists| exists)
    });
    // `ip netns exec` has mounts of its own, so each host has its own folder at run time.
    let mut command = avahi_command(host, &bus, "sh");
    let start = format!(
        "mkdir -p /run/avahi-daemon && mount -t tmpfs avahi /run/avahi-daemon && \
         exec avahi-daemon --no-drop-root --no-rlimits --no-chroot -f {folder}/avahi.conf"
    );
    command.args(["-c", &start]);
    let daemon = Program::spawn("avahi", command);
    daemon
        .err
        .wait_for(TIMEOUT, |line| line.contains("Server startup complete"));
    (bus, vec![dbus, daemon])
}

/// A command on this host that speaks to the daemon on this bus.
fn avahi_command(host: &Host, bus: &str, program: &str) -> Command {
    let mut command = host.command(program);
    command.env("DBUS_SYSTEM_BUS_ADDRESS", bus);
    command
}

/// The services that `avahi-browse` resolves on this host, until one is accepted. Some tries see
/// nothing, so it starts again every 5 s.
fn browse(host: &Host, bus: &str, is_wanted: impl Fn(&str) -> bool) -> String {
    for _ in 0..6 {
        let mut command = avahi_command(host, bus, "timeout");
        command.args(["5", "avahi-browse", "-rp", "_p2pchat._tcp"]);
        let browser = Program::spawn("avahi-browse", command);
        let lines = browser.out.wait_end(TIMEOUT);
        let found = lines
            .into_iter()
            .find(|line| line.starts_with('=') && is_wanted(line));
        if let Some(found) = found {
            return found;
        }
    }
    panic!("avahi-browse does not see the service");
}

/// Avahi sees the service of a program, with its id in the open network only. When the program has
/// ended, the service is gone.
#[test]
fn avahi_sees_our_service() {
    let Some(lan) = Lan::new(2) else { return };
    let (bus, _daemons) = start_avahi(&lan.hosts[0]);
    let alice = lan.hosts[1].start("alice", &[]);
    let id = own_id(&lan.hosts[1], "alice");
    let row = browse(&lan.hosts[0], &bus, |line| line.contains(";IPv4;"));
    let columns: Vec<&str> = row.split(';').collect();
    let name = format!("alice\\126{}", &id[..4]);
    assert_eq!(
        columns[1..6],
        ["eth0", "IPv4", name.as_str(), "_p2pchat._tcp", "local"]
    );
    let text = format!("\"id={id}\"");
    let address = Lan::address(1, 0);
    assert_eq!(columns[7..10], [address.as_str(), "9999", text.as_str()]);
    let mut command = avahi_command(&lan.hosts[0], &bus, "avahi-browse");
    command.args(["-p", "_p2pchat._tcp"]);
    let browser = Program::spawn("avahi-browse", command);
    browser.out.wait_for(TIMEOUT, |line| line.starts_with('+'));
    finish(alice);
    browser.out.wait_for(TIMEOUT, |line| line.starts_with('-'));
    // An outsider learns nothing of a member of a closed network that would show it again.
    let secret = lan.hosts[1].folder("secret");
    fs::write(&secret, "correct horse battery staple\n").expect("a file");
    let bob = lan.hosts[1].start("bob", &["--secret-file", secret.to_str().expect("a path")]);
    let id = own_id(&lan.hosts[1], "bob");
    let row = browse(&lan.hosts[0], &bus, |line| line.contains("net="));
    assert!(!row.contains("bob") && !row.contains(&id[..4]), "{row}");
    finish(bob);
}

/// Another host has a service of the same name, so ours gets another one. That one is gone as well
/// when the program has ended.
#[test]
fn a_renamed_service_is_withdrawn() {
    let Some(lan) = Lan::new(2) else { return };
    let (bus, _daemons) = start_avahi(&lan.hosts[0]);
    let id = own_id(&lan.hosts[1], "alice");
    let name = format!("alice~{}", &id[..4]);
    let mut command = avahi_command(&lan.hosts[0], &bus, "avahi-publish");
    command.args(["-s", &name, "_p2pchat._tcp", "9999"]);
    let publisher = Program::spawn("avahi-publish", command);
    publisher
        .err
        .wait_for(TIMEOUT, |line| line.starts_with("Established"));
    let alice = lan.hosts[1].start("alice", &[]);
    let mut command = avahi_command(&lan.hosts[0], &bus, "avahi-browse");
    command.args(["-p", "_p2pchat._tcp"]);
    let browser = Program::spawn("avahi-browse", command);
    // `alice~abcd (2)`, as avahi-browse writes it.
    let renamed = format!("alice\\126{}\\032\\0402\\041", &id[..4]);
    let wait_row = |sign: char| {
        browser.out.wait_for(2 * TIMEOUT, |line| {
            line.starts_with(sign) && line.contains(&renamed)
        });
    };
    wait_row('+');
    finish(alice);
    wait_row('-');
}

/// A service of `avahi-publish` leads to a link, with and without an id.
#[test]
fn we_see_a_service_of_avahi() {
    let Some(lan) = Lan::new(2) else { return };
    let (bus, _daemons) = start_avahi(&lan.hosts[0]);
    let carol = lan.hosts[0].start("carol", &["-m", "none"]);
    let id = format!("id={}", own_id(&lan.hosts[0], "carol"));
    lan.hosts.iter().for_each(block_beacons);
    for (user, text) in [("alice", vec![]), ("bob", vec![id.as_str()])] {
        let mut command = avahi_command(&lan.hosts[0], &bus, "avahi-publish");
        command
            .args(["-s", "a box", "_p2pchat._tcp", "9999"])
            .args(text);
        let publisher = Program::spawn("avahi-publish", command);
        let program = lan.hosts[1].start(user, &[]);
        wait_joined(&program, "carol");
        assert_eq!(linked_peers(&lan.hosts[1], user), ["mdns"]);
        drop(publisher);
        finish(program);
    }
    finish(carol);
}

/// The id that `whoami` prints for this user.
fn own_id(host: &Host, user: &str) -> String {
    let mut whoami = host.spawn(user, &["whoami"]);
    assert_eq!(whoami.wait_code(TIMEOUT), 0);
    let lines = whoami.out.wait_end(TIMEOUT);
    let id = lines.iter().find_map(|line| line.strip_prefix("id: "));
    id.expect("an id").to_owned()
}

/// Nothing is found by multicast DNS with `--no-mdns`, and with `-m none`.
#[test]
fn mdns_can_be_switched_off() {
    let Some(lan) = Lan::new(2) else { return };
    lan.hosts.iter().for_each(block_beacons);
    let bob = lan.hosts[1].start("bob", &[]);
    for option in [["--no-mdns"].as_slice(), &["-m", "none"]] {
        let arguments = [["peers", "-W", "3", "--ephemeral"].as_slice(), option].concat();
        let mut alice = lan.hosts[0].spawn("alice", &arguments);
        assert_eq!(alice.wait_code(TIMEOUT), 69);
    }
    let mut alice = lan.hosts[0].spawn("alice", &["peers", "-W", "3", "--ephemeral"]);
    assert_eq!(alice.wait_code(TIMEOUT), 0);
    finish(bob);
}

/// A program that holds the port for itself makes multicast DNS fail. Nothing is said about it
/// without --debug, and `/stats` tells.
#[test]
fn a_taken_port_is_tolerated() {
    let Some(lan) = Lan::new(1) else { return };
    let host = &lan.hosts[0];
    let socket = host
        .namespace
        .inside(|| UdpSocket::bind("0.0.0.0:5353").expect("a socket"));
    let mut alice = host.start("alice", &["--commands"]);
    wait_until("the trouble is told", TIMEOUT, || {
        alice.say("/stats");
        alice
            .err
            .all()
            .iter()
            .any(|line| line.contains("mdns: UDP port 5353 cannot be shared"))
    });
    drop(socket);
    let errors = alice.err.all();
    assert!(
        !errors
            .iter()
            .any(|line| line.contains("5353") && !line.contains("mdns: "))
    );
    finish(alice);
}

/// The bytes of a DNS name.
fn dns_name(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| {
        let length = u8::try_from(label.len()).expect("a label");
        std::iter::once(length).chain(label.bytes())
    });
    labels.chain([0]).collect()
}

/// A resource record of class IN that lasts an hour.
fn record(name: &str, kind: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = dns_name(name);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1, 0, 0, 0x0e, 0x10]);
    bytes.extend(u16::try_from(data.len()).expect("data").to_be_bytes());
    bytes.extend(data);
    bytes
}

/// An answer that announces a made-up service at this address.
fn false_answer(number: usize, address: Ipv4Addr) -> Vec<u8> {
    let (service, host) = ("_p2pchat._tcp.local", format!("host{number}.local"));
    let instance = format!("ghost{number}.{service}");
    let mut server = vec![0, 0, 0, 0];
    server.extend(9999_u16.to_be_bytes());
    server.extend(dns_name(&host));
    let mut bytes = vec![0, 0, 0x84, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    bytes.extend(record(service, 12, &dns_name(&instance)));
    bytes.extend(record(&instance, 33, &server));
    bytes.extend(record(&instance, 16, &[0]));
    bytes.extend(record(&host, 1, &address.octets()));
    bytes
}

/// Mallory sends 1000 false answers, half of them with addresses of the internet. Only few lead to
/// dials, none of them to the internet, and bob is found all the same.
#[test]
fn a_flood_of_false_answers_is_bounded() {
    let Some(lan) = Lan::new(3) else { return };
    lan.hosts.iter().for_each(block_beacons);
    for host in [0, 1] {
        let gateway = Lan::address(2, 0);
        let namespace = &lan.hosts[host].namespace;
        namespace.ip(&format!("route add default via {gateway}"));
        namespace.nft(
            "add table inet dials
            add chain inet dials out { type filter hook output priority 0; }
            add rule inet dials out ip daddr 203.0.113.0/24 tcp flags syn counter
            add rule inet dials out ip daddr 10.77.0.128/25 tcp flags syn counter",
        );
    }
    let mut alice = lan.hosts[0].start("alice", &["-d"]);
    alice
        .err
        .wait_for(TIMEOUT, |line| line.contains("mdns: announced"));
    let mallory = &lan.hosts[2].namespace;
    mallory.ip("route add 224.0.0.0/4 dev eth0");
    let socket = mallory.inside(|| UdpSocket::bind("0.0.0.0:5353").expect("a socket"));
    for number in 0..1_000 {
        let last = u8::try_from(number % 100).expect("a byte");
        let address = match number % 2 {
            0 => Ipv4Addr::new(203, 0, 113, last),
            _ => Ipv4Addr::new(10, 77, 0, 128 + last),
        };
        let answer = false_answer(number, address);
        socket
            .send_to(&answer, "224.0.0.251:5353")
            .expect("a route");
        // The receiving socket holds some hundreds.
        if number % 50 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
    let sent = Instant::now();
    alice
        .err
        .wait_for(TIMEOUT, |line| line.contains("dial 10.77.0."));
    let bob = lan.hosts[1].start("bob", &[]);
    wait_joined(&alice, "bob");
    let dials = alice
        .err
        .all()
        .iter()
        .filter(|line| line.contains("dial "))
        .count();
    let seconds = usize::try_from(sent.elapsed().as_secs()).expect("a time");
    assert!(dials <= 16 + 2 * seconds, "{dials} dials in {seconds} s");
    assert!(alice.peak() < 32 * 1024, "{} KiB", alice.peak());
    let rules = lan.hosts[0]
        .command("nft")
        .args(["list", "table", "inet", "dials"])
        .output();
    let rules = String::from_utf8(rules.expect("nft").stdout).expect("text");
    let to_internet = rules.lines().find(|line| line.contains("203.0.113.0"));
    assert!(
        to_internet.is_some_and(|it| it.contains("packets 0 ")),
        "{rules}"
    );
    say_and_wait(&mut alice, "still here", &[&bob]);
    finish(alice);
    finish(bob);
}

/// Mallory sends 30 000 addresses of hosts that nobody asked for. The library would keep them for
/// their years of life, so it is ended, which frees them.
#[test]
fn a_flood_of_addresses_is_forgotten() {
    let Some(lan) = Lan::new(2) else { return };
    lan.hosts.iter().for_each(block_beacons);
    let alice = lan.hosts[0].start("alice", &["-d"]);
    alice
        .err
        .wait_for(TIMEOUT, |line| line.contains("mdns: announced"));
    let mallory = &lan.hosts[1].namespace;
    mallory.ip("route add 224.0.0.0/4 dev eth0");
    let socket = mallory.inside(|| UdpSocket::bind("0.0.0.0:5353").expect("a socket"));
    for packet in 0..1_000 {
        let mut bytes = vec![0, 0, 0x84, 0, 0, 0, 0, 30, 0, 0, 0, 0];
        for number in 0..30 {
            let host = format!("h{packet}-{number}.local");
            bytes.extend(record(&host, 1, &[10, 77, 0, 200]));
        }
        socket.send_to(&bytes, "224.0.0.251:5353").expect("a route");
        if packet % 50 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
    alice.err.wait_for(TIMEOUT, |line| {
        line.contains("mdns:") && line.contains("too many answers are kept")
    });
    assert!(alice.peak() < 48 * 1024, "{} KiB", alice.peak());
    finish(alice);
}

/// Random numbers from a seed (xorshift64, Marsaglia, 2003).
struct Mutations(u64);

impl Mutations {
    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).expect("64 bits") % limit.max(1)
    }

    /// A packet with a few changes: other bytes, pointers of names, a cut, a repetition.
    fn mutate(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut bytes = packet.to_vec();
        for _ in 0..=self.below(4) {
            let (at, value) = (self.below(bytes.len()), self.below(256));
            let value = u8::try_from(value).expect("a byte");
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, value),
                2 => bytes.extend_from_slice(&packet[at.min(packet.len())..]),
                3 if at + 1 < bytes.len() => {
                    (bytes[at], bytes[at + 1]) = (0xc0 | value & 1, value);
                }
                _ if at < bytes.len() => bytes[at] = value,
                _ => {}
            }
        }
        bytes.truncate(9_000);
        bytes
    }
}

/// How many changed packets mallory sends: 6 s.
const MUTATED_PACKETS: usize = 10_000;

/// A panic in the thread of the library would end the program. Mallory changes packets that alice
/// and the test made, and none has one.
#[test]
fn changed_packets_do_not_end_the_program() {
    let Some(lan) = Lan::new(2) else { return };
    let mallory = &lan.hosts[1].namespace;
    mallory.ip("route add 224.0.0.0/4 dev eth0");
    let socket = mallory.inside(|| UdpSocket::bind("0.0.0.0:5353").expect("a socket"));
    let group = Ipv4Addr::new(224, 0, 0, 251);
    let own = Lan::address(1, 0).parse().expect("an address");
    socket.join_multicast_v4(&group, &own).expect("a group");
    let timeout = Some(std::time::Duration::from_millis(100));
    socket.set_read_timeout(timeout).expect("a socket");
    let mut alice = lan.hosts[0].start("alice", &["-d", "--commands"]);
    // Records that last a second keep the memory of the library small.
    let short = |mut bytes: Vec<u8>| {
        for at in 0..bytes.len().saturating_sub(4) {
            if bytes[at..at + 4] == [0, 0, 0x0e, 0x10] {
                bytes[at + 2..at + 4].copy_from_slice(&[0, 1]);
            }
        }
        bytes
    };
    let near = Ipv4Addr::new(10, 77, 0, 2);
    let mut packets: Vec<Vec<u8>> = (0..4).map(|n| short(false_answer(n, near))).collect();
    let mut buffer = [0; 9_000];
    wait_until("alice is heard", TIMEOUT, || {
        if let Ok((n, _)) = socket.recv_from(&mut buffer) {
            packets.push(short(buffer[..n].to_vec()));
        }
        packets.len() >= 10
    });
    let mut mutations = Mutations(0x9e37_79b9_7f4a_7c15);
    for number in 0..MUTATED_PACKETS {
        let packet = &packets[mutations.below(packets.len())];
        let changed = mutations.mutate(packet);
        socket.send_to(&changed, (group, 5353)).expect("a route");
        if number % 10 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    alice.say("/stats");
    alice
        .err
        .wait_for(TIMEOUT, |line| line.contains("peers holding"));
    let errors = alice.err.all();
    let has_failed = |line: &&String| line.contains("panicked");
    assert_eq!(errors.iter().find(has_failed), None);
    finish(alice);
}
