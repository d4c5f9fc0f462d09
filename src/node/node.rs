//! The dispatcher: hands each input to the features it concerns. It decides nothing.
use crate::base::event::{Command, Input, Notice, Output, Peer, StreamId};
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room, Target};
use crate::base::table::Set;
use crate::base::time::{Now, Time};
use crate::node::connection::handshake::Handshakes;
use crate::node::connection::liveness;
use crate::node::connection::liveness::Event;
use crate::node::context::{Hub, Setup};
use crate::node::discovery::dialer::Discovery;
use crate::node::membership::known_peers::Trust;
use crate::node::membership::presence::Presence;
use crate::node::membership::resolve_name::Tell;
use crate::node::membership::rooms::Rooms;
use crate::node::membership::roster;
use crate::node::membership::routes::Members;
use crate::node::replication::delivery::Receipts;
use crate::node::replication::engine::Replicate;
use crate::node::replication::fork_repair;
use crate::node::replication::ingest::Verdict;
use crate::node::replication::logs::Logs;
use crate::wire::message::Message;

pub struct Node {
    pub(super) hub: Hub,
    pub(super) handshakes: Handshakes,
    pub(super) trust: Trust,
    pub(super) logs: Logs,
    pub(super) rooms: Rooms,
    members: Members,
    pub(super) replicate: Replicate,
    pub(super) receipts: Receipts,
    pub(super) tell: Tell,
    presence: Presence,
    pub(super) discovery: Discovery,
    /// When the own name last changed.
    renamed: Time,
    left: bool,
}

impl Node {
    pub fn new(setup: Setup, now: Now) -> Node {
        let beacons = setup.beacons;
        let (mut hub, known, resume, noted) = Hub::new(setup, now);
        let logs = Logs::new(&mut hub, resume);
        let receipts = Receipts::new(&hub, &noted);
        Node {
            hub,
            handshakes: Handshakes::default(),
            trust: Trust::new(known),
            logs,
            rooms: Rooms::default(),
            members: Members::default(),
            replicate: Replicate::default(),
            receipts,
            tell: Tell::default(),
            presence: Presence::default(),
            discovery: Discovery::new(beacons),
            renamed: Time(0),
            left: false,
        }
    }

