//! How links come to stand: dials, accepted streams, the cipher's handshake, the hello, and one link for each peer.
use std::net::SocketAddr;

use crate::base::event::{Notice, Output, Peer, StreamId};
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room};
use crate::base::table::{Set, Table};
use crate::base::time::Time;
use crate::node::connection::liveness;
use crate::node::connection::liveness::Event;
use crate::node::context::Hub;
use crate::node::link::Link;
use crate::node::topology::{LINKS_MAX, PASSING_MAX};
use crate::wire::frame::{Frame, Kind, Reader, write};
use crate::wire::message::{Hello, Message, ROOMS_MAX, room_mark};
use crate::wire::noise::{Handshake, Session, Step};

/// Most unfinished handshakes of those who dialed us, and as many dials of our own: the first must not be in the way of the second.
const HANDSHAKES_MAX: usize = 64;
/// Milliseconds that a dial and its handshake may take.
pub const HANDSHAKE_TIME: u64 = 5_000;
/// Milliseconds for which one that is unfinished is waited for: most take a few, and who means harm must not keep us.
const COMING_FOR: u64 = 2_000;
/// Time for a link's answer when another run of the same peer has come.
const TWIN_WITHIN: u64 = 500;
const TWINS_MAX: usize = 64;
/// Bytes that a parked link may say before its time.
const PARKED_MAX: usize = 256 * 1024;

enum Stage {
    /// Our dial has not been taken yet.
    Dialing,
    Noise(Handshake),
    /// Keys are known; the other's hello is awaited.
    Greeting(Box<Session>, Reader),
    /// The peer is linked by another run of it; that one is being asked. What this one says meanwhile is kept.
    Parked(Box<Session>, Reader, Box<Hello>, Vec<Frame>),
}

struct Unfinished {
    stage: Stage,
    address: SocketAddr,
    begun: Time,
    until: Time,
    /// It is a dial of ours, or the other side began a handshake as it should.
    sound: bool,
    /// Our hello went out.
    greeted: bool,
    /// Parked, and the run that is linked answered.
    answered: bool,
    /// Nobody else will do.
    meant: Option<PeerId>,
}

impl Unfinished {
    /// Who dials us and says nothing is nobody.
    fn is_coming(&self, now: Time) -> bool {
        self.sound && self.begun + COMING_FOR > now
    }
}

/// Links that do not stand yet; those that do are in [`Hub::links`].
#[derive(Default)]
pub struct Handshakes {
    unfinished: Table<StreamId, Unfinished>,
    /// Runs that were reported as using our key; `None`: one that only another peer saw.
    twins: Set<Option<u64>>,
    /// One was reported just now.
    pub met_twin: bool,
}

impl Handshakes {
    /// Dials and handshakes under way.
    pub fn unfinished(&self) -> usize {
        self.unfinished.len()
    }

    /// One of them may become a link in a moment.
    pub fn coming(&self, now: Time) -> bool {
        self.unfinished.values().any(|u| u.is_coming(now))
    }

    /// Is there a place for one more of our dials, or of those who dialed us?
    pub fn has_room(&self, dialed: bool) -> bool {
        let same = self.unfinished.keys().filter(|s| s.is_dialed() == dialed);
        same.count() < HANDSHAKES_MAX
    }

    fn insert(
        &mut self,
        hub: &Hub,
        stream: StreamId,
        stage: Stage,
        (address, meant): (SocketAddr, Option<PeerId>),
    ) {
        let begun = hub.now.time;
        let unfinished = Unfinished {
            stage,
            address,
            begun,
            until: begun + HANDSHAKE_TIME,
            sound: stream.is_dialed(),
            greeted: false,
            answered: false,
            meant,
        };
        self.unfinished.insert(stream, unfinished);
    }

    /// A dial was put out. `meant`: who must answer it.
    pub fn dial(
        &mut self,
        hub: &mut Hub,
        stream: StreamId,
        address: SocketAddr,
        meant: Option<PeerId>,
    ) {
        self.insert(hub, stream, Stage::Dialing, (address, meant));
        hub.put(Output::Dial { stream, address });
    }

