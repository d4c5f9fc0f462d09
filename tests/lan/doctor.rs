//! `p2pchat doctor` with each fault really present: it names that one, and only that.
use std::fs;
use std::fs::Permissions;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::TIMEOUT;
use super::doctor_host::id_of;
use super::hosts::host::Host;
use super::hosts::lan::Lan;
use super::hosts::program::Program;

/// The options of all programs here: beacons come once a second, so that two seconds are enough to
/// hear them.
const OFTEN: [&str; 2] = ["--interval", "1"];

/// Waits for the end of `doctor`, and returns all its lines. Asserts that its exit status fits
/// them.
pub fn finish(mut doctor: Program) -> Vec<String> {
    let code = doctor.wait_code(TIMEOUT);
    let lines = doctor.out.wait_end(TIMEOUT);
    let err = doctor.err.wait_end(TIMEOUT);
    assert!(err.is_empty(), "{err:?}");
    let has_finding = lines.iter().any(|line| line.starts_with("finding: "));
    assert_eq!(code, i32::from(has_finding), "{lines:#?}");
    lines
}

fn examine(host: &Host, options: &[&str]) -> Vec<String> {
    let mut arguments = vec!["doctor"];
    arguments.extend(OFTEN);
    arguments.extend(options);
    finish(host.spawn("alice", &arguments))
}

/// Asserts that one thing is found, and that its line has all these parts.
#[track_caller]
pub fn assert_only(lines: &[String], name: &str, parts: &[&str]) {
    let findings: Vec<&String> = lines
        .iter()
        .filter(|line| line.starts_with("finding: "))
        .collect();
    assert_eq!(findings.len(), 1, "not {name} alone: {lines:#?}");
    let start = format!("finding: {name}: ");
    assert!(findings[0].starts_with(&start), "not {name}: {lines:#?}");
    for part in parts {
        assert!(findings[0].contains(part), "no {part}: {lines:#?}");
    }
    let (_, command) = findings[0].split_once("; mend it: ").expect("a command");
    assert_command(command);
}

/// Asserts that a shell takes this as a command: advice alone stands behind `#`.
#[track_caller]
fn assert_command(command: &str) {
    let tool = command.split(' ').next().unwrap_or_default();
    let tools = [
        "p2pchat",
        "nft",
        "iptables",
        "iptables-legacy",
        "ip",
        "ufw",
        "dhclient",
        "chmod",
        "ls",
        "df",
        "find",
        "getent",
        "timedatectl",
    ];
    assert!(tools.contains(&tool), "no command: {command}");
    let checked = Command::new("sh").args(["-n", "-c", command]).status();
    assert!(checked.expect("a shell").success(), "{command}");
    let typed = command.split("  #").next().unwrap_or_default();
    assert!(!typed.contains(", "), "advice in a command: {command}");
}

/// A LAN with alice's host, and bob, who runs on the second host.
fn with_bob(options: &[&str]) -> Option<(Lan, Program)> {
    let lan = Lan::new(2)?;
    let options = [&OFTEN, options].concat();
    let bob = lan.hosts[1].start("bob", &options);
    Some((lan, bob))
}

/// On a LAN where all is well, each method is heard, nothing is found, and nobody sees `doctor`
/// come or go.
#[test]
fn a_healthy_lan_has_no_finding() {
    let Some((lan, bob)) = with_bob(&[]) else {
        return;
    };
    let lines = examine(&lan.hosts[0], &[]);
    assert!(
        lines.iter().all(|line| line.starts_with("ok: ")),
        "{lines:#?}"
    );
    let eth0 = lines.iter().find(|line| line.contains(": eth0 has "));
    let eth0 = eth0.expect("the interface");
    for method in ["multicast: ", "broadcast: ", "IPv6: "] {
        let part = eth0.split(method).nth(1).unwrap_or_default();
        let part = part.split(';').next().unwrap_or_default();
        assert!(
            part.contains(" sent, heard ") && !part.starts_with('0'),
            "{method}{eth0}"
        );
    }
    for content in ["ok: route: no default route: ", "ok: firewall: "] {
        let is_content = |line: &String| line.starts_with(content);
        assert!(lines.iter().any(is_content), "{content}: {lines:#?}");
    }
    let is_bob = |line: &String| {
        line.contains("bob~") && line.contains(" is linked, and heard a beacon of ours ")
    };
    assert!(lines.iter().any(is_bob), "{lines:#?}");
    assert!(bob.out.all().is_empty(), "{:?}", bob.out.all());
}

