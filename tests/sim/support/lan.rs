//! One clock, one queue of events ordered by time and number, one seed; and what a script does to the people on the LAN.
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use p2pchat::base::event::{Command, FoundVia, Input, LoadRequest, StreamId};
use p2pchat::base::identity::PeerId;
use p2pchat::base::name::{FolderName, PeerSelector, Room};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::support::invariants::Checks;
use crate::support::network::Air;
use crate::support::peer::{Host, Person, Who, lines};

/// Milliseconds after which the kernel gives up a path that is dead.
pub const KERNEL: u64 = 14_000;

pub enum Event {
    Wake(Who, u64),
    Datagram(Who, u64, u32, SocketAddr, Arc<[u8]>),
    Input(Who, u64, Input<'static>),
    /// A dial arrives.
    Dial(u64),
    /// Bytes of a connection arrive that this side wrote.
    Flow(u64, usize),
    /// The kernel gives up a connection that was cut for the n-th time.
    Dead(u64, u64),
    /// The disk comes to what was to be read.
    Load(Who, u64, LoadRequest),
    /// A program that stood still goes on.
    Thaw(Who, u64),
}

pub struct Lan {
    pub clock: u64,
    queue: BTreeMap<(u64, u64), Event>,
    number: u64,
    rng: ChaCha20Rng,
    pub people: Vec<Person>,
    pub hosts: Vec<Host>,
    pub air: Air,
    pub checks: Checks,
    /// Wall clocks are right, whatever happens.
    pub right: bool,
    /// Of everything that happened, in order.
    pub trace: u64,
    /// What nodes wrote to streams that lead out of the LAN.
    pub taps: BTreeMap<(Who, StreamId), Vec<u8>>,
    /// Such streams that they closed.
    pub closed: BTreeSet<(Who, StreamId)>,
    pub last_beacon: Vec<u8>,
    /// Print it: `P2PCHAT_TRACE=1`.
    pub loud: bool,
}

impl Lan {
    pub fn new(seed: u64) -> Lan {
        Lan {
            clock: 1_000,
            queue: BTreeMap::new(),
            number: 0,
            rng: ChaCha20Rng::seed_from_u64(seed),
            people: Vec::new(),
            hosts: Vec::new(),
            air: Air::default(),
            checks: Checks::default(),
            right: false,
            trace: 0xcbf2_9ce4_8422_2325,
            taps: BTreeMap::new(),
            closed: BTreeSet::new(),
            last_beacon: Vec::new(),
            loud: std::env::var_os("P2PCHAT_TRACE").is_some(),
        }
    }

    /// Each on a host of its own, all on one network; none runs yet.
    pub fn people<const N: usize>(&mut self, names: [&str; N]) -> [Who; N] {
        names.map(|name| self.person(name))
    }

    pub fn person(&mut self, name: &str) -> Who {
        self.hosts.push(Host {
            networks: vec![0],
            plugged: true,
            asleep: None,
        });
        self.person_on(name, self.hosts.len() - 1)
    }

    pub fn person_on(&mut self, name: &str, host: usize) -> Who {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let mut person = Person::new(name, host, seed);
        let neighbours = self.people.iter().filter(|p| p.host == host).count();
        person.port += neighbours as u16;
        self.people.push(person);
        self.checks.ledgers.push(Default::default());
        self.people.len() - 1
    }

    /// Below `n`.
    pub fn random(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n.max(1)
    }

    pub fn chance(&mut self, per_mille: u64) -> bool {
        per_mille > 0 && self.random(1000) < per_mille
    }

    pub fn id(&self, who: Who) -> PeerId {
        self.people[who].id
    }

    pub fn is_up(&self, who: Who) -> bool {
        self.people[who].node.is_some()
    }

    pub fn start(&mut self, who: Who) {
        assert!(!self.is_up(who), "started twice");
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let clock = self.clock;
        let host = self.people[who].host;
        self.people[who].boot(clock, seed);
        self.checks.started(who);
        for room in self.people[who].rooms.clone() {
            self.open(who, &room);
        }
        for folder in [FolderName::direct(), FolderName::carried()] {
            let ranges = self.people[who].disk.ranges_in(&folder);
            let before = false;
            let opened = Input::FolderOpened {
                folder,
                ranges,
                existed: before,
            };
            self.feed(who, opened);
        }
        let interfaces = self.hosts[host].interfaces(host);
        self.feed(who, Input::InterfacesChanged(interfaces));
    }

    /// Says a line to one peer, who must be known.
    pub fn tell(&mut self, who: Who, whom: &str, text: &str) {
        self.tell_within(who, whom, text, 0);
    }

    pub fn tell_within(&mut self, who: Who, whom: &str, text: &str, within: u64) {
        let tell = Command::SendToPeer {
            selector: PeerSelector::parse(whom).expect("a fit name"),
            lines: lines(&[text]),
            action: false,
            timeout_ms: within,
        };
        self.feed(who, Input::Command(tell));
    }

    /// Opens a room's history, as the shell does at a start and at /join.
    pub fn open(&mut self, who: Who, room: &Room) {
        let disk = &mut self.people[who].disk;
        let before = disk.knows(room);
        disk.open(room);
        let ranges = disk.ranges(room);
        let folder = room.into();
        self.feed(
            who,
            Input::FolderOpened {
                folder,
                ranges,
                existed: before,
            },
        );
    }