    pub fn accepted(
        &mut self,
        hub: &mut Hub,
        stream: StreamId,
        address: SocketAddr,
        events: &mut Vec<Event>,
    ) {
        if !self.has_room(false) {
            self.evict(hub, events);
        }
        self.start(hub, stream, (address, None), events);
    }

    pub fn connected(&mut self, hub: &mut Hub, stream: StreamId, events: &mut Vec<Event>) {
        if let Some(dial) = self.unfinished.remove(&stream) {
            self.start(hub, stream, (dial.address, dial.meant), events);
        }
    }

    /// Makes room: of the source with the most unfinished handshakes the oldest goes, so that one host cannot keep out the others.
    fn evict(&mut self, hub: &mut Hub, events: &mut Vec<Event>) {
        let mut sources: Table<std::net::IpAddr, (usize, StreamId)> = Table::new();
        for (stream, u) in self.unfinished.iter().filter(|(s, _)| !s.is_dialed()).rev() {
            let entry = sources.get_or_insert_with(u.address.ip(), || (0, *stream));
            *entry = (entry.0 + 1, *stream);
        }
        if let Some((_, stream)) = sources.into_values().max() {
            self.fail(hub, stream, events);
        }
    }

    fn start(
        &mut self,
        hub: &mut Hub,
        stream: StreamId,
        place: (SocketAddr, Option<PeerId>),
        events: &mut Vec<Event>,
    ) {
        let dialer = stream.is_dialed();
        let (secret, psk, seed) = (hub.identity.noise_secret(), hub.psk, hub.random_bytes());
        let mut bytes = Vec::new();
        match Handshake::new(dialer, &secret, psk.as_ref(), seed, &mut bytes) {
            Ok(handshake) => {
                self.insert(hub, stream, Stage::Noise(handshake), place);
                hub.news = hub.now.time;
                if !bytes.is_empty() {
                    hub.put(Output::Write { stream, bytes });
                }
            }
            Err(_) => {
                hub.put(Output::Close { stream });
                events.push(Event::Failed { stream, own: false });
            }
        }
    }

    fn fail(&mut self, hub: &mut Hub, stream: StreamId, events: &mut Vec<Event>) {
        if self.unfinished.remove(&stream).is_some() {
            hub.counters.failed_handshakes += 1;
            hub.put(Output::Close { stream });
            events.push(Event::Failed { stream, own: false });
        }
    }

    /// Bytes of an unfinished link. `rooms`: those we are in, for the hello.
    pub fn bytes(
        &mut self,
        hub: &mut Hub,
        stream: StreamId,
        bytes: &[u8],
        rooms: &[Room],
        events: &mut Vec<Event>,
    ) {
        let Some(unfinished) = self.unfinished.get_mut(&stream) else {
            return;
        };
        match &mut unfinished.stage {
            Stage::Dialing => {}
            Stage::Noise(handshake) => {
                let mut out = Vec::new();
                match handshake.feed(bytes, &mut out) {
                    Err(_) => self.fail(hub, stream, events),
                    Ok(Step::More) => {
                        if !out.is_empty() {
                            unfinished.sound = true;
                            hub.put(Output::Write { stream, bytes: out });
                        }
                    }
                    Ok(Step::Done { mut session, used }) => {
                        // Who is full says so instead, when the other has greeted: nobody is to be shown as come and gone.
                        let other = |meant: PeerId| meant.noise_key() != Some(session.remote);
                        unfinished.greeted = match stream.is_dialed() {
                            true => !unfinished.meant.is_some_and(other),
                            false => !full(hub),
                        };
                        if unfinished.greeted {
                            let hello = own_hello(hub, &session.hash, rooms);
                            if session.seal(&hello, &mut out).is_err() {
                                return self.fail(hub, stream, events);
                            }
                        }
                        if !out.is_empty() {
                            hub.put(Output::Write { stream, bytes: out });
                        }
                        unfinished.stage = Stage::Greeting(session, Reader::default());
                        if used < bytes.len() {
                            self.bytes(hub, stream, &bytes[used..], rooms, events);
                        }
                    }
                }
            }
            Stage::Greeting(session, reader) | Stage::Parked(session, reader, ..) => {
                let mut frames = Vec::new();
                let mut fits = true;
                let opened = session.open(bytes, &mut hub.scratch, |plain| {
                    fits &= reader.feed(plain, &mut frames).is_ok()
                });
                if opened.is_err() || !fits {
                    return self.fail(hub, stream, events);
                }
                if !frames.is_empty() {
                    self.greeted(hub, stream, frames, rooms, events);
                }
            }
        }
    }

