//! Two LANs and a router between them, which forwards no multicast: one `--peer` joins them.
use super::hosts::host::Host;
use super::hosts::lan::Lan;
use super::hosts::program::Program;
use super::hosts::wait::wait_until;
use super::{TIMEOUT, finish, say_and_wait};

/// Two LANs of two hosts each: hosts 1 and 2, 3 and 4. Host 0 routes between them.
fn two_lans() -> Option<Lan> {
    let lan = Lan::unplugged(5)?;
    for (host, segment) in [(0, 0), (0, 1), (1, 0), (2, 0), (3, 1), (4, 1)] {
        lan.attach(host, segment);
        lan.wait_up(host, segment);
    }
    let forwarding = "/proc/sys/net/ipv4/ip_forward";
    let router = &lan.hosts[0].namespace;
    router.inside(|| std::fs::write(forwarding, "1").expect("a sysctl of the namespace"));
    for (host, segment) in [(1, 0), (2, 0), (3, 1), (4, 1)] {
        let gateway = Lan::address(0, segment);
        let namespace = &lan.hosts[host].namespace;
        namespace.ip(&format!("route add default via {gateway}"));
    }
    Some(lan)
}

/// How each linked peer was found, as `peers` prints it beside this user's running program.
pub fn linked_peers(host: &Host, user: &str) -> Vec<String> {
    let mut peers = host.spawn(user, &["peers", "-W", "1"]);
    peers.wait_code(TIMEOUT);
    let rows = peers.out.wait_end(TIMEOUT).into_iter();
    let columns = rows.map(|row| row.split('\t').map(str::to_owned).collect::<Vec<_>>());
    let linked = columns.filter(|columns| columns.get(4).is_some_and(|state| state == "linked"));
    linked.map(|columns| columns[3].clone()).collect()
}

/// Waits until all four are linked with each other. Returns how they found each other.
fn wait_full_mesh(lan: &Lan) -> Vec<String> {
    let mut all = Vec::new();
    for (host, user) in (1..).zip(USERS) {
        let mut found = Vec::new();
        wait_until("all are linked", 3 * TIMEOUT, || {
            found = linked_peers(&lan.hosts[host], user);
            found.len() == 3
        });
        all.append(&mut found);
    }
    all
}

const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// One `--peer` joins the LANs: each links with all. When all have ended, their next runs find each
/// other by the addresses that they remember, without `--peer`.
#[test]
fn one_address_joins_two_lans_for_good() {
    let Some(lan) = two_lans() else { return };
    // Carol and dave are linked over link-local IPv6, an address that means nothing to the others.
    for host in [3, 4] {
        lan.hosts[host].namespace.nft(
            "add table inet firewall
            add chain inet firewall in { type filter hook input priority 0; }
            add rule inet firewall in ip saddr 10.78.0.0/24 meta l4proto tcp drop",
        );
    }
    // And carol cannot dial the others, so they must be told an address of hers that they can dial.
    lan.hosts[3].namespace.nft(
        "add chain inet firewall out { type filter hook output priority 0; }
        add rule inet firewall out ip daddr 10.77.0.0/24 tcp flags & (syn | ack) == syn drop",
    );
    let start = |host: usize, options: &[&str]| lan.hosts[host].start(USERS[host - 1], options);
    let mut programs: Vec<Program> = (1..4).map(|host| start(host, &[])).collect();
    let alices = Lan::address(1, 0);
    programs.push(start(4, &["--peer", &alices]));
    let found = wait_full_mesh(&lan);
    let count = |word: &str| found.iter().filter(|found| *found == word).count();
    assert_eq!(count("multicast"), 4, "{found:?}");
    assert_eq!(count("given"), 1, "{found:?}");
    assert!(count("exchange") >= 3, "{found:?}");
    let mut dave = programs.pop().expect("dave");
    say_and_wait(&mut dave, "to both", &programs.iter().collect::<Vec<_>>());
    programs.push(dave);
    programs.into_iter().for_each(|program| {
        finish(program);
    });
    let mut programs: Vec<Program> = (1..5).map(|host| start(host, &[])).collect();
    let found = wait_full_mesh(&lan);
    let count = |word: &str| found.iter().filter(|found| *found == word).count();
    assert_eq!(count("multicast"), 4, "{found:?}");
    assert!(count("remembered") >= 1, "{found:?}");
    let mut alice = programs.remove(0);
    say_and_wait(&mut alice, "again", &programs.iter().collect::<Vec<_>>());
}
