//! One clock, one queue of events ordered by time and number, one seed; and what a script does to the people on the LAN.
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use p2pchat::base::batch::LogId;
use p2pchat::base::event::{Command, FoundVia, Input, LoadRequest, StreamId};
use p2pchat::base::identity::PeerId;
use p2pchat::base::name::{FolderName, PeerSelector, Room};
use p2pchat::node::node::Node;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::support::invariants::Invariants;
use crate::support::network::Network;
use crate::support::peer::{Host, PeerIndex, SimPeer, lines};

/// Milliseconds after which the kernel gives up a path that is dead.
pub const TCP_TIMEOUT_MS: u64 = 14_000;

/// Longest wait for a new link once the path is whole: a dial is repeated after at most 64 s.
pub const REDIAL_MS: u64 = 70_000;

pub enum Event {
    Wake(PeerIndex, u64),
    Datagram(PeerIndex, u64, u32, SocketAddr, Arc<[u8]>),
    Input(PeerIndex, u64, Input<'static>),
    /// A dial arrives.
    CompleteDial(u64),
    /// Bytes of a connection arrive that this side wrote.
    Deliver(u64, usize),
    /// The kernel gives up a connection that was cut for the n-th time.
    TimeOut(u64, u64),
    /// The disk comes to what was to be read.
    ReadDisk(PeerIndex, u64, LoadRequest),
    /// A program that stood still goes on.
    Thaw(PeerIndex, u64),
}

pub struct Lan {
    pub now_ms: u64,
    events: BTreeMap<(u64, u64), Event>,
    events_scheduled: u64,
    rng: ChaCha20Rng,
    pub peers: Vec<SimPeer>,
    pub hosts: Vec<Host>,
    pub network: Network,
    pub invariants: Invariants,
    /// Wall clocks are right, whatever happens.
    pub wall_clocks_right: bool,
    /// Of everything that happened, in order.
    pub trace_hash: u64,
    /// What nodes wrote to streams that lead out of the LAN.
    pub external_writes: BTreeMap<(PeerIndex, StreamId), Vec<u8>>,
    /// Such streams that they closed.
    pub closed_external_streams: BTreeSet<(PeerIndex, StreamId)>,
    pub last_beacon: Vec<u8>,
    /// Print it: `P2PCHAT_TRACE=1`.
    pub trace_enabled: bool,
}

impl Lan {
    pub fn new(seed: u64) -> Lan {
        Lan {
            now_ms: 1_000,
            events: BTreeMap::new(),
            events_scheduled: 0,
            rng: ChaCha20Rng::seed_from_u64(seed),
            peers: Vec::new(),
            hosts: Vec::new(),
            network: Network::default(),
            invariants: Invariants::default(),
            wall_clocks_right: false,
            trace_hash: 0xcbf2_9ce4_8422_2325,
            external_writes: BTreeMap::new(),
            closed_external_streams: BTreeSet::new(),
            last_beacon: Vec::new(),
            trace_enabled: std::env::var_os("P2PCHAT_TRACE").is_some(),
        }
    }

    /// Each on a host of its own, all on one network; none runs yet.
    pub fn add_peers<const N: usize>(&mut self, names: [&str; N]) -> [PeerIndex; N] {
        names.map(|name| self.add_peer(name))
    }

    pub fn add_peer(&mut self, name: &str) -> PeerIndex {
        self.hosts.push(Host {
            networks: vec![0],
            plugged: true,
            suspended_since_ms: None,
        });
        self.add_peer_on(name, self.hosts.len() - 1)
    }

    pub fn add_peer_on(&mut self, name: &str, host: usize) -> PeerIndex {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let mut person = SimPeer::new(name, host, seed);
        let neighbours = self.peers.iter().filter(|p| p.host == host).count();
        person.port += neighbours as u16;
        self.peers.push(person);
        self.invariants.observations.push(Default::default());
        self.peers.len() - 1
    }

    /// Below `n`.
    pub fn random(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n.max(1)
    }

    pub fn chance(&mut self, per_mille: u64) -> bool {
        per_mille > 0 && self.random(1000) < per_mille
    }