    /// The first frame of a link must be the hello of the one whose key the handshake proved.
    fn greeted(
        &mut self,
        hub: &mut Hub,
        stream: StreamId,
        mut frames: Vec<Frame>,
        rooms: &[Room],
        events: &mut Vec<Event>,
    ) {
        let Some(unfinished) = self.unfinished.get_mut(&stream) else {
            return;
        };
        if let Stage::Parked(_, _, _, kept) = &mut unfinished.stage {
            kept.append(&mut frames);
            if kept.iter().map(|f| f.payload.len()).sum::<usize>() > PARKED_MAX {
                self.fail(hub, stream, events);
            }
            return;
        }
        let rest = frames.split_off(1);
        let hello = frames
            .pop()
            .filter(|f| f.kind == Kind::Message)
            .and_then(|f| Message::parse(&f.payload));
        let Stage::Greeting(session, _) = &mut unfinished.stage else {
            return;
        };
        let Some(Message::Hello(hello)) = hello else {
            return self.fail(hub, stream, events);
        };
        let peer = hello.sender;
        if peer.noise_key() != Some(session.remote) || hello.rooms.len() > ROOMS_MAX {
            return self.fail(hub, stream, events);
        }
        if peer != hub.id() && unfinished.meant.is_some_and(|meant| meant != peer) {
            let nick = Nick::foreign(&hello.username);
            events.push(Event::Other(stream, Peer { id: peer, nick }));
            return self.dismiss(hub, stream, "other", events);
        }
        let more = peer != hub.id() && !hub.linked.contains_key(&peer);
        if more && !make_room(hub, &peer, hello.passing, events) {
            return self.dismiss(hub, stream, "full", events);
        }
        if !std::mem::replace(&mut unfinished.greeted, true) {
            let (hello, mut bytes) = (own_hello(hub, &session.hash, rooms), Vec::new());
            if session.seal(&hello, &mut bytes).is_err() {
                return self.fail(hub, stream, events);
            }
            hub.put(Output::Write { stream, bytes });
        }
        if hello.sender == hub.id() {
            let address = unfinished.address;
            return self.met_self(hub, stream, hello.run, address, events);
        }
        if let Some(&old) = hub.linked.get(&peer) {
            let same_run = hub
                .links
                .get(&old)
                .is_some_and(|link| link.run == hello.run);
            if !same_run {
                return self.park(hub, stream, old, hello, rest);
            }
            let smaller_dialed = |s: StreamId| s.is_dialed() == (hub.id() < peer);
            if smaller_dialed(old) && !smaller_dialed(stream) {
                self.dismiss(hub, stream, "duplicate", events);
                return;
            }
            liveness::down(hub, old, "duplicate", true, events);
        }
        self.establish(hub, stream, hello, rest, events);
    }

    fn met_self(
        &mut self,
        hub: &mut Hub,
        stream: StreamId,
        run: u64,
        address: SocketAddr,
        events: &mut Vec<Event>,
    ) {
        if run != hub.run {
            self.twin(hub, Some(run), Some(address), None);
        }
        // Not yet ours to close when the other program has not had our hello: it went out before this.
        self.unfinished.remove(&stream);
        hub.put(Output::Close { stream });
        events.push(Event::Failed {
            stream,
            own: run == hub.run,
        });
    }

    /// Another program uses our key. Each is reported once. `by`: the peer that says so, which may lie.
    pub fn twin(
        &mut self,
        hub: &mut Hub,
        run: Option<u64>,
        address: Option<SocketAddr>,
        by: Option<Peer>,
    ) {
        if self.twins.len() < TWINS_MAX && self.twins.insert(run) {
            self.met_twin = true;
            hub.notice(Notice::Twin { address, by });
        }
    }