/// Beside a running program, `doctor` finds the others and tries the program's port.
#[test]
fn it_works_beside_a_running_program() {
    let Some((lan, _bob)) = with_bob(&[]) else {
        return;
    };
    let _alice = lan.hosts[0].start("alice", &OFTEN);
    let lines = examine(&lan.hosts[0], &[]);
    assert!(
        lines.iter().all(|line| line.starts_with("ok: ")),
        "{lines:#?}"
    );
    let has = |part: &str| lines.iter().any(|line| line.contains(part));
    assert!(has(" runs here, on TCP port 9999"), "{lines:#?}");
    assert!(has("TCP port 9999 answers at 10.77.0.1"), "{lines:#?}");
}

/// Nobody else is there, or the time is too short to say so.
#[test]
fn nobody_is_found_on_an_empty_lan() {
    let Some(lan) = Lan::new(1) else { return };
    assert_only(
        &examine(&lan.hosts[0], &[]),
        "peer",
        &["p2pchat  # on another machine"],
    );
    let hasty = examine(&lan.hosts[0], &["-W", "0.5"]);
    assert_only(&hasty, "peer", &["p2pchat doctor -W 2"]);
}

/// Rules of nftables on this host that drop beacons or connections are named with their chain.
#[test]
fn a_rule_of_the_firewall_is_named() {
    let Some((lan, _bob)) = with_bob(&[]) else {
        return;
    };
    let chain = |hook: &str, policy: &str, rules: &str| {
        format!(
            "table inet wall {{ chain c {{ type filter hook {hook} priority 0; policy {policy}; \
             {rules}; }}\n }}"
        )
    };
    let host = &lan.hosts[0];
    let faults = [
        (
            chain("input", "accept", "ip daddr 224.0.0.0/24 drop"),
            "beacons by multicast in",
        ),
        (
            chain("input", "accept", "meta pkttype broadcast drop"),
            "beacons by broadcast in",
        ),
        (
            chain("input", "accept", "tcp dport { 22, 9000-9999 } reject"),
            "connections in",
        ),
        (
            chain(
                "input",
                "drop",
                "iif lo accept; ct state established,related accept; meta l4proto tcp accept",
            ),
            "what no rule accepts is dropped",
        ),
        (
            chain("output", "accept", "udp dport 9999 drop"),
            "beacons by multicast out",
        ),
    ];
    for (rules, expected) in faults {
        host.namespace.nft(&rules);
        let lines = examine(host, &[]);
        let mend = "nft insert rule inet wall c ";
        assert_only(&lines, "firewall", &[expected, mend]);
        host.namespace.nft("delete table inet wall");
    }
    // What may be decided by a rule that is not understood is no finding.
    let open = chain(
        "input",
        "drop",
        "iif lo accept; ip saddr 10.77.0.0/24 accept; udp dport 9999 accept; tcp dport 9999 accept; meta l4proto { tcp, ipv6-icmp } accept",
    );
    host.namespace.nft(&open);
    let lines = examine(host, &[]);
    assert!(
        !lines.iter().any(|line| line.starts_with("finding")),
        "{lines:#?}"
    );
}

