//! Moves datagrams and bytes between peers, under the conditions of [`crate::support::network`].
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use p2pchat::base::event::{Input, StreamId};

use crate::support::lan::{Event, Lan};
use crate::support::network::Endpoint;
use crate::support::peer::{Host, PeerIndex};

/// Milliseconds after which the kernel gives up an unanswered dial.
const DIAL_TIMEOUT_MS: u64 = 20_000;

impl Lan {
    /// Broadcasts a beacon on all networks of the sender's host.
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

    /// Sends a forged or replayed datagram to one peer.
    pub fn inject_datagram(
        &mut self,
        to: PeerIndex,
        interface: u32,
        source: SocketAddr,
        bytes: &[u8],
    ) {
        self.schedule_datagram(to, interface, source, &bytes.into());
    }

    /// Loses, repeats and delays a datagram as the conditions say.
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

    /// Starts a dial; it reaches its address after a random delay.
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

    /// The host at this address, and the peer that listens on the port if one runs.
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

    /// Accepts or refuses a dial at its address; where no path leads, it times out.
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

    /// Adds the accepting end to a connection; returns its stream.
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

    /// Queues bytes on a stream; reports it blocked when the socket buffer is full.
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

    /// Closes a stream for the core; bytes written before still arrive.
    pub fn close_stream(&mut self, who: PeerIndex, stream: StreamId) {
        self.extend_trace(&[who as u64, 5, stream.0]);
        if self.external_writes.contains_key(&(who, stream)) {
            self.closed_external_streams.insert((who, stream));
        }
        if let Some(&(number, side)) = self.network.streams.get(&(who, stream)) {
            self.close_end(number, side);
        }
    }

    /// Closes one end. `lossy_close_per_mille` of the closes lose the bytes still under way.
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

    /// Schedules the next delivery if bytes or a close wait and none is scheduled.
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

    /// Delivers some of the waiting bytes, or the close behind them, to the reader.
    pub fn deliver(&mut self, number: u64, side: usize) {
        let passes = self.can_deliver(number, side);
        let reset = self.chance(self.network.conditions.stream_reset_per_mille);
        let Some(conn) = self.network.connections.get_mut(&number) else {
            return;
        };
        let Some(reader) = conn.open_end(1 - side) else {
            // The reader's host lost power; a living kernel would answer with a reset.
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

    /// Closes a dead connection: both ends that are still open get [`Input::Closed`].
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
