//! A newcomer on another host of the LAN, who has nothing but the code.
use std::fs;

use super::hosts::lan::Lan;
use super::{TIMEOUT, say_and_wait, wait_mesh};

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
        let mut invite = lan.hosts[0].spawn("alice", &["-q", "invite", &alices]);
        let prefix = "invite code: ";
        let line = invite
            .out
            .wait_for(TIMEOUT, |line| line.starts_with(prefix));
        let join = ["-q", "join", &line[prefix.len()..], &bobs];
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