/// Rules of iptables are named, both those that nft shows and those that only iptables-legacy does.
/// The named command mends them.
#[test]
fn a_rule_of_iptables_is_named() {
    let Some((lan, _bob)) = with_bob(&[]) else {
        return;
    };
    let host = &lan.hosts[0];
    let succeeds = |command: &str| {
        let mut words = command.split(' ');
        let program = words.next().expect("a program");
        let output = host.command(program).args(words).output();
        output.expect("a program").status.success()
    };
    let execute = |command: &str| assert!(succeeds(command), "{command}");
    for (tool, shown_by) in [("iptables", "nft"), ("iptables-legacy", "iptables-legacy")] {
        if !succeeds(&format!("{tool} -L INPUT")) {
            eprintln!("skipped: this kernel has no {tool}");
            continue;
        }
        execute(&format!(
            "{tool} -A INPUT -p udp -m udp --dport 9000:9999 -j DROP"
        ));
        let lines = examine(host, &[]);
        let content = format!("{shown_by} does not let beacons by multicast in");
        assert_only(&lines, "firewall", &[&content]);
        let finding = lines.iter().find_map(|line| line.split_once("; mend it: "));
        execute(finding.expect("a command").1);
        let lines = examine(host, &[]);
        let has_finding = lines.iter().any(|line| line.starts_with("finding"));
        assert!(!has_finding, "{tool}: {lines:#?}");
        execute(&format!("{tool} -F INPUT"));
    }
}

/// The rules that a finding names mend it.
#[test]
fn the_named_command_mends_the_firewall() {
    let Some((lan, _bob)) = with_bob(&[]) else {
        return;
    };
    let host = &lan.hosts[0];
    host.namespace.nft(
        "table inet wall { chain c { type filter hook input priority 0; udp dport 9999 drop; }\n }",
    );
    let lines = examine(host, &[]);
    let finding = lines
        .iter()
        .find(|line| line.starts_with("finding: firewall"));
    let (_, mend) = finding
        .and_then(|line| line.split_once("mend it: nft "))
        .expect("a command");
    host.namespace.nft(mend);
    let lines = examine(host, &[]);
    assert!(
        !lines.iter().any(|line| line.starts_with("finding")),
        "{lines:#?}"
    );
}

/// A method that is lost elsewhere is named, as the other one works.
#[test]
fn a_method_that_is_lost_on_the_way_is_named() {
    for (lost, name) in [("224.0.0.1", "multicast"), ("10.77.0.255", "broadcast")] {
        let Some((lan, _bob)) = with_bob(&[]) else {
            return;
        };
        lan.hosts[1].namespace.nft(&format!(
            "table ip wall {{ chain c {{ type filter hook output priority 0; ip daddr {lost} drop; }}\n }}"
        ));
        let lines = examine(&lan.hosts[0], &[]);
        assert_only(&lines, name, &["eth0", "10.77.0.2"]);
    }
}

/// The other way round, the peer that hears nothing of us says so.
#[test]
fn a_peer_that_hears_no_beacon_is_named() {
    let Some(lan) = Lan::new(2) else { return };
    lan.hosts[1].namespace.nft(
        "add table inet deaf
        add chain inet deaf in { type filter hook input priority 0; policy accept; }
        add rule inet deaf in udp dport 9999 drop",
    );
    let _bob = lan.hosts[1].start("bob", &OFTEN);
    let lines = examine(&lan.hosts[0], &[]);
    let parts = [
        "bob~",
        " is linked, and says that it hears no beacon of this machine",
    ];
    assert_only(&lines, "beacon", &parts);
}

/// Beacons pass, and connections do not.
#[test]
fn a_blocked_port_of_another_host_is_named() {
    let Some((lan, _bob)) = with_bob(&[]) else {
        return;
    };
    for host in &lan.hosts {
        // Not in a base chain of alice's inet or ip tables: the wall is at the cable.
        host.namespace.nft(
            "table netdev wall { chain c { type filter hook ingress device eth0 priority 0; \
             meta l4proto tcp drop; }\n }",
        );
    }
    let lines = examine(&lan.hosts[0], &[]);
    let parts = ["bob at ", "no answer within", "p2pchat doctor -p 9999"];
    assert_only(&lines, "connection", &parts);
}

