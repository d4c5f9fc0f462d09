//! What lies between hosts: datagrams that get lost, and streams of bytes that clog, stall and break.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use p2pchat::base::event::StreamId;

use crate::support::peer::PeerIndex;

/// How the air is. Chances are per mille, times in milliseconds.
#[derive(Clone, Debug)]
pub struct Conditions {
    pub datagram_loss_per_mille: u64,
    pub datagram_duplication_per_mille: u64,
    /// Longest way of a datagram; they overtake each other.
    pub datagram_delay_max_ms: u64,
    /// Longest way of a piece of a stream.
    pub stream_delay_max_ms: u64,
    /// Streams arrive in pieces of any size.
    pub splits_streams: bool,
    /// Bytes that a socket takes before it is clogged.
    pub socket_buffer_bytes: usize,
    pub dial_refusal_per_mille: u64,
    /// A dial takes this much longer at most.
    pub dial_delay_max_ms: u64,
    /// Who closes takes what had not arrived with it.
    pub lossy_close_per_mille: u64,
    /// A piece of a stream brings a reset instead: both ends lose what is under way.
    pub stream_reset_per_mille: u64,
    /// Mutation: a piece of a stream comes twice.
    pub repeated_bytes_per_mille: u64,
    /// Mutation: nobody is told that a socket takes no more.
    pub hides_back_pressure: bool,
}

impl Default for Conditions {
    fn default() -> Conditions {
        Conditions {
            datagram_loss_per_mille: 0,
            datagram_duplication_per_mille: 0,
            datagram_delay_max_ms: 1,
            stream_delay_max_ms: 1,
            splits_streams: true,
            socket_buffer_bytes: 128 * 1024,
            dial_refusal_per_mille: 0,
            dial_delay_max_ms: 0,
            lossy_close_per_mille: 0,
            stream_reset_per_mille: 0,
            repeated_bytes_per_mille: 0,
            hides_back_pressure: false,
        }
    }
}

#[derive(Clone, Copy)]
pub struct Endpoint {
    pub who: PeerIndex,
    pub run: u64,
    pub stream: StreamId,
    pub open: bool,
}

/// One way of a stream: what was written and has not arrived.
#[derive(Default)]
pub struct HalfStream {
    pub bytes: VecDeque<u8>,
    pub blocked: bool,
    /// An arrival is in the queue of events.
    pub delivery_scheduled: bool,
    /// The writer closed: the end follows the bytes.
    pub fin: bool,
}

/// A TCP connection. End 0 dialed.
pub struct Connection {
    pub address: SocketAddr,
    pub ends: [Option<Endpoint>; 2],
    pub halves: [HalfStream; 2],
    /// Counts the cuts of it, so that a time-out meant for an earlier one is known.
    pub cut_count: u64,
}

impl Connection {
    pub fn open_end(&self, side: usize) -> Option<Endpoint> {
        self.ends[side].filter(|end| end.open)
    }

    pub fn close_end(&mut self, side: usize) {
        if let Some(end) = &mut self.ends[side] {
            end.open = false;
        }
    }
}

#[derive(Default)]
pub struct Network {
    pub conditions: Conditions,
    pub connections: BTreeMap<u64, Connection>,
    pub streams: BTreeMap<(PeerIndex, StreamId), (u64, usize)>,
    /// From the first host to the second nothing passes.
    pub cut_paths: BTreeSet<(usize, usize)>,
    /// So it is for good: the two are on one network, and have no path.
    pub missing_paths: BTreeSet<(usize, usize)>,
    pub dial_count: u64,
}

impl Network {
    pub fn add_connection(&mut self, end: Endpoint, address: SocketAddr) -> u64 {
        self.dial_count += 1;
        let conn = Connection {
            address,
            ends: [Some(end), None],
            halves: Default::default(),
            cut_count: 0,
        };
        self.connections.insert(self.dial_count, conn);
        self.streams
            .insert((end.who, end.stream), (self.dial_count, 0));
        self.dial_count
    }

    pub fn remove_connection(&mut self, number: u64) {
        if let Some(conn) = self.connections.remove(&number) {
            for end in conn.ends.into_iter().flatten() {
                let key = (end.who, end.stream);
                // A later run of the same program may have the number again.
                if self.streams.get(&key).is_some_and(|(n, _)| *n == number) {
                    self.streams.remove(&key);
                }
            }
        }
    }

    /// Streams on which both ends are open, and between whom.
    pub fn open_connections(&self) -> impl Iterator<Item = (PeerIndex, PeerIndex)> {
        self.connections
            .values()
            .filter_map(|conn| Some((conn.open_end(0)?.who, conn.open_end(1)?.who)))
    }

    /// Bytes that wait in the shell of this writer, on its worst stream.
    pub fn max_unsent_bytes(&self, who: PeerIndex) -> usize {
        let of_who = self
            .streams
            .range((who, StreamId(0))..=(who, StreamId(u64::MAX)));
        let waiting = of_who.filter_map(|(_, (number, side))| {
            let pipe = &self.connections.get(number)?.halves[*side];
            Some(
                pipe.bytes
                    .len()
                    .saturating_sub(self.conditions.socket_buffer_bytes),
            )
        });
        waiting.max().unwrap_or(0)
    }
}
