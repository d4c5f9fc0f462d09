//! The LAN of one test: one virtual clock, one queue of events ordered by time, one random
//! generator, and the steps of a story (start, say, stop). A seed determines the whole run.
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use p2pchat::base::batch::batch::LogId;
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::load::LoadRequest;
use p2pchat::base::event::stream_id::StreamId;
use p2pchat::base::identity::PeerId;
use p2pchat::base::name::{FolderName, PeerSelector, Room, Target};
use p2pchat::base::text::line_form::LineForm;
use p2pchat::node::node::Node;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::support::disk::Boot;
use crate::support::invariants::Invariants;
use crate::support::network::Network;
use crate::support::peer::{Host, PeerIndex, SimPeer, Wait, lines};

/// Milliseconds after which the kernel closes a connection whose path is dead.
pub const TCP_TIMEOUT_MS: u64 = 14_000;

/// Longest wait for a link once its path is whole, in milliseconds: dials are repeated after at
/// most 64 s.
pub const REDIAL_MS: u64 = 70_000;

/// Words that tell kinds of outputs apart in the trace hash.
pub const TRACE_SAVE: u64 = 1;
/// See [`TRACE_SAVE`].
pub const TRACE_BEACON: u64 = 2;
/// See [`TRACE_SAVE`].
pub const TRACE_DIAL: u64 = 3;
/// See [`TRACE_SAVE`].
pub const TRACE_WRITE: u64 = 4;
/// See [`TRACE_SAVE`].
pub const TRACE_CLOSE: u64 = 5;

/// Something that happens at a time.
pub enum Event {
    /// For one run of a peer's program: deferred while it is frozen, dropped when it has ended.
    ForRun {
        who: PeerIndex,
        run: u64,
        event: RunEvent,
    },
    /// A dial reaches its address.
    CompleteDial { connection_id: u64 },
    /// Bytes arrive that the endpoint `side` wrote.
    Deliver { connection_id: u64, side: usize },
    /// The kernel closes a dead connection, unless the path healed since: then `cut_count` differs.
    TimeOut { connection_id: u64, cut_count: u64 },
}

/// What reaches one run of a program.
pub enum RunEvent {
    /// The node's next timer is due.
    Wake,
    /// A datagram arrives on an interface.
    Datagram {
        interface: u32,
        source: SocketAddr,
        bytes: Arc<[u8]>,
    },
    /// Any other input that owns its bytes.
    Input(Input<'static>),
    /// The disk answers an [`Output::Load`].
    ReadDisk(LoadRequest),
    /// [`Lan::freeze_for`] ends.
    Thaw,
}

/// The simulated LAN of one test.
pub struct Lan {
    /// Virtual time since the simulation began.
    pub now_ms: u64,
    events: BTreeMap<(u64, u64), Event>,
    events_scheduled: u64,
    /// Bound on the number of events. A run with more of them goes round in a circle.
    pub events_max: u64,
    rng: ChaCha20Rng,
    pub peers: Vec<SimPeer>,
    pub hosts: Vec<Host>,
    pub network: Network,
    pub invariants: Invariants,
    /// All clocks are right, whatever the seed draws.
    pub clocks_are_right: bool,
    /// Hash over all events and outputs in order: equal for equal runs.
    pub trace_hash: u64,
    /// Bytes that nodes wrote to streams of scripted peers, since last taken.
    pub external_writes: BTreeMap<(PeerIndex, StreamId), Vec<u8>>,
    /// Where scripted services listen, and the streams that nodes dialed there.
    pub external_listeners: BTreeMap<SocketAddr, Vec<StreamId>>,
    /// Streams of scripted peers that the nodes closed.
    pub closed_external_streams: BTreeSet<(PeerIndex, StreamId)>,
    /// What the name server answers for each static endpoint, and the id in its `--peer`.
    pub endpoints: BTreeMap<String, (Vec<SocketAddr>, Option<PeerId>)>,
    /// The newest beacon that any node sent.
    pub last_beacon: Vec<u8>,
    /// Print every input and output: set by the variable `P2PCHAT_TRACE`.
    pub trace_enabled: bool,
}

impl Lan {
    /// An empty LAN whose every random choice follows from `seed`.
    pub fn new(seed: u64) -> Lan {
        Lan {
            now_ms: 1_000,
            events: BTreeMap::new(),
            events_scheduled: 0,
            events_max: u64::MAX,
            rng: ChaCha20Rng::seed_from_u64(seed),
            peers: Vec::new(),
            hosts: Vec::new(),
            network: Network::default(),
            invariants: Invariants::default(),
            clocks_are_right: false,
            trace_hash: 0xcbf2_9ce4_8422_2325,
            external_writes: BTreeMap::new(),
            external_listeners: BTreeMap::new(),
            closed_external_streams: BTreeSet::new(),
            endpoints: BTreeMap::new(),
            last_beacon: Vec::new(),
            trace_enabled: std::env::var_os("P2PCHAT_TRACE").is_some(),
        }
    }

