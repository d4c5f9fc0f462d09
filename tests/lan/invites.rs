//! A newcomer on another host of the LAN, who has nothing but the code.
use std::fs;

use super::hosts::host::Host;
use super::hosts::lan::Lan;
use super::hosts::program::Program;
use super::{TIMEOUT, say_and_wait, wait_mesh};

/// Starts an invite of alice, and returns its code.
fn invite(host: &Host, arguments: &[&str]) -> (Program, String) {
    let program = host.spawn("alice", arguments);
    let prefix = "invite code: ";
    let line = program
        .out
        .wait_for(TIMEOUT, |line| line.starts_with(prefix));
    (program, line[prefix.len()..].to_owned())
}

/// The short code leads over the LAN to the inviter, by IPv4 or by link-local IPv6 alone, and both
/// then talk in the closed network.
#[test]
fn a_code_leads_to_the_inviter_on_the_lan() {
    let Some(lan) = Lan::new(2) else { return };
    for alone in ["IPv4", "IPv6"] {
        let alices = lan.hosts[0].folder(&format!("key-{alone}"));
        let bobs = lan.hosts[1].folder(&format!("key-{alone}"));
        fs::write(&alices, "correct horse battery staple\n").expect("a file");
        let alices = format!("--secret-file={}", alices.display());
        let bobs = format!("--secret-file={}", bobs.display());
        let namespace = &lan.hosts[1].namespace;
        namespace.nft(match alone {
            "IPv4" => {
                "add table inet firewall
                add chain inet firewall in { type filter hook input priority 0; }
                add rule inet firewall in meta nfproto ipv6 drop"
            }
            _ => {
                "flush chain inet firewall in
                add rule inet firewall in meta nfproto ipv4 drop"
            }
        });
        let (mut invite, code) = invite(&lan.hosts[0], &["-q", "invite", &alices]);
        let join = ["-q", "join", &code, &bobs];
        let mut join = lan.hosts[1].spawn("bob", &join);
        assert_eq!(join.wait_code(TIMEOUT), 0, "{alone}: {:?}", join.err.all());
        assert_eq!(
            invite.wait_code(TIMEOUT),
            0,
            "{alone}: {:?}",
            invite.err.all()
        );
        let alice = lan.hosts[0].start("alice", &[&alices]);
        let mut bob = lan.hosts[1].start("bob", &[&bobs]);
        wait_mesh(&[&alice, &bob]);
        say_and_wait(&mut bob, alone, &[&alice]);
    }
}

/// A mistyped code is one guess of three, though the inviter announces itself at several addresses.
#[test]
fn a_mistyped_code_is_one_guess() {
    let Some(lan) = Lan::new(2) else { return };
    let [alices, bobs] = [0, 1].map(|host: usize| lan.hosts[host].folder("key"));
    fs::write(&alices, "correct horse battery staple\n").expect("a file");
    let [alices, bobs] = [alices, bobs].map(|it| format!("--secret-file={}", it.display()));
    let (mut invite, code) = invite(&lan.hosts[0], &["invite", &alices]);
    let (nameplate, _) = code.split_once('-').expect("a nameplate");
    let mistyped = format!("{nameplate}-babab-babab");
    let mut join = lan.hosts[1].spawn("bob", &["join", &mistyped, &bobs]);
    assert_eq!(join.wait_code(TIMEOUT), 77, "{:?}", join.err.all());
    let mut join = lan.hosts[1].spawn("bob", &["join", &code, &bobs]);
    assert_eq!(join.wait_code(TIMEOUT), 0, "{:?}", join.err.all());
    assert_eq!(invite.wait_code(TIMEOUT), 0);
    let said = invite.err.all();
    let guesses = said.iter().filter(|line| line.contains("a wrong code"));
    assert_eq!(guesses.count(), 1, "{said:?}");
}

/// A port that a firewall closes is named: a program that runs there has taken the usual one.
#[test]
fn a_closed_port_of_the_inviter_is_named() {
    let Some(lan) = Lan::new(2) else { return };
    let [alices, bobs] = [0, 1].map(|host: usize| lan.hosts[host].folder("key"));
    fs::write(&alices, "correct horse battery staple\n").expect("a file");
    let [alices, bobs] = [alices, bobs].map(|it| format!("--secret-file={}", it.display()));
    lan.hosts[0].namespace.nft(
        "table inet wall { chain c { type filter hook input priority 0; \
         tcp dport != 9999 reject with tcp reset; }\n }",
    );
    let _alice = lan.hosts[0].start("alice", &[&alices]);
    let (invite, code) = invite(&lan.hosts[0], &["invite", &alices]);
    let line = invite
        .err
        .wait_for(TIMEOUT, |line| line.contains("to port "));
    let (_, rest) = line.split_once("to port ").expect("a port");
    let (port, _) = rest.split_once(':').expect("a port");
    let join = ["join", "-W", "2.5", &code, &bobs];
    let mut join = lan.hosts[1].spawn("bob", &join);
    assert_eq!(join.wait_code(TIMEOUT), 69, "{:?}", join.err.all());
    let said = join.err.all().pop().unwrap_or_default();
    assert!(said.contains(&format!(":{port}, which cannot")), "{said}");
}
