//! What lies between hosts: datagrams that get lost, and streams of bytes that clog, stall and break.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use p2pchat::base::event::StreamId;

use crate::support::peer::Who;

/// How the air is. Chances are per mille, times in milliseconds.
#[derive(Clone, Debug)]
pub struct Weather {
    pub lost: u64,
    pub doubled: u64,
    /// Longest way of a datagram; they overtake each other.
    pub datagram: u64,
    /// Longest way of a piece of a stream.
    pub stream: u64,
    /// Streams arrive in pieces of any size.
    pub split: bool,
    /// Bytes that a socket takes before it is clogged.
    pub buffer: usize,
    pub refused: u64,
    /// A dial takes this much longer at most.
    pub slow_dial: u64,
    /// Who closes takes what had not arrived with it.
    pub torn_close: u64,
    /// A piece of a stream brings a reset instead: both ends lose what is under way.
    pub reset: u64,
    /// Mutation: a piece of a stream comes twice.
    pub stutter: u64,
    /// Mutation: nobody is told that a socket takes no more.
    pub silent_clogs: bool,
}

impl Default for Weather {
    fn default() -> Weather {
        Weather {
            lost: 0,
            doubled: 0,
            datagram: 1,
            stream: 1,
            split: true,
            buffer: 128 * 1024,
            refused: 0,
            slow_dial: 0,
            torn_close: 0,
            reset: 0,
            stutter: 0,
            silent_clogs: false,
        }
    }
}

#[derive(Clone, Copy)]
pub struct End {
    pub who: Who,
    pub run: u64,
    pub stream: StreamId,
    pub open: bool,
}

/// One way of a stream: what was written and has not arrived.
#[derive(Default)]
pub struct Pipe {
    pub bytes: VecDeque<u8>,
    pub clogged: bool,
    /// An arrival is in the queue of events.
    pub due: bool,
    /// The writer closed: the end follows the bytes.
    pub fin: bool,
}

/// A TCP connection. End 0 dialed.
pub struct Conn {
    pub address: SocketAddr,
    pub ends: [Option<End>; 2],
    pub pipes: [Pipe; 2],
    /// Counts the cuts of it, so that a time-out meant for an earlier one is known.
    pub cuts: u64,
}

impl Conn {
    pub fn end(&self, side: usize) -> Option<End> {
        self.ends[side].filter(|end| end.open)
    }

    pub fn shut(&mut self, side: usize) {
        if let Some(end) = &mut self.ends[side] {
            end.open = false;
        }
    }
}

#[derive(Default)]
pub struct Air {
    pub weather: Weather,
    pub conns: BTreeMap<u64, Conn>,
    pub streams: BTreeMap<(Who, StreamId), (u64, usize)>,
    /// From the first host to the second nothing passes.
    pub cuts: BTreeSet<(usize, usize)>,
    /// So it is for good: the two are on one network, and have no path.
    pub walls: BTreeSet<(usize, usize)>,
    pub made: u64,
}

impl Air {
    pub fn dial(&mut self, end: End, address: SocketAddr) -> u64 {
        self.made += 1;
        let conn = Conn {
            address,
            ends: [Some(end), None],
            pipes: Default::default(),
            cuts: 0,
        };
        self.conns.insert(self.made, conn);
        self.streams.insert((end.who, end.stream), (self.made, 0));
        self.made
    }

    pub fn forget(&mut self, number: u64) {
        if let Some(conn) = self.conns.remove(&number) {
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
    pub fn standing(&self) -> impl Iterator<Item = (Who, Who)> {
        self.conns
            .values()
            .filter_map(|conn| Some((conn.end(0)?.who, conn.end(1)?.who)))
    }

    /// Bytes that wait in the shell of this writer, on its worst stream.
    pub fn held_back(&self, who: Who) -> usize {
        let of_who = self
            .streams
            .range((who, StreamId(0))..=(who, StreamId(u64::MAX)));
        let waiting = of_who.filter_map(|(_, (number, side))| {
            let pipe = &self.conns.get(number)?.pipes[*side];
            Some(pipe.bytes.len().saturating_sub(self.weather.buffer))
        });
        waiting.max().unwrap_or(0)
    }
}