/// No interface has an address, or none is up.
#[test]
fn a_missing_address_is_named() {
    let Some(lan) = Lan::new(1) else { return };
    lan.disable_ipv6(0, 0);
    let host = &lan.hosts[0];
    host.namespace.ip("address flush dev eth0");
    // Its name comes before, and it takes more steps.
    host.namespace.ip("link add aaa0 type veth peer name aaa1");
    let lines = examine(host, &[]);
    let parts = ["only lo has an address", "ip address add ", "dev eth0"];
    assert_only(&lines, "interface", &parts);
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("ok: interface: lo has 127.0.0.1"))
    );
    host.namespace.ip("link del aaa0");
    host.namespace.ip("link set eth0 down");
    assert_only(&examine(host, &[]), "interface", &["ip link set eth0 up"]);
}

/// Two default routes, and two interfaces in one subnet.
#[test]
fn ambiguous_routes_are_named() {
    let Some((lan, _bob)) = with_bob(&[]) else {
        return;
    };
    lan.attach(0, 1);
    lan.wait_up(0, 1);
    let host = &lan.hosts[0];
    host.namespace
        .ip("route add default via 10.77.0.254 metric 100");
    host.namespace
        .ip("route add default via 10.78.0.254 metric 200");
    let mend = "ip route del default via 10.78.0.254 dev eth1 metric 200";
    let lines = examine(host, &[]);
    assert_only(&lines, "route", &[mend]);
    host.namespace.ip(&mend["ip ".len()..]);
    lan.detach(0, 1);
    lan.attach_second(0);
    lan.wait_up(0, 1);
    let parts = ["eth0 and eth1", "--interface eth0"];
    assert_only(&examine(host, &[]), "subnet", &parts);
}

/// A program with another secret, or with one where this one has none.
#[test]
fn another_secret_is_named() {
    let Some(lan) = Lan::new(2) else { return };
    let secret = |host: &Host, byte: u8| {
        let path = host.folder("secret");
        fs::write(&path, [byte; 32].map(|byte| format!("{byte:02x}")).concat()).expect("a file");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a file");
        path.to_string_lossy().into_owned()
    };
    let [alices, bobs] = [(0, 1), (1, 2)].map(|(host, byte)| secret(&lan.hosts[host], byte));
    let closed = [OFTEN[0], OFTEN[1], "--secret-file", &bobs];
    let bob = lan.hosts[1].start("bob", &closed);
    let lines = examine(&lan.hosts[0], &[]);
    assert_only(&lines, "secret", &["10.77.0.2 has a network secret"]);
    let lines = examine(&lan.hosts[0], &["--secret-file", &alices]);
    assert_only(&lines, "secret", &["10.77.0.2 has another network secret"]);
    drop(bob);
    let _bob = lan.hosts[1].start("bob", &OFTEN);
    let lines = examine(&lan.hosts[0], &["--secret-file", &alices]);
    assert_only(&lines, "secret", &["10.77.0.2 has no network secret"]);
}

