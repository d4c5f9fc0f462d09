//! Partitions of a LAN while everybody talks: after they heal, every host stores every line
//! once.
use std::time::Instant;

use super::hosts::lan::Lan;
use super::hosts::program::{Program, TIMEOUT};
use super::{PEER_TIMEOUT, messages, wait_event, wait_mesh, wait_same_history};

/// The hosts of both parts.
const PARTS: [[usize; 2]; 2] = [[0, 1], [2, 3]];

/// The Ethernet address of eth0 on this host.
fn mac(lan: &Lan, host: usize) -> String {
    let link = lan.hosts[host].namespace.ip("-o link show eth0");
    let address = link.split("link/ether ").nth(1);
    let address = address.and_then(|rest| rest.split(' ').next());
    address.expect("an address").to_owned()
}

/// Drops all frames that this host receives from those hosts.
pub fn drop_frames_from(lan: &Lan, host: usize, others: &[usize]) {
    let macs: Vec<String> = others.iter().map(|other| mac(lan, *other)).collect();
    lan.hosts[host].namespace.nft(&format!(
        "add table inet wall
        add chain inet wall in {{ type filter hook input priority 0; }}
        add rule inet wall in ether saddr {{ {} }} drop",
        macs.join(", ")
    ));
}

/// Receives frames from all hosts again.
fn accept_all(lan: &Lan, host: usize) {
    lan.hosts[host].namespace.nft("delete table inet wall");
}

/// Programs that say numbered lines; `lines` counts those of each.
struct Talk {
    programs: Vec<Program>,
    lines: usize,
}

impl Talk {
    /// Every program says `count` more lines, in turns.
    fn say_more(&mut self, count: usize) {
        for number in self.lines..self.lines + count {
            for program in &mut self.programs {
                let line = format!("{} {number}", program.name);
                program.say(&line);
            }
        }
        self.lines += count;
    }

    /// Waits until every program has printed all lines of every other one, once and in order.
    fn wait_complete(&self) {
        for (reader, author) in self.pairs() {
            let all = lines_of(&author.name, self.lines);
            reader.out.wait_all(2 * TIMEOUT, |lines| {
                messages(lines, &author.name).len() >= all.len()
            });
            let printed = messages(&reader.out.all(), &author.name);
            assert!(
                printed == all,
                "the lines of {1} printed by {0}",
                reader.name,
                author.name
            );
        }
    }

    /// Each program with each program, itself included.
    fn pairs(&self) -> impl Iterator<Item = (&Program, &Program)> {
        let all = self.programs.iter();
        all.flat_map(|reader| self.programs.iter().map(move |author| (reader, author)))
    }
}

/// The first `count` lines of this program.
fn lines_of(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{name} {n}")).collect()
}

/// Waits until all have the same history, and asserts that it holds `count` lines of each.
fn assert_same_history(lan: &Lan, names: &[&str], count: usize) {
    let users: Vec<_> = names.iter().copied().enumerate().collect();
    let history = wait_same_history(lan, &users, names.len() * count);
    for name in names {
        let stored = messages(&history, name);
        assert!(
            stored == lines_of(name, count),
            "the lines of {name} in the history"
        );
    }
}

/// `deaf`: indices of the parts that receive nothing from the other part.
fn partition_and_heal(deaf: &[usize]) {
    let Some(lan) = Lan::new(4) else { return };
    let names = ["alice", "bob", "carol", "dan"];
    let start = |(host, name): (usize, &str)| lan.hosts[host].start(name, &[]);
    let programs: Vec<Program> = names.into_iter().enumerate().map(start).collect();
    wait_mesh(&programs.iter().collect::<Vec<_>>());
    let mut talk = Talk { programs, lines: 0 };
    talk.say_more(100);
    for part in deaf {
        for host in PARTS[*part] {
            drop_frames_from(&lan, host, &PARTS[1 - *part]);
        }
    }
    let cut = Instant::now();
    talk.say_more(100);
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        for (at, gone) in [(a, b), (b, a)] {
            let remaining = PEER_TIMEOUT.saturating_sub(cut.elapsed());
            wait_event(&talk.programs[at], names[gone], "left", 1, remaining);
        }
    }
    talk.say_more(100);
    for part in deaf {
        PARTS[*part].iter().for_each(|host| accept_all(&lan, *host));
    }
    talk.say_more(100);
    talk.wait_complete();
    talk.say_more(1);
    talk.wait_complete();
    assert_same_history(&lan, &names, talk.lines);
}

/// A LAN split into two parts, both of which talk: after it heals every host has every line
/// once and in order.
#[test]
fn a_two_way_partition_heals() {
    partition_and_heal(&[0, 1]);
}

/// The same when one part receives nothing and the other part receives everything.
#[test]
fn a_one_way_partition_heals() {
    partition_and_heal(&[1]);
}

/// Alice and carol have no path to each other: bob forwards their lines, also after he is
/// killed and restarted.
#[test]
fn the_middle_of_a_chain_forwards_lines() {
    let Some(lan) = Lan::new(3) else { return };
    drop_frames_from(&lan, 0, &[2]);
    drop_frames_from(&lan, 2, &[0]);
    let names = ["alice", "bob", "carol"];
    let programs = names.into_iter().enumerate();
    let programs: Vec<Program> = programs
        .map(|(host, name)| lan.hosts[host].start(name, &[]))
        .collect();
    wait_mesh(&programs.iter().collect::<Vec<_>>());
    let mut talk = Talk { programs, lines: 0 };
    talk.say_more(300);
    talk.wait_complete();
    // Bob is killed while the others talk, and is restarted.
    talk.programs[1].kill();
    for end in [0, 2] {
        wait_event(&talk.programs[end], "bob", "left", 1, PEER_TIMEOUT);
    }
    for n in 0..100 {
        for end in [0, 2] {
            let line = format!("{} {}", names[end], 300 + n);
            talk.programs[end].say(&line);
        }
    }
    let mut bob = lan.hosts[1].start("bob", &[]);
    for n in 0..100 {
        bob.say(&format!("bob {}", 300 + n));
    }
    for (reader, author) in [(0, 2), (2, 0), (0, 1), (2, 1)] {
        let (reader, author) = (&talk.programs[reader], names[author]);
        let complete = |lines: &[String]| messages(lines, author).len() >= 400;
        reader.out.wait_all(2 * TIMEOUT, complete);
        assert!(
            messages(&reader.out.all(), author) == lines_of(author, 400),
            "the lines of {author} printed by {}",
            reader.name
        );
    }
    for author in ["alice", "carol"] {
        let complete = |lines: &[String]| messages(lines, author).len() >= 100;
        bob.out.wait_all(2 * TIMEOUT, complete);
        assert!(
            messages(&bob.out.all(), author)[..] == lines_of(author, 400)[300..],
            "the lines of {author} printed by bob"
        );
    }
    talk.programs[1] = bob;
    assert_same_history(&lan, &names, 400);
}
