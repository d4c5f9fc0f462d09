//! A LAN that falls into two parts while everybody talks, and becomes one again: every line is once on every box.
use std::time::Instant;

use super::hosts::Lan;
use super::hosts::program::{Program, TIMEOUT};
use super::{PEER_TIMEOUT, messages, wait_event, wait_mesh, wait_same_history};

/// Both parts.
const PARTS: [[usize; 2]; 2] = [[0, 1], [2, 3]];

fn mac(lan: &Lan, host: usize) -> String {
    let link = lan.hosts[host].namespace.ip("-o link show eth0");
    let address = link.split("link/ether ").nth(1);
    let address = address.and_then(|rest| rest.split(' ').next());
    address.expect("an address").to_owned()
}

/// From now on this host hears nothing of those.
pub fn deafen(lan: &Lan, host: usize, others: &[usize]) {
    let macs: Vec<String> = others.iter().map(|other| mac(lan, *other)).collect();
    lan.hosts[host].namespace.nft(&format!(
        "add table inet wall
        add chain inet wall in {{ type filter hook input priority 0; }}
        add rule inet wall in ether saddr {{ {} }} drop",
        macs.join(", ")
    ));
}

fn hear(lan: &Lan, host: usize) {
    lan.hosts[host].namespace.nft("delete table inet wall");
}

struct Talk {
    programs: Vec<Program>,
    lines: usize,
}

impl Talk {
    /// Everybody says so many lines more, in turns.
    fn go_on(&mut self, count: usize) {
        for number in self.lines..self.lines + count {
            for program in &mut self.programs {
                let line = format!("{} {number}", program.name);
                program.say(&line);
            }
        }
        self.lines += count;
    }

    /// Everybody has shown all that each said, once and in order.
    fn wait_complete(&self) {
        for (at, of) in self.pairs() {
            let all = lines_of(&of.name, self.lines);
            at.out.wait_all(2 * TIMEOUT, |lines| {
                messages(lines, &of.name).len() >= all.len()
            });
            let shown = messages(&at.out.all(), &of.name);
            assert!(shown == all, "what {} shows of {}", at.name, of.name);
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (&Program, &Program)> {
        let all = self.programs.iter();
        all.flat_map(|at| self.programs.iter().map(move |of| (at, of)))
    }
}

fn lines_of(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{name} {n}")).collect()
}

/// All have one history, and it holds so many lines of each.
fn alike(lan: &Lan, names: &[&str], count: usize) {
    let users: Vec<_> = names.iter().copied().enumerate().collect();
    let history = wait_same_history(lan, &users, names.len() * count);
    for name in names {
        let of_author = messages(&history, name);
        assert!(of_author == lines_of(name, count), "what is held of {name}");
    }
}

/// `ways`: which of the parts hear nothing of the other.
fn part_and_heal(ways: &[usize]) {
    let Some(lan) = Lan::new(4) else { return };
    let names = ["alice", "bob", "carol", "dan"];
    let start = |(host, name): (usize, &str)| lan.hosts[host].start(name, &[]);
    let programs: Vec<Program> = names.into_iter().enumerate().map(start).collect();
    wait_mesh(&programs.iter().collect::<Vec<_>>());
    let mut talk = Talk { programs, lines: 0 };
    talk.go_on(100);
    for way in ways {
        for host in PARTS[*way] {
            deafen(&lan, host, &PARTS[1 - *way]);
        }
    }
    let cut = Instant::now();
    talk.go_on(100);
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        for (at, gone) in [(a, b), (b, a)] {
            let left = PEER_TIMEOUT.saturating_sub(cut.elapsed());
            wait_event(&talk.programs[at], names[gone], "left", 1, left);
        }
    }
    talk.go_on(100);
    for way in ways {
        PARTS[*way].iter().for_each(|host| hear(&lan, *host));
    }
    talk.go_on(100);
    talk.wait_complete();
    talk.go_on(1);
    talk.wait_complete();
    alike(&lan, &names, talk.lines);
}

#[test]
fn two_parts_that_go_on_talking() {
    part_and_heal(&[0, 1]);
}

#[test]
fn a_part_that_is_heard_and_hears_nothing() {
    part_and_heal(&[1]);
}

#[test]
fn a_chain_whose_ends_have_no_path() {
    let Some(lan) = Lan::new(3) else { return };
    deafen(&lan, 0, &[2]);
    deafen(&lan, 2, &[0]);
    let names = ["alice", "bob", "carol"];
    let programs = names.into_iter().enumerate();
    let programs: Vec<Program> = programs
        .map(|(host, name)| lan.hosts[host].start(name, &[]))
        .collect();
    wait_mesh(&programs.iter().collect::<Vec<_>>());
    let mut talk = Talk { programs, lines: 0 };
    talk.go_on(300);
    talk.wait_complete();
    // The one between dies amid the talk, and comes again.
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
    for (at, of) in [(0, 2), (2, 0), (0, 1), (2, 1)] {
        let (at, of) = (&talk.programs[at], names[of]);
        let complete = |lines: &[String]| messages(lines, of).len() >= 400;
        at.out.wait_all(2 * TIMEOUT, complete);
        assert!(
            messages(&at.out.all(), of) == lines_of(of, 400),
            "what {} shows of {of}",
            at.name
        );
    }
    for of in ["alice", "carol"] {
        let complete = |lines: &[String]| messages(lines, of).len() >= 100;
        bob.out.wait_all(2 * TIMEOUT, complete);
        assert!(
            messages(&bob.out.all(), of)[..] == lines_of(of, 400)[300..],
            "what bob shows of {of}"
        );
    }
    talk.programs[1] = bob;
    alike(&lan, &names, 400);
}
