//! People of foreign networks on other hosts of a LAN.
use std::path::Path;

use super::TIMEOUT;
use super::hosts::lan::Lan;
use super::hosts::program::Program;

/// Starts a program of `tests/foreign` on this host.
fn start_foreigner(lan: &Lan, host: usize, script: &str, arguments: [&str; 2]) -> Program {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign");
    let mut command = lan.hosts[host].command("python3");
    command.arg(folder.join(script)).args(arguments);
    command.env("PEER_HOST", Lan::address(host, 0));
    let program = Program::spawn(arguments[0], command);
    wait_line_with(&program, &["READY "]);
    program
}

/// Waits for a line on stdout that contains all these parts.
fn wait_line_with(program: &Program, parts: &[&str]) {
    let has_all = |line: &str| parts.iter().all(|part| line.contains(part));
    program.out.wait_for(TIMEOUT, has_all);
}

/// Two gateways and a p2pchat without guests share the room. Each guest hears each line once, from
/// the gateway of its author; what a guest says is shown at both gateways.
#[test]
fn guests_on_other_hosts_hear_each_line_once() {
    let Some(lan) = Lan::new(4) else { return };
    let mut zed = start_foreigner(&lan, 3, "lsnp_peer.py", ["zed", "echoing"]);
    let mut deaf = start_foreigner(&lan, 3, "lsnp_peer.py", ["deaf", "deaf"]);
    let gateway = ["--lsnp", "-r", "lsnp"];
    let mut alice = lan.hosts[0].start("alice", &gateway);
    let mut bob = lan.hosts[1].start("bob", &gateway);
    let mut carol = lan.hosts[2].start("carol", &["-r", "lsnp"]);
    deaf.say("ANNOUNCE");
    for program in [&alice, &bob] {
        for guest in ["zed", "deaf"] {
            wait_line_with(program, &[&format!("#lsnp * guest/{guest} joined")]);
        }
        wait_line_with(program, &["#lsnp * carol~", " joined"]);
    }
    for guest in [&zed, &deaf] {
        for user in ["alice@10.77.0.1", "bob@10.77.0.2"] {
            wait_line_with(guest, &["PEER_DISCOVERY", user]);
        }
    }
    alice.say("by alice");
    bob.say("by bob");
    carol.say("by carol");
    for program in [&alice, &bob, &carol] {
        for text in [": by alice", ": by bob", ": by carol"] {
            wait_line_with(program, &[text]);
        }
    }
    zed.say("POST by zed");
    deaf.say("POST by deaf");
    for program in [&alice, &bob] {
        wait_line_with(program, &["#lsnp guest/zed: by zed"]);
        wait_line_with(program, &["#lsnp guest/deaf: by deaf"]);
    }
    for guest in [&zed, &deaf] {
        wait_line_with(
            guest,
            &["POST ", "USER_ID=alice@10.77.0.1", "CONTENT=by alice"],
        );
        wait_line_with(guest, &["POST ", "USER_ID=bob@10.77.0.2", "CONTENT=by bob"]);
        let lines = guest.out.all();
        let posts = lines
            .iter()
            .filter(|line| line.starts_with("POST ") && line.contains(" P2PCHAT="));
        assert_eq!(posts.count(), 2, "{lines:?}");
    }
    for program in [&alice, &bob, &carol] {
        let lines = program.out.all();
        assert!(
            !lines
                .iter()
                .any(|line| line.contains("guest/alice") || line.contains("guest/bob")),
            "{lines:?}"
        );
    }
}

/// `send` fails if a firewall of its host refuses what goes to the guest.
#[test]
fn what_a_firewall_refuses_is_not_sent() {
    let Some(lan) = Lan::new(2) else { return };
    let zed = start_foreigner(&lan, 1, "lsnp_peer.py", ["zed", "echoing"]);
    let alice = lan.hosts[0].start("alice", &["--lsnp", "-r", "lsnp"]);
    wait_line_with(&alice, &["#lsnp * guest/zed joined"]);
    wait_line_with(&zed, &["PEER_DISCOVERY", "alice@10.77.0.1"]);
    let drop = format!("ip daddr {} udp dport 1-65535 drop", Lan::address(1, 0));
    let chain = format!("chain out {{ type filter hook output priority 0; {drop}; }}");
    lan.hosts[0]
        .namespace
        .nft(&format!("table ip firewall {{\n{chain}\n}}"));
    let send = |arguments: &[&str]| {
        let mut command = vec!["send", "-W", "1"];
        command.extend_from_slice(arguments);
        lan.hosts[0].spawn("alice", &command).wait_code(TIMEOUT)
    };
    assert_eq!(send(&["-t", "@guest/zed", "psst"]), 1);
    assert_eq!(send(&["-r", "lsnp", "hello"]), 69);
}

/// p2pchat in Go on two other hosts, one on each side of the rule who dials.
#[test]
fn the_go_program_on_other_hosts_talks() {
    let Some(lan) = Lan::new(3) else { return };
    let mut first = start_foreigner(&lan, 1, "go_peer.py", ["first", "a_first"]);
    let mut last = start_foreigner(&lan, 2, "go_peer.py", ["last", "z_last"]);
    let mut alice = lan.hosts[0].start("alice", &["--go-room", "-r", "p2pchat-go"]);
    for guest in ["first", "last"] {
        wait_line_with(&alice, &[&format!("#p2pchat-go * guest/{guest} joined")]);
    }
    wait_line_with(&last, &["MESSAGE", "type=join", "username=alice"]);
    first.say("by first");
    last.say("by last");
    alice.say("by alice");
    for (program, text) in [(&first, "content=by alice"), (&last, "content=by alice")] {
        wait_line_with(program, &["MESSAGE", text]);
    }
    for text in ["guest/first: by first", "guest/last: by last"] {
        wait_line_with(&alice, &[text]);
    }
}
