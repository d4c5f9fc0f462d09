//! How datagrams and bytes get from one to the other: the LAN's side of [`crate::support::network`].
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use p2pchat::base::event::{Input, StreamId};

use crate::support::lan::{Event, Lan};
use crate::support::network::End;
use crate::support::peer::{Host, Who};

/// Milliseconds after which the kernel gives up a dial that nobody answers.
const DIAL: u64 = 20_000;

impl Lan {
    pub fn beacon(&mut self, who: Who, bytes: &[u8]) {
        self.people[who].beacons_sent += 1;
        self.last_beacon = bytes.to_vec();
        self.note(&[who as u64, 2]);
        let host = self.people[who].host;
        let bytes: Arc<[u8]> = bytes.into();
        for network in self.hosts[host].networks.clone() {
            let source = SocketAddr::new(Host::address(host, network), 40_000 + who as u16);
            for other in 0..self.people.len() {
                let there = self.people[other].host;
                if self.is_up(other)
                    && self.hosts[there].networks.contains(&network)
                    && self.way(host, there)
                {
                    self.arrives(other, u32::from(network) + 1, source, &bytes);
                }
            }
        }
    }

    /// A datagram on its way to someone.
    pub fn datagram(&mut self, to: Who, interface: u32, source: SocketAddr, bytes: &[u8]) {
        self.arrives(to, interface, source, &bytes.into());
    }

    fn arrives(&mut self, to: Who, interface: u32, source: SocketAddr, bytes: &Arc<[u8]>) {
        if self.chance(self.air.weather.lost) {
            return;
        }
        let copies = 1 + u64::from(self.chance(self.air.weather.doubled));
        for _ in 0..copies {
            let wait = self.random(self.air.weather.datagram + 1);
            let run = self.people[to].run;
            self.after(
                wait,
                Event::Datagram(to, run, interface, source, bytes.clone()),
            );
        }
    }

    pub fn dial(&mut self, who: Who, stream: StreamId, address: SocketAddr) {
        self.note(&[who as u64, 3, stream.0]);
        let end = End {
            who,
            run: self.people[who].run,
            stream,
            open: true,
        };
        let number = self.air.dial(end, address);
        let wait =
            self.random(self.air.weather.stream + 1) + self.random(self.air.weather.slow_dial + 1);
        self.after(wait, Event::Dial(number));
    }

    fn listener(&self, address: SocketAddr) -> Option<(usize, Option<Who>)> {
        let host = (0..self.hosts.len()).find(|h| {
            let networks = &self.hosts[*h].networks;
            networks
                .iter()
                .any(|n| Host::address(*h, *n) == address.ip())
        })?;
        let who = (0..self.people.len()).find(|w| {
            self.people[*w].host == host && self.people[*w].port == address.port() && self.is_up(*w)
        });
        Some((host, who))
    }

    pub fn dial_arrives(&mut self, number: u64) {
        let Some(conn) = self.air.conns.get(&number) else {
            return;
        };
        let Some(dialer) = conn.end(0) else {
            return self.air.forget(number);
        };
        let (address, host) = (conn.address, self.people[dialer.who].host);
        let there = self
            .listener(address)
            .filter(|(there, _)| self.reach(host, *there));
        let refused = self.chance(self.air.weather.refused);
        let Some((there, who)) = there else {
            return self.after(DIAL, Event::Dead(number, 0));
        };
        let Some(who) = who.filter(|_| !refused) else {
            return self.dead(number, 0);
        };
        let stream = self.accept(number, who);
        let shared = self.hosts[host]
            .networks
            .iter()
            .find(|n| self.hosts[there].networks.contains(n));
        let from = Host::address(host, shared.copied().unwrap_or(0));
        let address = SocketAddr::new(from, 30_000 + (number % 30_000) as u16);
        self.after(
            0,
            Event::Input(
                who,
                self.people[who].run,
                Input::Accepted { stream, address },
            ),
        );
        let wait = self.random(self.air.weather.stream + 1);
        let connected = Input::Connected {
            stream: dialer.stream,
        };
        self.after(wait, Event::Input(dialer.who, dialer.run, connected));
    }

    pub fn accept(&mut self, number: u64, who: Who) -> StreamId {
        let person = &mut self.people[who];
        person.accepted += 1;
        let stream = StreamId::accepted(person.accepted);
        let run = person.run;
        if let Some(conn) = self.air.conns.get_mut(&number) {
            conn.ends[1] = Some(End {
                who,
                run,
                stream,
                open: true,
            });
        }
        self.air.streams.insert((who, stream), (number, 1));
        stream
    }

