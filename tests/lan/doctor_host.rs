//! `p2pchat doctor HOST`: explains one peer.
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt as _;

use super::doctor::{assert_only, finish};
use super::hosts::host::Host;
use super::hosts::lan::Lan;

fn explain(host: &Host, arguments: &[&str]) -> Vec<String> {
    let arguments = [&["doctor"], arguments].concat();
    finish(host.spawn("alice", &arguments))
}

fn has_line(lines: &[String], start: &str, part: &str) -> bool {
    let is_it = |line: &&String| line.starts_with(start) && line.contains(part);
    lines.iter().any(|line| is_it(&line))
}

/// The id that `whoami` prints for a user.
pub fn id_of(host: &Host, user: &str) -> String {
    let output = host.program(user, &["whoami", "--json"]).output();
    let output = String::from_utf8(output.expect("a program").stdout).expect("UTF-8");
    let (_, rest) = output.split_once(r#""sender":""#).expect("an id");
    rest[..52].to_owned()
}

/// Address, route, port and key of a peer, which sees nobody come or go.
#[test]
fn a_host_is_explained() {
    let Some(lan) = Lan::new(2) else { return };
    let bob = lan.hosts[1].start("bob", &[]);
    let id = id_of(&lan.hosts[1], "bob");
    let with_id = format!("{id}@10.77.0.2:9999");
    for host in ["10.77.0.2", &with_id] {
        let lines = explain(&lan.hosts[0], &[host]);
        assert!(
            lines.iter().all(|line| line.starts_with("ok: ")),
            "{lines:#?}"
        );
        for (name, part) in [
            ("ok: name: ", "10.77.0.2:9999"),
            ("ok: route: ", "from 10.77.0.1 over eth0, MTU 1500"),
            ("ok: port: ", "answers on TCP"),
            ("ok: key: ", &format!("bob answers, with the id {id}: ")),
        ] {
            assert!(has_line(&lines, name, part), "{name}{part}: {lines:#?}");
        }
    }
    assert!(bob.out.all().is_empty(), "{:?}", bob.out.all());
}

/// Nobody listens, a firewall drops, no route leads there, or the name has no address.
#[test]
fn a_host_that_does_not_answer_is_named() {
    let Some(lan) = Lan::new(2) else { return };
    let alice = &lan.hosts[0];
    let lines = explain(alice, &["10.77.0.2"]);
    assert_only(&lines, "port", &["10.77.0.2:9999", "refused"]);
    lan.hosts[1].namespace.nft(
        "table ip wall { chain c { type filter hook input priority 0; tcp dport 9999 drop; }\n }",
    );
    let lines = explain(alice, &["10.77.0.2"]);
    assert_only(&lines, "port", &["no answer within", "firewall"]);
    let lines = explain(alice, &["10.99.0.2"]);
    assert_only(&lines, "route", &["10.99.0.2", "ip route add default"]);
    let lines = explain(alice, &["fe80::1"]);
    let mend = "mend it: p2pchat doctor '[fe80::1%eth0]:9999'";
    assert_only(&lines, "route", &["fe80::1", mend]);
    let lines = explain(alice, &["no-such-host.invalid"]);
    assert_only(&lines, "name", &["no-such-host.invalid", "getent"]);
}

/// A path that loses large packets, which the kernel does not know of.
#[test]
fn a_black_hole_is_named() {
    let Some(lan) = Lan::new(2) else { return };
    let _bob = lan.hosts[1].start("bob", &[]);
    let lines = explain(&lan.hosts[0], &["10.77.0.2"]);
    let whole = "packets of 1500 bytes come back";
    assert!(has_line(&lines, "ok: mtu: ", whole), "{lines:#?}");
    lan.lose_large(1, 0, 1400);
    let lines = explain(&lan.hosts[0], &["10.77.0.2"]);
    assert_only(
        &lines,
        "mtu",
        &["10.77.0.2 loses packets of 1500 bytes", "eth0 mtu 1280"],
    );
}

/// Another key than the expected one, one than the name is bound to, and a banned one.
#[test]
fn another_key_is_named() {
    let Some(lan) = Lan::new(2) else { return };
    let [alice, bobs] = [&lan.hosts[0], &lan.hosts[1]];
    let _bob = bobs.start("bob", &[]);
    let (id, other) = (id_of(bobs, "bob"), id_of(bobs, "mallory"));
    let lines = explain(alice, &[&format!("{other}@10.77.0.2")]);
    assert_only(&lines, "key", &["another key answered", &id, &other]);
    let trust = |arguments: &[&str]| {
        let arguments = [&["trust"], arguments].concat();
        let status = alice
            .program("alice", &arguments)
            .output()
            .expect("a program")
            .status;
        assert!(status.success(), "{arguments:?}");
    };
    trust(&["add", "bob", &other]);
    let lines = explain(alice, &["10.77.0.2"]);
    let mend = format!("mend it: p2pchat trust add bob {id}  #");
    assert_only(&lines, "key", &["bound to", &other, &mend]);
    trust(&["forget", "bob"]);
    trust(&["add", "bob", &id]);
    let lines = explain(alice, &["10.77.0.2"]);
    assert!(
        has_line(&lines, "ok: key: ", ": known (bound)"),
        "{lines:#?}"
    );
    trust(&["ban", &format!("@{id}")]);
    let lines = explain(alice, &["10.77.0.2"]);
    assert_only(&lines, "key", &["banned", "p2pchat trust unban @"]);
}

/// A peer with another secret, and a program that is none of ours.
#[test]
fn a_host_of_another_network_is_named() {
    let Some(lan) = Lan::new(2) else { return };
    let [alice, bobs] = [&lan.hosts[0], &lan.hosts[1]];
    let secret = bobs.folder("secret").to_string_lossy().into_owned();
    let mut file = fs::OpenOptions::new();
    let file = file.create(true).write(true).mode(0o600).open(&secret);
    file.expect("a file")
        .write_all("ab".repeat(32).as_bytes())
        .expect("a disk");
    let bob = bobs.start("bob", &["--secret-file", &secret]);
    let short = ["10.77.0.2", "-W", "1"];
    let lines = explain(alice, &short);
    assert_only(
        &lines,
        "secret",
        &["it has a network secret", "--secret-file FILE"],
    );
    drop(bob);
    let bob = bobs.start("bob", &[]);
    let with_secret = [&short[..], &["--secret-file", &secret]].concat();
    let lines = explain(alice, &with_secret);
    assert_only(
        &lines,
        "secret",
        &["has no network secret, and this one has one"],
    );
    drop(bob);
    let other = bobs
        .namespace
        .inside(|| TcpListener::bind("10.77.0.2:9999"));
    let _other = other.expect("a socket");
    let lines = explain(alice, &short);
    assert_only(&lines, "secret", &["or is another program"]);
}

/// One address of a code is enough. At another one, each host finds itself, as at a bridge's.
#[test]
fn a_code_may_have_an_address_that_is_our_own() {
    let Some(lan) = Lan::new(2) else { return };
    let [alices, bobs] = [&lan.hosts[0], &lan.hosts[1]];
    for host in &lan.hosts {
        host.namespace.ip("address add 172.17.0.1/32 dev eth0");
    }
    let _alice = alices.start("alice", &[]);
    let _bob = bobs.start("bob", &[]);
    let id = id_of(bobs, "bob");
    for addresses in [
        "10.77.0.2:9999,172.17.0.1:9999",
        "172.17.0.1:9999,10.77.0.2:9999",
    ] {
        let lines = explain(alices, &[&format!("{id}@{addresses}")]);
        let is_good = |line: &String| line.starts_with("ok: ");
        assert!(lines.iter().all(is_good), "{lines:#?}");
        assert!(has_line(&lines, "ok: key: ", &id), "{lines:#?}");
    }
    // Without the right one, what is found at the other is said.
    let lines = explain(alices, &[&format!("{id}@172.17.0.1:9999")]);
    assert_only(&lines, "key", &["another key answered", "alice"]);
}