/// Another program speaks to the group.
#[test]
fn another_program_is_named() {
    let Some((lan, _bob)) = with_bob(&[]) else {
        return;
    };
    let socket = lan.hosts[1].namespace.inside(|| {
        let socket = UdpSocket::bind("10.77.0.2:0").expect("a socket");
        socket.connect("224.0.0.1:9999").expect("a route");
        socket
    });
    let go = concat!(
        r#"{"type":"announce","peer_id":"g","username":"gopher\u001b[2J","address":"#,
        r#""0.0.0.0:8080","port":8080,"timestamp":"2026-11-27T10:00:00Z","sequence":1}"#
    );
    for (datagram, part) in [
        ("\u{1b}[2Jhello", "none of p2pchat's"),
        (go, "p2pchat --go-room"),
    ] {
        let mut arguments = vec!["doctor"];
        arguments.extend(OFTEN);
        let doctor = lan.hosts[0].spawn("alice", &arguments);
        // Until the program has opened its sockets, and has ended.
        let lines = std::thread::scope(|scope| {
            let ended = scope.spawn(|| finish(doctor));
            while !ended.is_finished() {
                socket.send(datagram.as_bytes()).expect("a network");
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            ended.join().expect("its lines")
        });
        assert_only(&lines, "program", &["10.77.0.2", part]);
        assert!(!lines.concat().contains('\u{1b}'));
    }
}

/// A small disk that is full, and one that takes nothing.
#[test]
fn a_full_or_read_only_disk_is_named() {
    let Some((lan, _bob)) = with_bob(&[]) else {
        return;
    };
    let host = &lan.hosts[0];
    fs::create_dir(host.folder("alice")).expect("a folder");
    let program = env!("CARGO_BIN_EXE_p2pchat");
    for (options, parts) in [
        ("size=4m", ["nearly full", "df -h"]),
        ("ro", ["cannot be written: Read-only file system", "ls -ld"]),
    ] {
        // `ip netns exec` gives the shell a mount namespace of its own, so the disk goes with it.
        let mut command = host.command("sh");
        command.env("P2PCHAT_DIR", host.folder("alice"));
        command.env("P2PCHAT_USERNAME", "alice");
        let mount = format!("mount -t tmpfs -o mode=700,{options} none $P2PCHAT_DIR");
        command.args([
            "-c",
            &format!("{mount} && exec {program} doctor --interval 1"),
        ]);
        let lines = finish(Program::spawn("alice", command));
        assert_only(&lines, "disk", &parts);
    }
}

/// Lines that the disk damaged, and a folder that cannot be read, are named.
#[test]
fn a_damaged_history_is_named() {
    let Some((lan, _bob)) = with_bob(&[]) else {
        return;
    };
    let host = &lan.hosts[0];
    let room = host.folder("alice").join("history/general");
    fs::create_dir_all(&room).expect("a folder");
    fs::write(room.join("7.log.damaged"), "x").expect("a file");
    let lines = examine(host, &[]);
    assert_only(&lines, "history", &["7.log.damaged", "-delete"]);
}

/// A static peer that does not answer.
#[test]
fn a_static_peer_that_does_not_answer_is_named() {
    let Some((lan, _bob)) = with_bob(&[]) else {
        return;
    };
    let lines = examine(
        &lan.hosts[0],
        &["--peer", "10.77.0.2", "--peer", "10.77.0.2:9"],
    );
    assert_only(&lines, "static", &["10.77.0.2:9 is not linked: refused"]);
    let is_known = |line: &String| line.starts_with("ok: static: 10.77.0.2:9999 is bob~");
    assert!(lines.iter().any(is_known), "{lines:#?}");
}

/// A peer that is linked at one of its addresses is not dialed at the others, which are its own as
/// well. One of another key is named.
#[test]
fn a_static_peer_with_several_addresses_is_known() {
    let Some((lan, _bob)) = with_bob(&[]) else {
        return;
    };
    let [alice, bobs] = [&lan.hosts[0], &lan.hosts[1]];
    bobs.namespace.ip("address add 10.77.0.12/24 dev eth0");
    let [id, other] = ["bob", "mallory"].map(|user| id_of(bobs, user));
    for peer in [
        format!("{id}@10.77.0.2:9999,10.77.0.12:9999"),
        "10.77.0.12".to_owned(),
    ] {
        let lines = examine(alice, &["--peer", &peer]);
        let is_good = |line: &String| line.starts_with("ok: ");
        assert!(lines.iter().all(is_good), "{peer}: {lines:#?}");
        let of_second = lines.iter().filter(|line| line.contains("10.77.0.12:9999"));
        let of_second: Vec<&String> = of_second.collect();
        assert_eq!(of_second.len(), 1, "{lines:#?}");
        assert!(of_second[0].contains("bob~"), "{of_second:?}");
    }
    for address in ["10.77.0.2", "10.77.0.12"] {
        let lines = examine(alice, &["--peer", &format!("{other}@{address}")]);
        assert_only(&lines, "static", &["it is bob~", "with another key"]);
    }
}