    /// Adds peers, each on a host of its own, all on network 0. None runs yet.
    pub fn add_peers<const N: usize>(&mut self, names: [&str; N]) -> [PeerIndex; N] {
        names.map(|name| self.add_peer(name))
    }

    /// Adds a peer on a host of its own, on network 0. It does not run yet.
    pub fn add_peer(&mut self, name: &str) -> PeerIndex {
        self.hosts.push(Host {
            networks: vec![0],
            plugged: true,
            boots: 0,
            suspended_since_ms: None,
        });
        self.add_peer_on(name, self.hosts.len() - 1)
    }

    /// Adds a peer on an existing host, on the next free port.
    pub fn add_peer_on(&mut self, name: &str, host: usize) -> PeerIndex {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let mut peer = SimPeer::new(name, host, seed);
        let neighbours = self.peers.iter().filter(|p| p.host == host).count();
        peer.port += neighbours as u16;
        self.peers.push(peer);
        self.invariants.observations.push(Default::default());
        self.peers.len() - 1
    }

    /// A random number below `n`.
    pub fn random(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n.max(1)
    }

    /// True with this probability, in thousandths.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        per_mille > 0 && self.random(1000) < per_mille
    }

    /// The id of this peer's key.
    pub fn id(&self, who: PeerIndex) -> PeerId {
        self.peers[who].id
    }

    /// Whether a program runs in this peer's directory.
    pub fn is_running(&self, who: PeerIndex) -> bool {
        self.peers[who].node.is_some()
    }