    pub fn join(&mut self, who: Who, room: &str) {
        let room = Room::new(room).expect("a fit room");
        self.open(who, &room);
        self.feed(who, Input::Command(Command::Join(room)));
    }

    pub fn part(&mut self, who: Who, room: &str) {
        let room = Room::new(room).expect("a fit room");
        let errors = self.people[who].errors("store");
        self.feed(who, Input::Command(Command::Part(Some(room.clone()))));
        let told = self.people[who].errors("store") > errors;
        self.checks.parted(who, &room, told);
    }

    pub fn say(&mut self, who: Who, text: &str) {
        self.say_all(who, None, &[text.to_owned()]);
    }

    pub fn say_in(&mut self, who: Who, room: &str, text: &str) {
        self.say_all(who, Room::new(room).ok(), &[text.to_owned()]);
    }

    /// Several lines at once, as from a pipe.
    pub fn say_all(&mut self, who: Who, room: Option<Room>, texts: &[String]) {
        let Some(node) = &self.people[who].node else {
            return;
        };
        let target = room.clone().or_else(|| node.current_room().cloned());
        if let Some(room) = target.filter(|room| node.joined_rooms().contains(room)) {
            self.checks.said(who, &room, texts);
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let say = Command::SendToRoom {
            room,
            lines: lines(&texts),
            action: false,
        };
        self.feed(who, Input::Command(say));
    }

    /// A goodbye; the next start goes on with the same numbers.
    pub fn stop(&mut self, who: Who) {
        self.feed(who, Input::Command(Command::Leave));
        self.people[who].resume = self.people[who]
            .node
            .as_ref()
            .map(|node| node.resume_state());
        self.end(who, true);
    }

    /// The process dies; its kernel lives, and so does what it stored.
    pub fn kill(&mut self, who: Who) {
        self.end(who, true);
        self.checks.died(who);
    }

    /// The host dies: nobody is told, and what was not synced is lost in part.
    pub fn power_off(&mut self, who: Who) {
        self.end(who, false);
        self.checks.died(who);
        let (clock, rng) = (self.clock, &mut self.rng);
        let random = |n| rng.next_u64() % n;
        self.people[who].disk.lose_tail(clock, random);
        self.checks.lost_tail(who, &self.people[who].disk);
    }

    fn end(&mut self, who: Who, told: bool) {
        self.people[who].node = None;
        self.people[who].held.clear();
        let streams: Vec<(u64, usize)> = self
            .air
            .streams
            .range((who, StreamId(0))..=(who, StreamId(u64::MAX)))
            .map(|(_, at)| *at)
            .collect();
        for (number, side) in streams {
            if told {
                self.hang_up(number, side);
                continue;
            }
            self.air.streams.retain(|_, at| *at != (number, side));
            if let Some(conn) = self.air.conns.get_mut(&number) {
                conn.shut(side);
                conn.cuts += 1;
                let dead = Event::Dead(number, conn.cuts);
                self.after(KERNEL, dead);
            }
        }
    }

    pub fn address(&self, who: Who) -> SocketAddr {
        let person = &self.people[who];
        let network = self.hosts[person.host].networks[0];
        SocketAddr::new(Host::address(person.host, network), person.port)
    }

    /// `--peer HOST`.
    pub fn point(&mut self, who: Who, address: SocketAddr) {
        self.point_to(who, address, None);
    }

    /// `--peer ID@HOST`.
    pub fn point_to(&mut self, who: Who, address: SocketAddr, peer: Option<PeerId>) {
        let found = FoundVia::Static;
        self.feed(
            who,
            Input::Candidate {
                address,
                peer,
                found_via: found,
            },
        );
    }

    pub fn after(&mut self, wait: u64, event: Event) {
        self.number += 1;
        self.queue.insert((self.clock + wait, self.number), event);
    }

    pub fn note(&mut self, words: &[u64]) {
        for word in words {
            self.trace = (self.trace ^ word)
                .wrapping_mul(0x100_0000_01b3)
                .rotate_left(23);
        }
    }

    /// Lets everything happen that is due within this time.
    pub fn run_for(&mut self, ms: u64) {
        let end = self.clock + ms;
        while let Some((&(at, number), _)) = self.queue.first_key_value()
            && at <= end
        {
            self.clock = at;
            if let Some(event) = self.queue.remove(&(at, number)) {
                self.note(&[at, number]);
                self.happen(event);
            }
        }
        self.clock = end;
    }

    /// What this node wrote to a stream that leads out of the LAN, since last asked.
    pub fn tapped(&mut self, who: Who, stream: StreamId) -> Vec<u8> {
        self.taps
            .get_mut(&(who, stream))
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Runs until this holds; tells how long it took.
    pub fn run_until(
        &mut self,
        what: &str,
        within: u64,
        mut holds: impl FnMut(&mut Lan) -> bool,
    ) -> u64 {
        let start = self.clock;
        while !holds(self) {
            assert!(
                self.clock - start < within,
                "not within {within} ms: {what}"
            );
            self.run_for(1);
        }
        self.clock - start
    }
}
