//! The network between hosts: its conditions, its open connections, and the paths that are cut.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use p2pchat::base::event::stream_id::StreamId;

use crate::support::peer::PeerIndex;

/// How well the network works. Probabilities are in thousandths, times in milliseconds.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// Datagrams that are lost.
    pub datagram_loss_per_mille: u64,
    /// Datagrams that arrive twice.
    pub datagram_duplication_per_mille: u64,
    /// Longest delay of a datagram. Datagrams overtake each other.
    pub datagram_delay_max_ms: u64,
    /// Longest delay of a piece of a stream. Pieces keep their order.
    pub stream_delay_max_ms: u64,
    /// Streams arrive in pieces of random sizes.
    pub splits_streams: bool,
    /// Bytes that a socket buffers before it is blocked.
    pub socket_buffer_bytes: usize,
    /// Dials that are refused.
    pub dial_refusal_per_mille: u64,
    /// Longest additional delay of a dial.
    pub dial_delay_max_ms: u64,
    /// Closes that lose the bytes still under way.
    pub lossy_close_per_mille: u64,
    /// Deliveries that become a reset: both ends lose the bytes under way.
    pub stream_reset_per_mille: u64,
    /// Broken on purpose: deliveries that repeat their bytes.
    pub repeated_bytes_per_mille: u64,
    /// Broken on purpose: the core never learns that a socket is blocked.
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

/// One end of a connection: a stream of one run of a peer.
#[derive(Clone, Copy)]
pub struct Endpoint {
    pub who: PeerIndex,
    pub run: u64,
    pub stream: StreamId,
    pub open: bool,
}

/// One direction of a connection: bytes written that have not arrived.
#[derive(Default)]
pub struct HalfStream {
    pub bytes: VecDeque<u8>,
    /// The writer was told that the socket buffer is full.
    pub blocked: bool,
    /// A delivery is in the event queue.
    pub delivery_scheduled: bool,
    /// The writer closed: the reader sees the close behind the bytes.
    pub fin: bool,
}

/// A TCP connection. Endpoint 0 dialed, endpoint 1 accepted.
pub struct Connection {
    pub address: SocketAddr,
    pub ends: [Option<Endpoint>; 2],
    pub halves: [HalfStream; 2],
    /// How often its path was cut or healed: a timeout scheduled before such a change is stale.
    pub cut_count: u64,
}

impl Connection {
    /// This end, if it is still open.
    pub fn open_end(&self, side: usize) -> Option<Endpoint> {
        self.ends[side].filter(|end| end.open)
    }

    /// Marks this end as closed.
    pub fn close_end(&mut self, side: usize) {
        if let Some(end) = &mut self.ends[side] {
            end.open = false;
        }
    }
}

/// All connections and cut paths of the LAN.
#[derive(Default)]
pub struct Network {
    pub conditions: Conditions,
    pub connections: BTreeMap<u64, Connection>,
    /// Which connection and side a peer's stream is.
    pub streams: BTreeMap<(PeerIndex, StreamId), (u64, usize)>,
    /// Cut paths: no packet gets from the first host to the second until
    /// [`crate::support::lan::Lan::heal`].
    pub cut_paths: BTreeSet<(usize, usize)>,
    /// Paths that never exist, though both hosts are on one network. Healing keeps them.
    pub missing_paths: BTreeSet<(usize, usize)>,
    /// Beacons sent on each network so far.
    pub beacon_counts: BTreeMap<u8, u64>,
    /// Dials so far of each host.
    pub dials_of_host: BTreeMap<IpAddr, u64>,
    /// Dials so far, also the number of the newest connection.
    pub dial_count: u64,
}

impl Network {
    /// Adds a connection that is being dialed; returns its connection_id.
    pub fn add_connection(&mut self, end: Endpoint, address: SocketAddr) -> u64 {
        self.dial_count += 1;
        *self.dials_of_host.entry(address.ip()).or_default() += 1;
        let connection = Connection {
            address,
            ends: [Some(end), None],
            halves: Default::default(),
            cut_count: 0,
        };
        self.connections.insert(self.dial_count, connection);
        self.streams
            .insert((end.who, end.stream), (self.dial_count, 0));
        self.dial_count
    }

    /// Forgets a connection and the streams of its ends.
    pub fn remove_connection(&mut self, connection_id: u64) {
        if let Some(connection) = self.connections.remove(&connection_id) {
            for end in connection.ends.into_iter().flatten() {
                let key = (end.who, end.stream);
                // A later run of the same program may reuse the stream id.
                if self
                    .streams
                    .get(&key)
                    .is_some_and(|(n, _)| *n == connection_id)
                {
                    self.streams.remove(&key);
                }
            }
        }
    }

    /// The two peers of each connection whose ends are both open.
    pub fn open_connections(&self) -> impl Iterator<Item = (PeerIndex, PeerIndex)> {
        self.connections.values().filter_map(|connection| {
            Some((connection.open_end(0)?.who, connection.open_end(1)?.who))
        })
    }

    /// Bytes that wait beyond the socket buffer, on the fullest stream of this peer.
    pub fn max_unsent_bytes(&self, who: PeerIndex) -> usize {
        let of_who = self
            .streams
            .range((who, StreamId(0))..=(who, StreamId(u64::MAX)));
        let waiting = of_who.filter_map(|(_, (connection_id, side))| {
            let half = &self.connections.get(connection_id)?.halves[*side];
            Some(
                half.bytes
                    .len()
                    .saturating_sub(self.conditions.socket_buffer_bytes),
            )
        });
        waiting.max().unwrap_or(0)
    }
}