    fn park(
        &mut self,
        hub: &mut Hub,
        stream: StreamId,
        old: StreamId,
        hello: Hello,
        rest: Vec<Frame>,
    ) {
        liveness::ping_anew(hub, old);
        let until = hub.now.time + TWIN_WITHIN;
        let Some(unfinished) = self.unfinished.remove(&stream) else {
            return;
        };
        if let Stage::Greeting(session, reader) = unfinished.stage {
            let stage = Stage::Parked(session, reader, Box::new(hello), rest);
            let parked = Unfinished {
                stage,
                until,
                ..unfinished
            };
            self.unfinished.insert(stream, parked);
        }
    }

    /// Ends an unfinished link with a word of why.
    fn dismiss(&mut self, hub: &mut Hub, stream: StreamId, reason: &str, events: &mut Vec<Event>) {
        if let Some(unfinished) = self.unfinished.remove(&stream) {
            if let Stage::Greeting(mut session, _) | Stage::Parked(mut session, ..) =
                unfinished.stage
            {
                let (mut plain, mut bytes) = (Vec::new(), Vec::new());
                write(
                    Kind::Message,
                    &Message::Bye {
                        reason: reason.into(),
                    }
                    .bytes(),
                    &mut plain,
                );
                if session.seal(&plain, &mut bytes).is_ok() {
                    hub.put(Output::Write { stream, bytes });
                }
            }
            hub.put(Output::Close { stream });
            events.push(Event::Failed { stream, own: false });
        }
    }

    fn establish(
        &mut self,
        hub: &mut Hub,
        stream: StreamId,
        hello: Hello,
        said: Vec<Frame>,
        events: &mut Vec<Event>,
    ) {
        let Some(unfinished) = self.unfinished.remove(&stream) else {
            return;
        };
        let (Stage::Greeting(session, frames) | Stage::Parked(session, frames, ..)) =
            unfinished.stage
        else {
            return;
        };
        let Some(key) = hello.sender.key() else {
            return hub.put(Output::Close { stream });
        };
        let now = hub.now.time;
        let mut address = unfinished.address;
        if !stream.is_dialed() {
            address.set_port(hello.port);
        }
        let link = Link {
            peer: Peer {
                id: hello.sender,
                nick: Nick::foreign(&hello.username),
            },
            key,
            run: hello.run,
            lead: i64::try_from(hello.age).unwrap_or(i64::MAX / 2) - now.0 as i64,
            passing: hello.passing,
            address,
            begun: unfinished.begun,
            since: now,
            heard: now,
            receipted: None,
            ping: None,
            rtt: None,
            marks: hello.rooms.into_iter().collect(),
            rooms: Set::new(),
            reach: Table::new(),
            offered: None,
            clogged: false,
            answered: Set::new(),
            session,
            frames,
            pending: Vec::new(),
        };
        hub.linked.insert(hello.sender, stream);
        hub.links.insert(stream, link);
        hub.news = now;
        // So that its round trip is known to who asks.
        liveness::ping(hub, stream);
        events.push(Event::Up(stream));
        liveness::deliver(stream, said, events);
    }

    /// A stream was closed from outside, or a dial failed.
    pub fn closed(&mut self, hub: &mut Hub, stream: StreamId, events: &mut Vec<Event>) {
        if self.unfinished.remove(&stream).is_some() {
            hub.counters.failed_handshakes += 1;
            events.push(Event::Failed { stream, own: false });
        }
    }

    /// The old run's link is gone: the new run, if it waits, takes its place.
    pub fn unpark(&mut self, hub: &mut Hub, peer: PeerId, events: &mut Vec<Event>) {
        let waiting = self
            .unfinished
            .iter_mut()
            .find_map(|(stream, u)| match &mut u.stage {
                Stage::Parked(_, _, hello, said) if hello.sender == peer => {
                    Some((*stream, (**hello).clone(), std::mem::take(said)))
                }
                _ => None,
            });
        if let Some((stream, hello, said)) = waiting
            && !hub.linked.contains_key(&peer)
        {
            self.establish(hub, stream, hello, said, events);
        }
    }