    pub fn write(
        &mut self,
        who: Who,
        stream: StreamId,
        bytes: &[u8],
        todo: &mut VecDeque<Input<'static>>,
    ) {
        self.note(&[who as u64, 4, stream.0, bytes.len() as u64]);
        self.people[who].bytes_sent += bytes.len() as u64;
        if let Some(tap) = self.taps.get_mut(&(who, stream)) {
            tap.extend_from_slice(bytes);
        }
        let Some(&(number, side)) = self.air.streams.get(&(who, stream)) else {
            return;
        };
        let (buffer, silent) = (self.air.weather.buffer, self.air.weather.silent_clogs);
        if let Some(conn) = self.air.conns.get_mut(&number) {
            let pipe = &mut conn.pipes[side];
            pipe.bytes.extend(bytes);
            let held = pipe.bytes.len() > buffer;
            if held && !pipe.clogged && !silent {
                pipe.clogged = true;
                todo.push_back(Input::Blocked { stream });
            }
            if held {
                self.checks.waiting(who, self);
            }
        }
        self.flow(number, side);
    }

    /// The core is done with a stream: what was written still goes out.
    pub fn close(&mut self, who: Who, stream: StreamId) {
        self.note(&[who as u64, 5, stream.0]);
        if self.taps.contains_key(&(who, stream)) {
            self.closed.insert((who, stream));
        }
        if let Some(&(number, side)) = self.air.streams.get(&(who, stream)) {
            self.hang_up(number, side);
        }
    }

    pub fn hang_up(&mut self, number: u64, side: usize) {
        let torn = self.chance(self.air.weather.torn_close);
        let Some(conn) = self.air.conns.get_mut(&number) else {
            return;
        };
        if let Some(end) = conn.ends[side] {
            self.air.streams.remove(&(end.who, end.stream));
        }
        conn.shut(side);
        conn.pipes[side].fin = true;
        if torn {
            conn.pipes[side].bytes.clear();
        }
        match conn.end(1 - side) {
            Some(_) => self.flow(number, side),
            None if conn.ends[1].is_some() => self.air.forget(number),
            None => {}
        }
    }

    /// Something is on its way, if there is something.
    pub fn flow(&mut self, number: u64, side: usize) {
        if !self.carries(number, side) {
            return;
        }
        let wait = self.random(self.air.weather.stream + 1);
        let Some(conn) = self.air.conns.get_mut(&number) else {
            return;
        };
        let pipe = &mut conn.pipes[side];
        if conn.ends[1].is_some() && !pipe.due && (pipe.fin || !pipe.bytes.is_empty()) {
            pipe.due = true;
            self.after(wait, Event::Flow(number, side));
        }
    }

    pub fn flow_arrives(&mut self, number: u64, side: usize) {
        let passes = self.carries(number, side);
        let reset = self.chance(self.air.weather.reset);
        let Some(conn) = self.air.conns.get_mut(&number) else {
            return;
        };
        let Some(reader) = conn.end(1 - side) else {
            // The reader is gone without a word: its kernel would answer with a reset, were it alive.
            conn.pipes[side].due = false;
            return;
        };
        let person = &mut self.people[reader.who];
        if person.frozen || person.deaf {
            return person.held.push(Event::Flow(number, side));
        }
        let waiting = conn.pipes[side].bytes.len();
        conn.pipes[side].due = false;
        if !passes {
            return;
        }
        if reset {
            return self.reset(number);
        }
        if waiting == 0 && conn.pipes[side].fin {
            self.air.forget(number);
            return self.feed(
                reader.who,
                Input::Closed {
                    stream: reader.stream,
                },
            );
        }
        let few = self.chance(300);
        let take = match (self.air.weather.split, few) {
            (true, true) => 1 + self.random(40) as usize,
            (true, false) => 1 + self.random(64 * 1024) as usize,
            (false, _) => waiting,
        };
        let take = take.min(waiting);
        let stutter = self.chance(self.air.weather.stutter);
        let Some(conn) = self.air.conns.get_mut(&number) else {
            return;
        };
        let pipe = &mut conn.pipes[side];
        let mut bytes: Vec<u8> = pipe.bytes.drain(..take).collect();
        if stutter {
            bytes.extend(bytes.clone());
        }
        let eased = pipe.clogged && pipe.bytes.len() <= self.air.weather.buffer;
        pipe.clogged &= !eased;
        let writer = conn.end(side).filter(|_| eased);
        if let Some(writer) = writer {
            let drained = Input::Writable {
                stream: writer.stream,
            };
            self.after(0, Event::Input(writer.who, writer.run, drained));
        }
        self.flow(number, side);
        let stream = reader.stream;
        self.feed(
            reader.who,
            Input::Bytes {
                stream,
                bytes: &bytes,
            },
        );
    }

    /// The kernel gives up: whoever is still there is told.
    pub fn dead(&mut self, number: u64, cuts: u64) {
        let Some(conn) = self.air.conns.get(&number) else {
            return;
        };
        if conn.cuts != cuts {
            return;
        }
        let ends = [conn.end(0), conn.end(1)];
        self.air.forget(number);
        for end in ends.into_iter().flatten() {
            let closed = Input::Closed { stream: end.stream };
            self.after(0, Event::Input(end.who, end.run, closed));
        }
    }
}
