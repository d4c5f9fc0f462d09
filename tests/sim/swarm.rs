//! Everything at once, drawn from a seed: first faults, under which nothing wrong may happen; then quiet, in which all must come right.
use std::panic::{AssertUnwindSafe, catch_unwind};

use p2pchat::base::event::{Command, Input};
use p2pchat::base::name::{Nick, Room};

use crate::lan::Lan;
use crate::people::Who;

const ROOMS: [&str; 3] = ["#general", "#ops", "#tea"];

fn draw(lan: &mut Lan) -> Vec<Who> {
    let names = ["ann", "bob", "cid", "dan", "eve", "fay"];
    let count = 2 + lan.random(5) as usize;
    let mut people = Vec::new();
    for name in &names[..count] {
        let same_host = !people.is_empty() && lan.chance(150);
        let who = match same_host {
            true => {
                let host = lan.random(lan.hosts.len() as u64) as usize;
                lan.person_on(name, host)
            }
            false => lan.person(name),
        };
        for room in &ROOMS[1..] {
            if lan.chance(300) {
                lan.people[who].rooms.push(Room::new(room).expect("a room"));
            }
        }
        people.push(who);
    }
    // Now and then a closed network, with somebody who is not in it.
    if lan.chance(200) {
        for who in &people {
            lan.people[*who].psk = lan.chance(800).then_some([7; 32]);
        }
    }
    for who in &people {
        lan.people[*who].beacons = !lan.chance(100);
    }
    for host in 0..lan.hosts.len() {
        if lan.chance(150) {
            lan.hosts[host].networks = vec![0, 1];
        }
    }
    let (stream, datagram, slow) = (lan.random(30), lan.random(200), lan.random(300));
    let buffer = [2_000, 20_000, 200_000][lan.random(3) as usize];
    let (lost, doubled, refused, torn) = (
        lan.random(400),
        lan.random(300),
        lan.random(200),
        lan.random(500),
    );
    let weather = &mut lan.air.weather;
    (
        weather.stream,
        weather.datagram,
        weather.slow_dial,
        weather.buffer,
    ) = (stream, datagram, slow, buffer);
    (
        weather.lost,
        weather.doubled,
        weather.refused,
        weather.torn_close,
    ) = (lost, doubled, refused, torn);
    people
}

fn talk(lan: &mut Lan, who: Who, said: &mut u64) {
    let count = match lan.random(10) {
        0 => 50 + lan.random(100),
        1 => 10,
        _ => 1,
    };
    let texts: Vec<String> = (0..count)
        .map(|_| {
            *said += 1;
            let length = lan.random(80) as usize;
            format!("{} {said} {}", lan.people[who].name, "x".repeat(length))
        })
        .collect();
    let rooms = lan.people[who]
        .node
        .as_ref()
        .map_or(Vec::new(), |n| n.rooms().to_vec());
    if !rooms.is_empty() {
        let room = rooms[lan.random(rooms.len() as u64) as usize].clone();
        lan.say_all(who, Some(room), &texts);
    }
}

/// Who does not call out is given an address, if only its own.
fn start(lan: &mut Lan, who: Who) {
    lan.start(who);
    if !lan.people[who].beacons {
        for other in 0..lan.people.len() {
            let address = lan.address(other);
            lan.point(who, address);
        }
    }
}

fn rename(lan: &mut Lan, who: Who) {
    let number = lan.random(9);
    let name = format!("{}{number}", lan.people[who].name);
    let nick = Nick::new(&name).expect("a name");
    lan.feed(who, Input::Command(Command::Nick(nick)));
}

/// One thing that happens to somebody.
fn trouble(lan: &mut Lan, people: &[Who], said: &mut u64) {
    let who = people[lan.random(people.len() as u64) as usize];
    let other = people[lan.random(people.len() as u64) as usize];
    let room = ROOMS[1 + lan.random(2) as usize];
    match (lan.random(100), lan.is_up(who)) {
        (0..60, true) if !lan.people[who].frozen => talk(lan, who, said),
        (60..63, true) => lan.kill(who),
        (63..65, true) => lan.people[who].dies_after = Some(lan.random(40)),
        (65..67, true) if lan.chance(300) => lan.power_off(who),
        (67..72, true) if !lan.people[who].frozen => lan.stop(who),
        (72..75, true) => lan.freeze(who),
        (75..77, true) => lan.people[who].deaf = true,
        (77..80, true) => lan.thaw(who),
        (80..84, true) if !lan.people[who].frozen => lan.join(who, room),
        (84..86, true) if !lan.people[who].frozen && !lan.people[who].disk.full => {
            lan.part(who, room)
        }
        (86..89, _) if lan.people[who].host != lan.people[other].host => lan.cut(who, other),
        (89..92, _) => lan.heal(),
        (92..94, true) => {
            let plugged = lan.hosts[lan.people[who].host].plugged;
            lan.plug(who, !plugged);
        }
        (94..96, true) => lan.people[who].disk.full = !lan.people[who].disk.full,
        (96..98, true) if !lan.people[who].frozen => rename(lan, who),
        (_, false) => start(lan, who),
        _ => {}
    }
}

fn quiet(lan: &mut Lan, people: &[Who]) {
    lan.air.weather = crate::air::Weather::default();
    lan.heal();
    for who in people.iter().copied() {
        lan.people[who].dies_after = None;
        lan.people[who].disk.full = false;
        lan.thaw(who);
        lan.plug(who, true);
        if !lan.is_up(who) {
            start(lan, who);
        }
    }
    lan.run_for(90_000);
    lan.check_links();
    lan.check_lines();
}

/// The trace of a run.
fn run(seed: u64) -> u64 {
    let mut lan = Lan::new(seed);
    let people = draw(&mut lan);
    let mut said = 0;
    for who in &people {
        start(&mut lan, *who);
        let wait = lan.random(400);
        lan.run_for(wait);
    }
    for _ in 0..60 {
        trouble(&mut lan, &people, &mut said);
        let wait = match lan.random(10) {
            0 => lan.random(20_000),
            1..4 => lan.random(1_000),
            _ => lan.random(20),
        };
        lan.run_for(wait);
    }
    quiet(&mut lan, &people);
    lan.trace
}

#[test]
fn swarm() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    if let Some(seed) = number("P2PCHAT_SEED") {
        println!("seed {seed}: trace {:016x}", run(seed));
        return;
    }
    let count = number("P2PCHAT_SEEDS").unwrap_or(200);
    let bad: Vec<u64> = (0..count)
        .filter(|seed| {
            let bad = catch_unwind(AssertUnwindSafe(|| run(*seed))).is_err();
            if bad {
                println!("replay: P2PCHAT_SEED={seed} cargo test --test sim swarm -- --nocapture");
            }
            bad
        })
        .collect();
    assert!(
        bad.is_empty(),
        "{} of {count} seeds fail: {bad:?}",
        bad.len()
    );
}

#[test]
fn one_seed_gives_one_run() {
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