    /// Starts a program in this peer's directory, as the shell does: open rooms, then interfaces.
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
            let opened = Input::FolderOpened {
                folder,
                ranges: ranges.into_iter().collect(),
                existed: false,
            };
            self.feed(who, opened);
        }
        let interfaces = self.hosts[host].interfaces(host);
        self.feed(who, Input::InterfacesChanged(interfaces));
    }

    /// Sends a direct message; the recipient must be known already.
    pub fn send_direct(&mut self, who: PeerIndex, selector: &str, text: &str) {
        self.send_direct_within(who, selector, text, 0);
    }

    /// Sends a direct message; waits up to `within_ms` milliseconds for the recipient to be known.
    pub fn send_direct_within(
        &mut self,
        who: PeerIndex,
        selector: &str,
        text: &str,
        within_ms: u64,
    ) {
        let peer = &mut self.peers[who];
        peer.searches += 1;
        let request_id = peer.searches;
        peer.unaddressed.insert(request_id, lines(&[text]));
        let resolve = Command::Resolve {
            request_id,
            selector: PeerSelector::parse(selector).expect("a valid name"),
            timeout_ms: within_ms,
        };
        self.feed(who, Input::Command(resolve));
    }

    /// Opens a room's folder, as the shell does at start and at `/join`.
    pub fn open_folder(&mut self, who: PeerIndex, room: &Room) {
        let existed = self.peers[who].disk.has_folder(room);
        self.peers[who].disk.create_folder(room);
        self.open_reader(who, room);
        let ranges = self.peers[who].disk.ranges(room);
        let folder = room.into();
        self.feed(
            who,
            Input::FolderOpened {
                folder,
                ranges: ranges.into_iter().collect(),
                existed,
            },
        );
    }

    /// Begins the reader of a room, unless the program is transient, and tells the core of it.
    pub fn open_reader(&mut self, who: PeerIndex, room: &Room) {
        let (boot, clock) = (self.boot(who), self.now_ms);
        let peer = &mut self.peers[who];
        if !peer.transient {
            let wall = peer.now(clock).wall;
            peer.disk.begin_reader(room, clock, boot, wall);
        }
        if let Some(start) = peer.disk.reader_start(room, peer.started_at_ms, boot) {
            let room = room.clone();
            self.feed(who, Input::ReaderOpened { room, start });
        }
    }

    /// The present boot of this peer's host.
    pub fn boot(&self, who: PeerIndex) -> Boot {
        let host = self.peers[who].host;
        (host, self.hosts[host].boots)
    }

    /// Writes the readers' beginnings by the wall clock of the present boot.
    pub fn correct_readers(&mut self, who: PeerIndex) {
        let (boot, clock) = (self.boot(who), self.now_ms);
        let peer = &mut self.peers[who];
        let wall = peer.now(clock).wall;
        peer.disk.correct_readers(clock, boot, wall);
    }

    /// Reboots the host of this peer, on which nothing runs.
    pub fn reboot(&mut self, who: PeerIndex) {
        assert!(!self.is_running(who), "a program runs there");
        self.correct_readers(who);
        self.hosts[self.peers[who].host].boots += 1;
    }

    /// Joins a room as `/join` does.
    pub fn join(&mut self, who: PeerIndex, room: &str) {
        let room = Room::new(room).expect("a valid room");
        self.open_folder(who, &room);
        self.feed(who, Input::Command(Command::Join(room)));
    }

    /// Leaves a room. Lines that were not saved yet are dropped, which must be reported.
    pub fn part(&mut self, who: PeerIndex, room: &str) {
        let room = Room::new(room).expect("a valid room");
        let errors = self.peers[who].error_count("store");
        self.feed(who, Input::Command(Command::Part(Some(room.clone()))));
        let reported = self.peers[who].error_count("store") > errors;
        self.invariants.record_part(who, &room, reported);
    }

    /// Says a line in the current room.
    pub fn say(&mut self, who: PeerIndex, text: &str) {
        self.say_all(who, None, &[text.to_owned()]);
    }

    /// Says a line in this room.
    pub fn say_in(&mut self, who: PeerIndex, room: &str, text: &str) {
        self.say_all(who, Room::new(room).ok(), &[text.to_owned()]);
    }

    /// Says several lines in one command, as from a pipe.
    pub fn say_all(&mut self, who: PeerIndex, room: Option<Room>, texts: &[String]) {
        let Some(node) = &self.peers[who].node else {
            return;
        };
        let target = room.clone().or_else(|| node.current_room().cloned());
        if let Some(room) = target
            .as_ref()
            .filter(|room| node.joined_rooms().contains(room))
        {
            self.invariants.record_said(who, room, texts);
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let Some(room) = target else {
            return;
        };
        let say = Command::Publish {
            target: Target::Room(room),
            lines: lines(&texts),
            form: LineForm::Text,
            request: None,
        };
        self.feed(who, Input::Command(say));
    }

    /// Ends the program cleanly: the next start continues its logs.
    pub fn stop(&mut self, who: PeerIndex) {
        self.feed(who, Input::Command(Command::Leave));
        self.peers[who].resume_state = self.peers[who]
            .node
            .as_ref()
            .map(|node| node.resume_state());
        self.end_process(who, true);
    }

    /// Kills the process. Its kernel closes the streams, and saved lines survive.
    pub fn kill(&mut self, who: PeerIndex) {
        self.end_process(who, true);
        self.invariants.record_crash(who);
    }

    /// Cuts the host's power: no stream is closed, and a random part of the lines saved since the
    /// last fsync is lost.
    pub fn power_off(&mut self, who: PeerIndex) {
        self.end_process(who, false);
        let host = self.peers[who].host;
        let mut neighbours = self.peers.iter().filter(|peer| peer.host == host);
        if neighbours.all(|peer| peer.node.is_none()) {
            self.reboot(who);
        }
        self.invariants.record_crash(who);
        let (clock, rng) = (self.now_ms, &mut self.rng);
        let random = |n| rng.next_u64() % n;
        self.peers[who].disk.lose_unsynced(clock, random);
        self.invariants.record_lost_tail(who, &self.peers[who].disk);
    }

    /// Ends the process. `closes_streams`: its kernel is alive and closes them; otherwise peers
    /// wait for a timeout.
    fn end_process(&mut self, who: PeerIndex, closes_streams: bool) {
        self.peers[who].node = None;
        self.peers[who].deferred.clear();
        let streams: Vec<(u64, usize)> = self
            .network
            .streams
            .range((who, StreamId(0))..=(who, StreamId(u64::MAX)))
            .map(|(_, at)| *at)
            .collect();
        for (connection_id, side) in streams {
            if closes_streams {
                self.close_end(connection_id, side);
                continue;
            }
            self.network
                .streams
                .retain(|_, at| *at != (connection_id, side));
            if let Some(connection) = self.network.connections.get_mut(&connection_id) {
                connection.close_end(side);
                connection.cut_count += 1;
                let dead = Event::TimeOut {
                    connection_id,
                    cut_count: connection.cut_count,
                };
                self.schedule(TCP_TIMEOUT_MS, dead);
            }
        }
    }

    /// Where this peer's program listens, on its host's first network.
    pub fn address(&self, who: PeerIndex) -> SocketAddr {
        let peer = &self.peers[who];
        let network = self.hosts[peer.host].networks[0];
        SocketAddr::new(Host::address(peer.host, network), peer.port)
    }

    /// Gives the option `--peer HOST`.
    pub fn add_static_peer(&mut self, who: PeerIndex, address: SocketAddr) {
        self.add_candidate(who, address, None);
    }

    /// Gives the option `--peer ID@HOST`; without an id, `--peer HOST`.
    pub fn add_candidate(&mut self, who: PeerIndex, address: SocketAddr, peer: Option<PeerId>) {
        let endpoint = address.to_string();
        self.endpoints
            .insert(endpoint.clone(), (vec![address], peer));
        let resolved = self.resolve(endpoint, true);
        self.feed(who, resolved);
    }

    /// The answer of the name server for this static endpoint. `is_requested`: the user has just
    /// named it.
    pub fn resolve(&self, endpoint: String, is_requested: bool) -> Input<'static> {
        let (addresses, peer) = self.endpoints[&endpoint].clone();
        Input::EndpointResolved {
            endpoint,
            addresses,
            peer,
            is_requested,
        }
    }

    /// Queues an event for `wait_ms` milliseconds from now.
    pub fn schedule(&mut self, wait_ms: u64, event: Event) {
        self.events_scheduled += 1;
        self.events
            .insert((self.now_ms + wait_ms, self.events_scheduled), event);
    }

    /// Queues an event for the peer's current run.
    pub fn schedule_for_run(&mut self, who: PeerIndex, wait_ms: u64, event: RunEvent) {
        let run = self.peers[who].run;
        self.schedule(wait_ms, Event::ForRun { who, run, event });
    }

    /// Adds values to the hash over the run.
    pub fn extend_trace(&mut self, words: &[u64]) {
        for word in words {
            self.trace_hash = (self.trace_hash ^ word)
                .wrapping_mul(0x100_0000_01b3)
                .rotate_left(23);
        }
    }

    /// Dispatches all events that are due within `ms` milliseconds.
    pub fn run_for(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while let Some((&(at, number), _)) = self.events.first_key_value()
            && at <= end
        {
            self.now_ms = at;
            if let Some(event) = self.events.remove(&(at, number)) {
                assert!(number < self.events_max, "the run does not end");
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

    /// Begins to wait until enough peers hold what this peer said.
    pub fn finish(&mut self, who: PeerIndex, required_peers: Option<u64>) {
        self.peers[who].wait = Wait::For { required_peers };
        self.feed(who, Input::Timeout);
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

    /// Takes the bytes that this node wrote to a scripted peer's stream since the last call.
    pub fn take_external_writes(&mut self, who: PeerIndex, stream: StreamId) -> Vec<u8> {
        self.external_writes
            .get_mut(&(who, stream))
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Whether this node closed a scripted peer's stream.
    pub fn has_closed(&self, who: PeerIndex, stream: StreamId) -> bool {
        self.closed_external_streams.contains(&(who, stream))
    }

    /// Runs until the condition holds; returns the milliseconds that took. Panics after `within_ms`
    /// milliseconds, naming the condition.
    pub fn run_until(
        &mut self,
        what: &str,
        within_ms: u64,
        mut holds: impl FnMut(&mut Lan) -> bool,
    ) -> u64 {
        let start = self.now_ms;
        while !holds(self) {
            assert!(
                self.now_ms - start < within_ms,
                "not within {within_ms} ms: {what}"
            );
            self.run_for(1);
        }
        self.now_ms - start
    }
}

/// Peers of which each is linked with its neighbours in the list, and with no other.
pub fn chain<const N: usize>(seed: u64, names: [&str; N]) -> (Lan, [PeerIndex; N]) {
    let mut lan = Lan::new(seed);
    let peers = lan.add_peers(names);
    for (i, a) in peers.iter().enumerate() {
        for b in peers.iter().skip(i + 2) {
            lan.cut(*a, *b);
        }
    }
    lan.start_all(peers);
    for pair in peers.windows(2) {
        lan.run_until("neighbours are linked", 5_000, |lan| {
            lan.are_linked(pair[0], pair[1])
        });
    }
    lan.run_for(1_000);
    (lan, peers)
}
