//! How datagrams and bytes get from one to the other: the LAN's side of [`crate::support::network`].
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use p2pchat::base::event::{Input, StreamId};

use crate::support::lan::{Event, Lan};
use crate::support::network::Endpoint;
use crate::support::peer::{Host, PeerIndex};

/// Milliseconds after which the kernel gives up a dial that nobody answers.
const DIAL_TIMEOUT_MS: u64 = 20_000;

impl Lan {
    pub fn broadcast_beacon(&mut self, who: PeerIndex, bytes: &[u8]) {
        self.peers[who].beacons_sent += 1;
        self.last_beacon = bytes.to_vec();
        self.extend_trace(&[who as u64, 2]);
        let host = self.peers[who].host;
        let bytes: Arc<[u8]> = bytes.into();
        for network in self.hosts[host].networks.clone() {
            let source = SocketAddr::new(Host::address(host, network), 40_000 + who as u16);
            for other in 0..self.peers.len() {
                let there = self.peers[other].host;
                if self.is_running(other)
                    && self.hosts[there].networks.contains(&network)
                    && self.has_path(host, there)
                {
                    self.schedule_datagram(other, u32::from(network) + 1, source, &bytes);
                }
            }
        }
    }

    /// A datagram on its way to someone.
    pub fn inject_datagram(
        &mut self,
        to: PeerIndex,
        interface: u32,
        source: SocketAddr,
        bytes: &[u8],
    ) {
        self.schedule_datagram(to, interface, source, &bytes.into());
    }

    fn schedule_datagram(
        &mut self,
        to: PeerIndex,
        interface: u32,
        source: SocketAddr,
        bytes: &Arc<[u8]>,
    ) {
        if self.chance(self.network.conditions.datagram_loss_per_mille) {
            return;
        }
        let copies =
            1 + u64::from(self.chance(self.network.conditions.datagram_duplication_per_mille));
        for _ in 0..copies {
            let wait = self.random(self.network.conditions.datagram_delay_max_ms + 1);
            let run = self.peers[to].run;
            self.schedule(
                wait,
                Event::Datagram(to, run, interface, source, bytes.clone()),
            );
        }
    }

    pub fn dial(&mut self, who: PeerIndex, stream: StreamId, address: SocketAddr) {
        self.extend_trace(&[who as u64, 3, stream.0]);
        let end = Endpoint {
            who,
            run: self.peers[who].run,
            stream,
            open: true,
        };
        let number = self.network.add_connection(end, address);
        let wait = self.random(self.network.conditions.stream_delay_max_ms + 1)
            + self.random(self.network.conditions.dial_delay_max_ms + 1);
        self.schedule(wait, Event::CompleteDial(number));
    }

    fn listener_at(&self, address: SocketAddr) -> Option<(usize, Option<PeerIndex>)> {
        let host = (0..self.hosts.len()).find(|h| {
            let networks = &self.hosts[*h].networks;
            networks
                .iter()
                .any(|n| Host::address(*h, *n) == address.ip())
        })?;
        let who = (0..self.peers.len()).find(|w| {
            self.peers[*w].host == host
                && self.peers[*w].port == address.port()
                && self.is_running(*w)
        });
        Some((host, who))
    }

    pub fn complete_dial(&mut self, number: u64) {
        let Some(conn) = self.network.connections.get(&number) else {
            return;
        };
        let Some(dialer) = conn.open_end(0) else {
            return self.network.remove_connection(number);
        };
        let (address, host) = (conn.address, self.peers[dialer.who].host);
        let there = self
            .listener_at(address)
            .filter(|(there, _)| self.has_path_both_ways(host, *there));
        let refused = self.chance(self.network.conditions.dial_refusal_per_mille);
        let Some((there, who)) = there else {
            return self.schedule(DIAL_TIMEOUT_MS, Event::TimeOut(number, 0));
        };
        let Some(who) = who.filter(|_| !refused) else {
            return self.time_out(number, 0);
        };
        let stream = self.accept_connection(number, who);
        let shared = self.hosts[host]
            .networks
            .iter()
            .find(|n| self.hosts[there].networks.contains(n));
        let from = Host::address(host, shared.copied().unwrap_or(0));
        let address = SocketAddr::new(from, 30_000 + (number % 30_000) as u16);
        self.schedule(
            0,
            Event::Input(
                who,
                self.peers[who].run,
                Input::Accepted { stream, address },
            ),
        );
        let wait = self.random(self.network.conditions.stream_delay_max_ms + 1);
        let connected = Input::Connected {
            stream: dialer.stream,
        };
        self.schedule(wait, Event::Input(dialer.who, dialer.run, connected));
    }

    pub fn accept_connection(&mut self, number: u64, who: PeerIndex) -> StreamId {
        let person = &mut self.peers[who];
        person.accepted_streams += 1;
        let stream = StreamId::accepted(person.accepted_streams);
        let run = person.run;
        if let Some(conn) = self.network.connections.get_mut(&number) {
            conn.ends[1] = Some(Endpoint {
                who,
                run,
                stream,
                open: true,
            });
        }
        self.network.streams.insert((who, stream), (number, 1));
        stream
    }

