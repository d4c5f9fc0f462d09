//! Moves datagrams and bytes between peers, under the conditions of [`crate::support::network`].
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use p2pchat::base::event::input::Input;
use p2pchat::base::event::stream_id::StreamId;

use crate::support::lan::{
    Event, Lan, RunEvent, TRACE_BEACON, TRACE_CLOSE, TRACE_DIAL, TRACE_WRITE,
};
use crate::support::network::Endpoint;
use crate::support::peer::{Host, PeerIndex};

/// Milliseconds after which the kernel gives up an unanswered dial.
const DIAL_TIMEOUT_MS: u64 = 20_000;

impl Lan {
    /// Broadcasts a beacon on all networks of the sender's host.
    pub fn broadcast_beacon(&mut self, who: PeerIndex, interface: Option<u32>, bytes: &[u8]) {
        self.peers[who].beacons_sent += 1;
        self.last_beacon = bytes.to_vec();
        self.extend_trace(&[who as u64, TRACE_BEACON]);
        let host = self.peers[who].host;
        let bytes: Arc<[u8]> = bytes.into();
        let networks = self.hosts[host].networks.clone().into_iter();
        let is_sent = |network: &u8| interface.is_none_or(|i| i == u32::from(*network) + 1);
        for network in networks.filter(is_sent) {
            *self.network.beacon_counts.entry(network).or_default() += 1;
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
            let wait_ms = self.random(self.network.conditions.datagram_delay_max_ms + 1);
            let datagram = RunEvent::Datagram {
                interface,
                source,
                bytes: bytes.clone(),
            };
            self.schedule_for_run(to, wait_ms, datagram);
        }
    }

    /// Starts a dial; it reaches its address after a random delay.
    pub fn dial(&mut self, who: PeerIndex, stream: StreamId, address: SocketAddr) {
        self.extend_trace(&[who as u64, TRACE_DIAL, stream.0]);
        if let Some(dialed) = self.external_listeners.get_mut(&address) {
            dialed.push(stream);
            self.external_writes.insert((who, stream), Vec::new());
            let connected = RunEvent::Input(Input::Connected { stream });
            return self.schedule_for_run(who, 0, connected);
        }
        let end = Endpoint {
            who,
            run: self.peers[who].run,
            stream,
            open: true,
        };
        let connection_id = self.network.add_connection(end, address);
        let wait_ms = self.random(self.network.conditions.stream_delay_max_ms + 1)
            + self.random(self.network.conditions.dial_delay_max_ms + 1);
        self.schedule(wait_ms, Event::CompleteDial { connection_id });
    }