    /// A link answered its ping: runs of the same peer that wait for its place are twins of it, unless they turn out to be gone meanwhile: what a dead
    /// one said may arrive late.
    pub fn answered(&mut self, hub: &Hub, stream: StreamId) {
        let Some(link) = hub.links.get(&stream).filter(|link| link.ping.is_none()) else {
            return;
        };
        for unfinished in self.unfinished.values_mut() {
            if let Stage::Parked(_, _, hello, _) = &unfinished.stage {
                unfinished.answered |= hello.sender == link.peer.id;
            }
        }
    }

    /// Ends what took too long.
    pub fn wake(&mut self, hub: &mut Hub, events: &mut Vec<Event>) {
        let now = hub.now.time;
        let late: Vec<StreamId> = self
            .unfinished
            .iter()
            .filter(|(_, u)| u.until <= now)
            .map(|(s, _)| *s)
            .collect();
        for stream in late {
            let unfinished = self.unfinished.get(&stream);
            let answered = unfinished.is_some_and(|u| u.answered);
            let parked = match unfinished.map(|u| &u.stage) {
                Some(Stage::Parked(_, _, hello, _)) => Some((hello.sender, hello.run)),
                _ => None,
            };
            let other_run = |(peer, run)| {
                let link = hub.link_to(&peer).filter(|link| link.run != run);
                link.and_then(|_| hub.linked.get(&peer).copied())
            };
            match parked.and_then(other_run) {
                Some(old) if answered => {
                    let reason = "twin".into();
                    hub.send(old, &Message::Bye { reason });
                    self.dismiss(hub, stream, "twin", events);
                }
                // The old run did not answer: its end puts the new one in its place.
                Some(old) => liveness::down(hub, old, "duplicate", false, events),
                None => self.fail(hub, stream, events),
            }
        }
    }

    /// When to end an unfinished link, or to wait for it no more.
    pub fn deadline(&self, now: Time) -> Option<Time> {
        let next = self.unfinished.values().map(|u| match u.is_coming(now) {
            true => u.until.min(u.begun + COMING_FOR),
            false => u.until,
        });
        next.min()
    }

    /// Ends all that is unfinished.
    pub fn leave(&mut self, hub: &mut Hub, events: &mut Vec<Event>) {
        for stream in self.unfinished.keys().copied().collect::<Vec<_>>() {
            self.fail(hub, stream, events);
        }
    }
}

/// Our hello, framed. `rooms`: those we are in; `handshake`: its hash.
fn own_hello(hub: &Hub, handshake: &[u8; 32], rooms: &[Room]) -> Vec<u8> {
    let hello = Message::Hello(Hello {
        sender: hub.id(),
        username: hub.nick.to_string(),
        run: hub.run,
        age: hub.now.time.0,
        rooms: rooms
            .iter()
            .map(|room| room_mark(handshake, room))
            .collect(),
        port: hub.port,
        passing: hub.passing,
    });
    let mut plain = Vec::new();
    write(Kind::Message, &hello.bytes(), &mut plain);
    plain
}

/// There are as many links as may be to peers that stay.
fn full(hub: &Hub) -> bool {
    let staying = hub.links.values().filter(|link| !link.passing);
    staying.count() >= LINKS_MAX || hub.links.len() >= LINKS_MAX + PASSING_MAX
}

/// Is there a place for one more link? For one that is wanted, one that is not goes.
fn make_room(hub: &mut Hub, peer: &PeerId, passing: bool, events: &mut Vec<Event>) -> bool {
    if passing {
        return hub.links.len() < LINKS_MAX + PASSING_MAX;
    }
    if !full(hub) {
        return true;
    }
    // First one that is ours to end: the other side made no use of it.
    let unwanted = |link: &Link| !link.passing && !hub.topology.wants(&link.peer.id);
    let unwanted = hub.links.iter().filter(|(_, link)| unwanted(link));
    let spare = unwanted.map(|(stream, _)| (!stream.is_dialed(), *stream));
    match spare.min() {
        Some((_, stream)) if hub.topology.wants(peer) => {
            liveness::close(hub, stream, "full", events);
            true
        }
        _ => false,
    }
}