    pub fn write(
        &mut self,
        who: PeerIndex,
        stream: StreamId,
        bytes: &[u8],
        todo: &mut VecDeque<Input<'static>>,
    ) {
        self.extend_trace(&[who as u64, 4, stream.0, bytes.len() as u64]);
        self.peers[who].bytes_sent += bytes.len() as u64;
        if let Some(tap) = self.external_writes.get_mut(&(who, stream)) {
            tap.extend_from_slice(bytes);
        }
        let Some(&(number, side)) = self.network.streams.get(&(who, stream)) else {
            return;
        };
        let (buffer, silent) = (
            self.network.conditions.socket_buffer_bytes,
            self.network.conditions.hides_back_pressure,
        );
        if let Some(conn) = self.network.connections.get_mut(&number) {
            let pipe = &mut conn.halves[side];
            pipe.bytes.extend(bytes);
            let held = pipe.bytes.len() > buffer;
            if held && !pipe.blocked && !silent {
                pipe.blocked = true;
                todo.push_back(Input::Blocked { stream });
            }
            if held {
                self.invariants.check_unsent_bytes(who, self);
            }
        }
        self.schedule_delivery(number, side);
    }

    /// The core is done with a stream: what was written still goes out.
    pub fn close_stream(&mut self, who: PeerIndex, stream: StreamId) {
        self.extend_trace(&[who as u64, 5, stream.0]);
        if self.external_writes.contains_key(&(who, stream)) {
            self.closed_external_streams.insert((who, stream));
        }
        if let Some(&(number, side)) = self.network.streams.get(&(who, stream)) {
            self.close_end(number, side);
        }
    }

    pub fn close_end(&mut self, number: u64, side: usize) {
        let torn = self.chance(self.network.conditions.lossy_close_per_mille);
        let Some(conn) = self.network.connections.get_mut(&number) else {
            return;
        };
        if let Some(end) = conn.ends[side] {
            self.network.streams.remove(&(end.who, end.stream));
        }
        conn.close_end(side);
        conn.halves[side].fin = true;
        if torn {
            conn.halves[side].bytes.clear();
        }
        match conn.open_end(1 - side) {
            Some(_) => self.schedule_delivery(number, side),
            None if conn.ends[1].is_some() => self.network.remove_connection(number),
            None => {}
        }
    }

    /// Something is on its way, if there is something.
    pub fn schedule_delivery(&mut self, number: u64, side: usize) {
        if !self.can_deliver(number, side) {
            return;
        }
        let wait = self.random(self.network.conditions.stream_delay_max_ms + 1);
        let Some(conn) = self.network.connections.get_mut(&number) else {
            return;
        };
        let pipe = &mut conn.halves[side];
        if conn.ends[1].is_some()
            && !pipe.delivery_scheduled
            && (pipe.fin || !pipe.bytes.is_empty())
        {
            pipe.delivery_scheduled = true;
            self.schedule(wait, Event::Deliver(number, side));
        }
    }

    pub fn deliver(&mut self, number: u64, side: usize) {
        let passes = self.can_deliver(number, side);
        let reset = self.chance(self.network.conditions.stream_reset_per_mille);
        let Some(conn) = self.network.connections.get_mut(&number) else {
            return;
        };
        let Some(reader) = conn.open_end(1 - side) else {
            // The reader is gone without a word: its kernel would answer with a reset, were it alive.
            conn.halves[side].delivery_scheduled = false;
            return;
        };
        let person = &mut self.peers[reader.who];
        if person.frozen || person.stopped_reading {
            return person.deferred.push(Event::Deliver(number, side));
        }
        let waiting = conn.halves[side].bytes.len();
        conn.halves[side].delivery_scheduled = false;
        if !passes {
            return;
        }
        if reset {
            return self.reset_connection(number);
        }
        if waiting == 0 && conn.halves[side].fin {
            self.network.remove_connection(number);
            return self.feed(
                reader.who,
                Input::Closed {
                    stream: reader.stream,
                },
            );
        }
        let few = self.chance(300);
        let take = match (self.network.conditions.splits_streams, few) {
            (true, true) => 1 + self.random(40) as usize,
            (true, false) => 1 + self.random(64 * 1024) as usize,
            (false, _) => waiting,
        };
        let take = take.min(waiting);
        let stutter = self.chance(self.network.conditions.repeated_bytes_per_mille);
        let Some(conn) = self.network.connections.get_mut(&number) else {
            return;
        };
        let pipe = &mut conn.halves[side];
        let mut bytes: Vec<u8> = pipe.bytes.drain(..take).collect();
        if stutter {
            bytes.extend(bytes.clone());
        }
        let eased = pipe.blocked && pipe.bytes.len() <= self.network.conditions.socket_buffer_bytes;
        pipe.blocked &= !eased;
        let writer = conn.open_end(side).filter(|_| eased);
        if let Some(writer) = writer {
            let drained = Input::Writable {
                stream: writer.stream,
            };
            self.schedule(0, Event::Input(writer.who, writer.run, drained));
        }
        self.schedule_delivery(number, side);
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
    pub fn time_out(&mut self, number: u64, cuts: u64) {
        let Some(conn) = self.network.connections.get(&number) else {
            return;
        };
        if conn.cut_count != cuts {
            return;
        }
        let ends = [conn.open_end(0), conn.open_end(1)];
        self.network.remove_connection(number);
        for end in ends.into_iter().flatten() {
            let closed = Input::Closed { stream: end.stream };
            self.schedule(0, Event::Input(end.who, end.run, closed));
        }
    }
}