    /// Queues an input for the run that holds this end.
    fn schedule_for_end(&mut self, end: Endpoint, wait_ms: u64, input: Input<'static>) {
        let event = Event::ForRun {
            who: end.who,
            run: end.run,
            event: RunEvent::Input(input),
        };
        self.schedule(wait_ms, event);
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
    pub fn complete_dial(&mut self, connection_id: u64) {
        let Some(connection) = self.network.connections.get(&connection_id) else {
            return;
        };
        let Some(dialer) = connection.open_end(0) else {
            return self.network.remove_connection(connection_id);
        };
        let (address, host) = (connection.address, self.peers[dialer.who].host);
        let there = self
            .listener_at(address)
            .filter(|(there, _)| self.has_path_both_ways(host, *there));
        let refused = self.chance(self.network.conditions.dial_refusal_per_mille);
        let Some((there, who)) = there else {
            return self.schedule(
                DIAL_TIMEOUT_MS,
                Event::TimeOut {
                    connection_id,
                    cut_count: 0,
                },
            );
        };
        let Some(who) = who.filter(|_| !refused) else {
            return self.time_out(connection_id, 0);
        };
        let stream = self.accept_connection(connection_id, who);
        let shared = self.hosts[host]
            .networks
            .iter()
            .find(|n| self.hosts[there].networks.contains(n));
        let from = Host::address(host, shared.copied().unwrap_or(0));
        let address = SocketAddr::new(from, 30_000 + (connection_id % 30_000) as u16);
        let accepted = Input::Accepted { stream, address };
        self.schedule_for_run(who, 0, RunEvent::Input(accepted));
        let wait_ms = self.random(self.network.conditions.stream_delay_max_ms + 1);
        let connected = Input::Connected {
            stream: dialer.stream,
        };
        self.schedule_for_end(dialer, wait_ms, connected);
    }

    /// Adds the accepting end to a connection; returns its stream.
    pub fn accept_connection(&mut self, connection_id: u64, who: PeerIndex) -> StreamId {
        let peer = &mut self.peers[who];
        peer.accepted_streams += 1;
        let stream = StreamId::accepted(peer.accepted_streams);
        let run = peer.run;
        if let Some(connection) = self.network.connections.get_mut(&connection_id) {
            connection.ends[1] = Some(Endpoint {
                who,
                run,
                stream,
                open: true,
            });
        }
        self.network
            .streams
            .insert((who, stream), (connection_id, 1));
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
        self.extend_trace(&[who as u64, TRACE_WRITE, stream.0, bytes.len() as u64]);
        self.peers[who].bytes_sent += bytes.len() as u64;
        if let Some(written) = self.external_writes.get_mut(&(who, stream)) {
            written.extend_from_slice(bytes);
        }
        let Some(&(connection_id, side)) = self.network.streams.get(&(who, stream)) else {
            return;
        };
        let (buffer_bytes, hides_back_pressure) = (
            self.network.conditions.socket_buffer_bytes,
            self.network.conditions.hides_back_pressure,
        );
        if let Some(connection) = self.network.connections.get_mut(&connection_id) {
            let half = &mut connection.halves[side];
            half.bytes.extend(bytes);
            let is_full = half.bytes.len() > buffer_bytes;
            if is_full && !half.blocked && !hides_back_pressure {
                half.blocked = true;
                todo.push_back(Input::Blocked { stream });
            }
            if is_full {
                self.invariants.check_unsent_bytes(who, self);
            }
        }
        self.schedule_delivery(connection_id, side);
    }

    /// Closes a stream for the core; bytes written before still arrive.
    pub fn close_stream(&mut self, who: PeerIndex, stream: StreamId) {
        self.extend_trace(&[who as u64, TRACE_CLOSE, stream.0]);
        if self.external_writes.contains_key(&(who, stream)) {
            self.closed_external_streams.insert((who, stream));
        }
        if let Some(&(connection_id, side)) = self.network.streams.get(&(who, stream)) {
            self.close_end(connection_id, side);
        }
    }

    /// Closes one end. `lossy_close_per_mille` of the closes lose the bytes still under way.
    pub fn close_end(&mut self, connection_id: u64, side: usize) {
        let loses_bytes = self.chance(self.network.conditions.lossy_close_per_mille);
        let Some(connection) = self.network.connections.get_mut(&connection_id) else {
            return;
        };
        if let Some(end) = connection.ends[side] {
            self.network.streams.remove(&(end.who, end.stream));
        }
        connection.close_end(side);
        connection.halves[side].fin = true;
        if loses_bytes {
            connection.halves[side].bytes.clear();
        }
        match connection.open_end(1 - side) {
            Some(_) => self.schedule_delivery(connection_id, side),
            None if connection.ends[1].is_some() => self.network.remove_connection(connection_id),
            None => {}
        }
    }

    /// Schedules the next delivery if bytes or a close wait and none is scheduled.
    pub fn schedule_delivery(&mut self, connection_id: u64, side: usize) {
        if !self.can_deliver(connection_id, side) {
            return;
        }
        let wait_ms = self.random(self.network.conditions.stream_delay_max_ms + 1);
        let Some(connection) = self.network.connections.get_mut(&connection_id) else {
            return;
        };
        let half = &mut connection.halves[side];
        if connection.ends[1].is_some()
            && !half.delivery_scheduled
            && (half.fin || !half.bytes.is_empty())
        {
            half.delivery_scheduled = true;
            self.schedule(
                wait_ms,
                Event::Deliver {
                    connection_id,
                    side,
                },
            );
        }
    }

    /// How many of the waiting bytes arrive at once: all, or a random piece of them.
    fn draw_piece_bytes(&mut self, waiting: usize) -> usize {
        let few = self.chance(300);
        let piece = match (self.network.conditions.splits_streams, few) {
            (true, true) => 1 + self.random(40) as usize,
            (true, false) => 1 + self.random(64 * 1024) as usize,
            (false, _) => waiting,
        };
        piece.min(waiting)
    }

    /// Delivers some of the waiting bytes, or the close behind them, to the reader.
    pub fn deliver(&mut self, connection_id: u64, side: usize) {
        let path_open = self.can_deliver(connection_id, side);
        let reset = self.chance(self.network.conditions.stream_reset_per_mille);
        let Some(connection) = self.network.connections.get_mut(&connection_id) else {
            return;
        };
        let Some(reader) = connection.open_end(1 - side) else {
            // The reader's host lost power; a living kernel would answer with a reset.
            connection.halves[side].delivery_scheduled = false;
            return;
        };
        let peer = &mut self.peers[reader.who];
        if peer.frozen || peer.stopped_reading {
            return peer.deferred.push(Event::Deliver {
                connection_id,
                side,
            });
        }
        let waiting = connection.halves[side].bytes.len();
        connection.halves[side].delivery_scheduled = false;
        if !path_open {
            return;
        }
        if reset {
            return self.reset_connection(connection_id);
        }
        if waiting == 0 && connection.halves[side].fin {
            self.network.remove_connection(connection_id);
            return self.feed(
                reader.who,
                Input::Closed {
                    stream: reader.stream,
                },
            );
        }
        let take = self.draw_piece_bytes(waiting);
        let repeats = self.chance(self.network.conditions.repeated_bytes_per_mille);
        let Some(connection) = self.network.connections.get_mut(&connection_id) else {
            return;
        };
        let half = &mut connection.halves[side];
        let mut bytes: Vec<u8> = half.bytes.drain(..take).collect();
        if repeats {
            bytes.extend(bytes.clone());
        }
        let unblocked =
            half.blocked && half.bytes.len() <= self.network.conditions.socket_buffer_bytes;
        half.blocked &= !unblocked;
        let writer = connection.open_end(side).filter(|_| unblocked);
        if let Some(writer) = writer {
            let drained = Input::Writable {
                stream: writer.stream,
            };
            self.schedule_for_end(writer, 0, drained);
        }
        self.schedule_delivery(connection_id, side);
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
    pub fn time_out(&mut self, connection_id: u64, cuts: u64) {
        let Some(connection) = self.network.connections.get(&connection_id) else {
            return;
        };
        if connection.cut_count != cuts {
            return;
        }
        let ends = [connection.open_end(0), connection.open_end(1)];
        self.network.remove_connection(connection_id);
        for end in ends.into_iter().flatten() {
            let closed = Input::Closed { stream: end.stream };
            self.schedule_for_end(end, 0, closed);
        }
    }
}