    pub fn id(&self, who: PeerIndex) -> PeerId {
        self.peers[who].id
    }

    pub fn is_running(&self, who: PeerIndex) -> bool {
        self.peers[who].node.is_some()
    }

    pub fn start(&mut self, who: PeerIndex) {
        assert!(!self.is_running(who), "started twice");
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let clock = self.now_ms;
        let host = self.peers[who].host;
        self.peers[who].start_process(clock, seed);
        self.invariants.record_start(who);
        for room in self.peers[who].startup_rooms.clone() {
            self.open_folder(who, &room);
        }
        for folder in [FolderName::direct(), FolderName::carried()] {
            let ranges = self.peers[who].disk.ranges_in(&folder);
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
    pub fn send_direct(&mut self, who: PeerIndex, whom: &str, text: &str) {
        self.send_direct_within(who, whom, text, 0);
    }

    pub fn send_direct_within(&mut self, who: PeerIndex, whom: &str, text: &str, within: u64) {
        let tell = Command::SendToPeer {
            selector: PeerSelector::parse(whom).expect("a fit name"),
            lines: lines(&[text]),
            action: false,
            timeout_ms: within,
        };
        self.feed(who, Input::Command(tell));
    }

    /// Opens a room's history, as the shell does at a start and at /join.
    pub fn open_folder(&mut self, who: PeerIndex, room: &Room) {
        let disk = &mut self.peers[who].disk;
        let before = disk.has_folder(room);
        disk.create_folder(room);
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

    pub fn join(&mut self, who: PeerIndex, room: &str) {
        let room = Room::new(room).expect("a fit room");
        self.open_folder(who, &room);
        self.feed(who, Input::Command(Command::Join(room)));
    }

    pub fn part(&mut self, who: PeerIndex, room: &str) {
        let room = Room::new(room).expect("a fit room");
        let errors = self.peers[who].error_count("store");
        self.feed(who, Input::Command(Command::Part(Some(room.clone()))));
        let told = self.peers[who].error_count("store") > errors;
        self.invariants.record_part(who, &room, told);
    }

    pub fn say(&mut self, who: PeerIndex, text: &str) {
        self.say_all(who, None, &[text.to_owned()]);
    }

    pub fn say_in(&mut self, who: PeerIndex, room: &str, text: &str) {
        self.say_all(who, Room::new(room).ok(), &[text.to_owned()]);
    }

    /// Several lines at once, as from a pipe.
    pub fn say_all(&mut self, who: PeerIndex, room: Option<Room>, texts: &[String]) {
        let Some(node) = &self.peers[who].node else {
            return;
        };
        let target = room.clone().or_else(|| node.current_room().cloned());
        if let Some(room) = target.filter(|room| node.joined_rooms().contains(room)) {
            self.invariants.record_said(who, &room, texts);
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
    pub fn stop(&mut self, who: PeerIndex) {
        self.feed(who, Input::Command(Command::Leave));
        self.peers[who].resume_state = self.peers[who]
            .node
            .as_ref()
            .map(|node| node.resume_state());
        self.end_process(who, true);
    }

    /// The process dies; its kernel lives, and so does what it stored.
    pub fn kill(&mut self, who: PeerIndex) {
        self.end_process(who, true);
        self.invariants.record_crash(who);
    }

    /// The host dies: nobody is told, and what was not synced is lost in part.
    pub fn power_off(&mut self, who: PeerIndex) {
        self.end_process(who, false);
        self.invariants.record_crash(who);
        let (clock, rng) = (self.now_ms, &mut self.rng);
        let random = |n| rng.next_u64() % n;
        self.peers[who].disk.lose_unsynced(clock, random);
        self.invariants.record_lost_tail(who, &self.peers[who].disk);
    }

    fn end_process(&mut self, who: PeerIndex, told: bool) {
        self.peers[who].node = None;
        self.peers[who].deferred.clear();
        let streams: Vec<(u64, usize)> = self
            .network
            .streams
            .range((who, StreamId(0))..=(who, StreamId(u64::MAX)))
            .map(|(_, at)| *at)
            .collect();
        for (number, side) in streams {
            if told {
                self.close_end(number, side);
                continue;
            }
            self.network.streams.retain(|_, at| *at != (number, side));
            if let Some(conn) = self.network.connections.get_mut(&number) {
                conn.close_end(side);
                conn.cut_count += 1;
                let dead = Event::TimeOut(number, conn.cut_count);
                self.schedule(TCP_TIMEOUT_MS, dead);
            }
        }
    }

    pub fn address(&self, who: PeerIndex) -> SocketAddr {
        let person = &self.peers[who];
        let network = self.hosts[person.host].networks[0];
        SocketAddr::new(Host::address(person.host, network), person.port)
    }

    /// `--peer HOST`.
    pub fn add_static_peer(&mut self, who: PeerIndex, address: SocketAddr) {
        self.add_candidate(who, address, None);
    }

    /// `--peer ID@HOST`.
    pub fn add_candidate(&mut self, who: PeerIndex, address: SocketAddr, peer: Option<PeerId>) {
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

    pub fn schedule(&mut self, wait: u64, event: Event) {
        self.events_scheduled += 1;
        self.events
            .insert((self.now_ms + wait, self.events_scheduled), event);
    }

    pub fn extend_trace(&mut self, words: &[u64]) {
        for word in words {
            self.trace_hash = (self.trace_hash ^ word)
                .wrapping_mul(0x100_0000_01b3)
                .rotate_left(23);
        }
    }

    /// Lets everything happen that is due within this time.
    pub fn run_for(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while let Some((&(at, number), _)) = self.events.first_key_value()
            && at <= end
        {
            self.now_ms = at;
            if let Some(event) = self.events.remove(&(at, number)) {
                self.extend_trace(&[at, number]);
                self.dispatch(event);
            }
        }
        self.now_ms = end;
    }

    /// Starts several peers at one instant, in this order.
    pub fn start_all(&mut self, peers: impl IntoIterator<Item = PeerIndex>) {
        peers.into_iter().for_each(|who| self.start(who));
    }

    /// Asks the core to report [`Notice::Settled`] once enough peers hold what this peer said.
    pub fn finish(&mut self, who: PeerIndex, required_peers: Option<u64>) {
        let finish = Command::Finish { required_peers };
        self.feed(who, Input::Command(finish));
    }

    /// The running node of this peer.
    pub fn node(&self, who: PeerIndex) -> &Node {
        self.peers[who].node.as_ref().expect("a running peer")
    }

    /// The first log of #general that this peer stores.
    pub fn first_log(&self, who: PeerIndex) -> LogId {
        self.peers[who].disk.ranges(&Room::general())[0].log.clone()
    }

    /// Runs until both peers have a link to each other; returns the milliseconds that took.
    pub fn run_until_linked(&mut self, a: PeerIndex, b: PeerIndex, within_ms: u64) -> u64 {
        self.run_until("they are linked", within_ms, |lan| lan.are_linked(a, b))
    }

    /// What this node wrote to a stream that leads out of the LAN, since last asked.
    pub fn take_external_writes(&mut self, who: PeerIndex, stream: StreamId) -> Vec<u8> {
        self.external_writes
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
        let start = self.now_ms;
        while !holds(self) {
            assert!(
                self.now_ms - start < within,
                "not within {within} ms: {what}"
            );
            self.run_for(1);
        }
        self.now_ms - start
    }
}

/// Each is linked with the next, and with nobody else.
pub fn chain<const N: usize>(seed: u64, names: [&str; N]) -> (Lan, [PeerIndex; N]) {
    let mut lan = Lan::new(seed);
    let people = lan.add_peers(names);
    for (i, a) in people.iter().enumerate() {
        for b in people.iter().skip(i + 2) {
            lan.cut(*a, *b);
        }
    }
    lan.start_all(people);
    for pair in people.windows(2) {
        lan.run_until("neighbours are linked", 5_000, |lan| {
            lan.are_linked(pair[0], pair[1])
        });
    }
    lan.run_for(1_000);
    (lan, people)
}