    /// Takes in what happened. Never fails; afterwards [`Node::poll_output`] must be drained before the next call.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        debug_assert!(
            self.hub.idle(),
            "outputs must be drained before the next input"
        );
        self.hub.now = now;
        let mut events = Vec::new();
        if !self.left {
            self.wake(&mut events);
            self.dispatch(input, &mut events);
            self.carry_out(events);
            self.address();
            if std::mem::take(&mut self.handshakes.met_twin) {
                // Each goes on under numbers of its own.
                self.logs.doubt(&mut self.hub);
            }
            self.receipts.end_turn(&mut self.hub, &mut self.logs);
            let rooms = self.rooms.joined();
            self.replicate
                .end_turn(&mut self.hub, &self.logs, &self.receipts, rooms);
            self.discovery.end_turn(&self.hub);
            if self.receipts.finishing() {
                let delivery = self.delivery();
                self.receipts.settle(&mut self.hub, &delivery);
            }
        }
        self.hub.flush();
    }

    /// What is to be done next; `None`: nothing more, until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.hub.poll_output()
    }

    /// When to come back with [`Input::Wake`] at the latest.
    pub fn next_timeout(&self) -> Option<Time> {
        if self.left {
            return None;
        }
        let delivery = self.receipts.finishing().then(|| self.delivery());
        let deadlines = [
            self.handshakes.deadline(self.hub.now.time),
            liveness::deadline(&self.hub),
            self.presence.deadline(),
            self.members.deadline(),
            self.discovery.deadline(&self.hub, &self.handshakes),
            self.replicate.deadline(&self.hub),
            self.receipts.deadline(delivery.as_ref()),
            self.tell.deadline(&self.hub),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn wake(&mut self, events: &mut Vec<Event>) {
        self.handshakes.wake(&mut self.hub, events);
        liveness::wake(&mut self.hub, events);
        for peer in self.presence.wake(&self.hub) {
            self.look(&peer);
        }
        for peer in self.members.wake(&mut self.hub) {
            self.look(&peer);
        }
        self.discovery.wake(&mut self.hub, &mut self.handshakes);
        self.discovery.prune(&mut self.hub, events);
        self.replicate
            .wake(&mut self.hub, &mut self.logs, &self.rooms);
    }

    /// What was said to names goes to those who are meant.
    fn address(&mut self) {
        let coming = self.coming();
        let hub = &mut self.hub;
        for (reader, lines, action) in self.tell.settle(hub, &mut self.trust, coming) {
            let target = Target::Peer(reader);
            self.replicate
                .say(hub, &mut self.logs, &target, lines, action);
        }
    }

    fn dispatch(&mut self, input: Input<'_>, events: &mut Vec<Event>) {
        let hub = &mut self.hub;
        match input {
            Input::Wake => {}
            Input::Datagram {
                interface,
                source,
                bytes,
            } => self
                .discovery
                .datagram(hub, &mut self.handshakes, interface, source, bytes),
            Input::Interfaces(interfaces) => {
                self.discovery.interfaces(hub, interfaces);
                self.discovery.wake(hub, &mut self.handshakes);
            }
            Input::Accepted { stream, address } => {
                self.handshakes.accepted(hub, stream, address, events)
            }
            Input::Connected { stream } => self.handshakes.connected(hub, stream, events),
            Input::Bytes { stream, bytes } => {
                liveness::bytes(hub, stream, bytes, events);
                self.handshakes
                    .bytes(hub, stream, bytes, self.rooms.joined(), events)
            }
            Input::Clogged { stream } => {
                if let Some(link) = hub.links.get_mut(&stream) {
                    link.clogged = true;
                }
            }
            Input::Drained { stream } => hub.drained(stream),
            Input::Closed { stream } => {
                self.handshakes.closed(hub, stream, events);
                liveness::closed(hub, stream, events);
            }
            Input::Sighting {
                address,
                peer,
                found,
            } => {
                self.discovery.sighting(hub, address, peer, found);
                self.discovery.wake(hub, &mut self.handshakes);
            }
            Input::Opened {
                folder,
                ranges,
                before,
            } => {
                let room = folder.room();
                if !room.as_ref().is_some_and(|room| self.rooms.is_joined(room)) {
                    self.logs.open(hub, &folder, ranges);
                    let joined = room.is_some_and(|room| self.rooms.join(hub, &room, before));
                    fork_repair::opened(hub, &mut self.logs, &folder);
                    if joined {
                        self.discovery.rooms(hub, self.rooms.joined());
                        self.compare_all();
                    }
                }
            }
            Input::Known(list) => self.trust.read_again(list),
            Input::Command(command) => self.command(command),
            Input::Loaded {
                stream,
                log,
                from,
                batches,
                next,
            } => self.replicate.loaded(
                hub,
                &mut self.logs,
                &mut self.receipts,
                ((stream, log), from),
                &batches,
                next,
            ),
            Input::SaveFailed { batches } => {
                self.replicate.save_failed(hub, &mut self.logs, &batches)
            }
            Input::Dropped { log, low } => self.logs.dropped(&log, low),
        }
    }

    fn command(&mut self, command: Command) {
        let hub = &mut self.hub;
        match command {
            Command::Say {
                room,
                lines,
                action,
            } => match room.or_else(|| self.rooms.spoken().cloned()) {
                Some(room) if self.rooms.is_joined(&room) => {
                    self.replicate
                        .say(hub, &mut self.logs, &Target::Room(room), lines, action)
                }
                Some(room) => hub.notice(Notice::Error {
                    code: "room",
                    content: format!("not in {room}: /join {room} first"),
                }),
                None => hub.notice(Notice::Error {
                    code: "room",
                    content: "in no room: /join one first".into(),
                }),
            },
            Command::Tell {
                whom,
                lines,
                action,
                within,
            } => self.tell.tell(hub, whom, lines, action, within),
            Command::Find {
                serial,
                whom,
                within,
            } => self.tell.find(hub, serial, whom, within),
            Command::Join(room) => {
                if self.rooms.is_joined(&room) {
                    self.rooms.speak(&room);
                }
            }
            Command::Part(room) => match room.or_else(|| self.rooms.spoken().cloned()) {
                Some(room) if self.rooms.part(hub, &room) => {
                    self.discovery.rooms(hub, self.rooms.joined());
                    self.compare_all();
                    self.members.parted(&room);
                    self.logs.forget(&self.hub, &room);
                    self.replicate.parted(&mut self.hub, &room);
                }
                Some(room) => hub.notice(Notice::Error {
                    code: "room",
                    content: format!("not in {room}"),
                }),
                None => hub.notice(Notice::Error {
                    code: "room",
                    content: "in no room".into(),
                }),
            },
            Command::Nick(nick) => self.rename(nick),
            Command::Peers => {
                let view = roster::peers(hub, &self.discovery);
                hub.notice(Notice::Peers(view));
            }
            Command::Rooms => hub.notice(Notice::Rooms(self.rooms.list())),
            Command::Stats => {
                let stats = self.stats();
                self.hub.notice(Notice::Stats(stats));
            }
            Command::Await { log, sequence } => self.logs.count_in(hub, log, sequence),
            Command::Shown { log, sequence } => {
                self.replicate.shown(hub, &self.logs, log, sequence)
            }
            Command::Finish { need } => self.receipts.finish(need),
            Command::Leave => {
                self.receipts.note(hub, &mut self.logs);
                // Nobody is shown as gone because we go.
                liveness::leave(hub, &mut Vec::new());
                self.handshakes.leave(hub, &mut Vec::new());
                self.discovery.leave(hub);
                self.left = true;
            }
        }
    }

    fn rename(&mut self, nick: Nick) {
        let username = nick.to_string();
        let old = std::mem::replace(&mut self.hub.nick, nick);
        if old == self.hub.nick {
            return;
        }
        self.renamed = self.hub.now.time;
        for stream in self.hub.links.keys().copied().collect::<Vec<_>>() {
            self.hub.send(
                stream,
                &Message::Profile {
                    username: username.clone(),
                },
            );
        }
        let (peer, at) = (self.hub.me(), self.hub.now.wall);
        for room in self.rooms.joined() {
            self.hub.notice(Notice::Renamed {
                room: room.clone(),
                peer: peer.clone(),
                old: old.clone(),
                at,
            });
        }
    }

    /// Events may bring further events, when a link ends.
    fn carry_out(&mut self, mut events: Vec<Event>) {
        while !events.is_empty() {
            for event in std::mem::take(&mut events) {
                match event {
                    Event::Up(stream) => self.up(stream),
                    Event::Other(stream, peer) => self.discovery.other(stream, peer),
                    Event::Message(stream, message) => self.message(stream, message, &mut events),
                    Event::Batch(stream, bytes) => {
                        let (hub, logs) = (&mut self.hub, &mut self.logs);
                        let receipts = &mut self.receipts;
                        let verdict = self.replicate.receive(hub, logs, receipts, stream, bytes);
                        if verdict == Verdict::Broken {
                            self.hub.counters.broken_links += 1;
                            liveness::close(&mut self.hub, stream, "broken", &mut events);
                        }
                    }
                    Event::Down {
                        stream,
                        peer,
                        since,
                        reached,
                        replaced,
                        ..
                    } => {
                        self.replicate.down(stream);
                        self.replicate.carry(&self.hub, &self.logs, &self.receipts);
                        match replaced {
                            true => self.presence.replaced(&self.hub, &peer.id),
                            false => self.look(&peer.id),
                        }
                        self.lost(&peer.id, &reached);
                        self.discovery.down(&mut self.hub, &peer.id, since);
                        if !replaced {
                            self.handshakes.unpark(&mut self.hub, peer.id, &mut events);
                        }
                    }
                    Event::Failed { stream, own } => {
                        self.discovery.failed(&mut self.hub, stream, own)
                    }
                }
            }
        }
    }

    fn up(&mut self, stream: StreamId) {
        let Some(peer) = self.hub.links.get(&stream).map(|link| link.peer.clone()) else {
            return;
        };
        if self.discovery.up(stream, peer.id) {
            self.trust.bind(&mut self.hub, &peer);
        }
        self.meet(stream, peer);
        self.receipts.up(&self.hub, stream);
        self.rooms.up(&mut self.hub, stream);
        let begun = self.hub.links.get(&stream).map(|link| link.begun);
        if begun.is_some_and(|begun| begun <= self.renamed) {
            let username = self.hub.nick.to_string();
            self.hub.send(stream, &Message::Profile { username });
        }
        self.compare(stream);
        self.replicate.up(&self.hub, &self.logs, stream);
        self.replicate.carry(&self.hub, &self.logs, &self.receipts);
    }

    /// A peer tells its name.
    fn meet(&mut self, stream: StreamId, peer: Peer) -> Nick {
        let nick = self.trust.meet(&mut self.hub, &peer);
        if let Some(link) = self.hub.links.get_mut(&stream) {
            link.peer.nick = nick.clone();
        }
        nick
    }

    fn compare(&mut self, stream: StreamId) {
        let change = self.rooms.compare(&mut self.hub, stream);
        for room in &change.unshared {
            self.replicate.unshared(stream, room);
            self.members.touch(&self.hub, room);
        }
        for room in &change.shared {
            self.members.shared(&mut self.hub, stream, room);
            self.replicate
                .shared(&mut self.hub, &self.logs, stream, room);
        }
        let link = self.hub.links.get_mut(&stream);
        let reached = link.map(|link| {
            let gone = |room: &Room| change.unshared.contains(room);
            let of_gone = link.reach.iter().filter(|(room, _)| gone(room));
            let reached: Set<PeerId> = of_gone
                .flat_map(|(_, there)| there.keys())
                .copied()
                .collect();
            link.reach.retain(|room, _| !gone(room));
            (link.peer.id, reached)
        });
        if let Some((peer, reached)) = reached {
            self.look(&peer);
            reached.iter().for_each(|peer| self.look(peer));
        }
        self.discovery.learn(&self.hub, stream);
    }

    /// Is this peer there, and in which rooms?
    fn look(&mut self, peer: &PeerId) {
        self.presence.look(&mut self.hub, self.rooms.joined(), peer);
        self.receipts.look(&mut self.hub, &self.logs, peer);
    }

    /// A link ended: whom it reached may be gone, and its author's last lines may not be with everybody.
    fn lost(&mut self, peer: &PeerId, reached: &Set<PeerId>) {
        self.members.lost(&self.hub, peer);
        for peer in reached.iter() {
            self.members.lost(&self.hub, peer);
            self.look(peer);
        }
        let rooms = self.rooms.joined();
        for room in rooms {
            self.members.touch(&self.hub, room);
        }
        self.replicate
            .author_gone(&self.hub, &self.logs, peer, rooms);
        self.replicate
            .choose(&mut self.hub, &self.logs, &self.rooms);
    }

    fn compare_all(&mut self) {
        for stream in self.hub.links.keys().copied().collect::<Vec<_>>() {
            self.compare(stream);
        }
    }

    fn message(&mut self, stream: StreamId, message: Message, events: &mut Vec<Event>) {
        let hub = &mut self.hub;
        let Some(link) = hub.links.get(&stream) else {
            return;
        };
        let (peer, run) = (link.peer.clone(), link.run);
        match message {
            Message::Rooms { rooms } => {
                self.rooms.told(hub, stream, rooms);
                self.compare(stream);
            }
            Message::Have(have) => self.replicate.have(
                hub,
                &mut self.logs,
                &self.rooms,
                &mut self.receipts,
                stream,
                have,
            ),
            Message::Want { target, logs } => self
                .replicate
                .cursors()
                .want(hub, &self.logs, stream, &target, &logs),
            Message::Ping { nonce } => hub.send(stream, &Message::Pong { nonce }),
            Message::Pong { nonce } => {
                liveness::pong(hub, stream, nonce);
                self.handshakes.answered(hub, stream);
            }
            Message::Profile { username } => {
                let (id, nick) = (peer.id, Nick::foreign(&username));
                let nick = self.meet(stream, Peer { id, nick });
                let hub = &mut self.hub;
                self.presence.renamed(hub, &peer.id, nick);
                for room in self.rooms.joined() {
                    self.members.touch(hub, room);
                }
            }
            Message::Members(told) => {
                for other in self.members.hear(hub, stream, told) {
                    self.look(&other);
                    self.replicate.reached(&self.hub, stream, &other);
                    let rooms = self.rooms.joined();
                    self.replicate
                        .apart(&self.hub, &self.logs, &peer.id, &other, rooms);
                }
            }
            Message::Bye { reason } => {
                // The older of two twins is told so and stays; the newer one's stream is closed by the other side.
                if reason == "twin" {
                    return self.handshakes.twin(hub, None, None, Some(peer));
                }
                liveness::ended(hub, stream, reason == "duplicate", events);
                if reason == "leave" {
                    self.discovery.left(&peer.id);
                    self.members.left(hub, &peer.id, run);
                }
            }
            Message::Hello(_) | Message::Unknown => {}
        }
    }
}
