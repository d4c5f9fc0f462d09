//! What features stand on: the present moment, keys, links, randomness, and the tray of outputs.
use std::collections::VecDeque;
use std::net::IpAddr;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::base::batch::{Batch, LogId};
use crate::base::event::{Interface, KnownPeer, Notice, Output, Peer, StreamId};
use crate::base::identity::{Hash, Identity, NetworkTag, PeerId};
use crate::base::name::{Nick, Room, Target};
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::{Now, Time};
use crate::node::link::{Link, Route};
use crate::node::topology::Topology;
use crate::wire::frame::FrameKind;
use crate::wire::message::Message;

/// Plaintext after which a link is written to within a turn, in bytes: more would only cost memory.
const FLUSH_THRESHOLD_BYTES: usize = 64 * 1024;

/// All that a program knows when it starts.
pub struct NodeConfig {
    pub identity: Identity,
    pub network: NetworkTag,
    /// Of a closed network: the key of its handshakes.
    pub psk: Option<[u8; 32]>,
    /// Of a closed network: the key of its beacons.
    pub beacon_key: Option<[u8; 32]>,
    pub nick: Nick,
    /// Where we listen.
    pub port: u16,
    /// 32 random bytes: all randomness of the core comes from here.
    pub seed: [u8; 32],
    /// Come and go unannounced.
    pub transient: bool,
    /// Send beacons.
    pub beacons_enabled: bool,
    pub known_peers: Vec<KnownPeer>,
    /// The last that [`Output::Receipts`] noted.
    pub receipts: String,
    /// What a clean end left.
    pub resume: Option<ResumeState>,
}

/// What a clean end leaves, so that the next run can go on with the same numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResumeState {
    pub incarnation: u64,
    /// Of each room or peer spoken to: the last own line's number, and its batch's hash.
    pub heads: SortedMap<Target, (u64, Hash)>,
}

/// What is counted instead of reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCounters {
    /// Datagrams that are no beacon of this network.
    pub foreign_datagrams: u64,
    /// Beacons for which a table had no place.
    pub beacons_over_bound: u64,
    /// Handshakes that failed, for whatever reason.
    pub failed_handshakes: u64,
    /// Batches that came in, of whatever kind.
    pub batches_received: u64,
    /// Batches held already.
    pub duplicate_batches: u64,
    /// Batches that were not asked for, or of others' rooms.
    pub unwanted_batches: u64,
    /// Logs for which there was no place, or for which another was forgotten.
    pub logs_over_bound: u64,
    /// Lines that were missing and turned up.
    pub healed_lines: u64,
    /// Links ended because the peer broke the protocol.
    pub broken_links: u64,
}

impl NodeCounters {
    /// Each with its name.
    pub fn named_values(&self) -> [(&'static str, u64); 9] {
        [
            ("batches_received", self.batches_received),
            ("duplicate_batches", self.duplicate_batches),
            ("unwanted_batches", self.unwanted_batches),
            ("logs_over_bound", self.logs_over_bound),
            ("healed_lines", self.healed_lines),
            ("foreign_datagrams", self.foreign_datagrams),
            ("beacons_over_bound", self.beacons_over_bound),
            ("failed_handshakes", self.failed_handshakes),
            ("broken_links", self.broken_links),
        ]
    }
}

pub struct Context {
    pub now: Now,
    pub identity: Identity,
    pub network: NetworkTag,
    pub psk: Option<[u8; 32]>,
    pub beacon_key: Option<[u8; 32]>,
    pub nick: Nick,
    pub port: u16,
    pub transient: bool,
    /// Tells this process from every other.
    pub run: u64,
    pub interfaces: Vec<Interface>,
    pub links: SortedMap<StreamId, Link>,
    /// The one link of each peer.
    pub stream_by_peer: SortedMap<PeerId, StreamId>,
    /// Whom to keep linked.
    pub topology: Topology,
    /// When a peer last came nearer: sighted, accepted, linked.
    pub last_peer_event: Time,
    pub counters: NodeCounters,
    /// Where what links say is opened.
    pub decrypt_buffer: Vec<u8>,
    rng: ChaCha20Rng,
    outputs: VecDeque<Output>,
    dirty: SortedSet<StreamId>,
}

impl Context {
    pub fn new(
        setup: NodeConfig,
        now: Now,
    ) -> (Context, Vec<KnownPeer>, Option<ResumeState>, String) {
        let mut rng = ChaCha20Rng::from_seed(setup.seed);
        let ctx = Context {
            now,
            identity: setup.identity,
            network: setup.network,
            psk: setup.psk,
            beacon_key: setup.beacon_key,
            nick: setup.nick,
            port: setup.port,
            transient: setup.transient,
            run: rng.next_u64(),
            interfaces: Vec::new(),
            links: SortedMap::new(),
            stream_by_peer: SortedMap::new(),
            topology: Topology::default(),
            last_peer_event: now.time,
            counters: NodeCounters::default(),
            decrypt_buffer: Vec::new(),
            rng,
            outputs: VecDeque::new(),
            dirty: SortedSet::new(),
        };
        (ctx, setup.known_peers, setup.resume, setup.receipts)
    }

    pub fn own_id(&self) -> PeerId {
        self.identity.id()
    }

    pub fn own_peer(&self) -> Peer {
        Peer {
            id: self.own_id(),
            nick: self.nick.clone(),
        }
    }

    pub fn random_u64(&mut self) -> u64 {
        self.rng.next_u64()
    }

    pub fn random_bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// Between half of `ms` and all of it, so that peers that began together do not go on together.
    pub fn jitter(&mut self, ms: u64) -> u64 {
        ms / 2 + self.random_u64() % (ms / 2 + 1)
    }

    pub fn emit(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub fn notify(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Notice(notice));
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn is_drained(&self) -> bool {
        self.outputs.is_empty()
    }

    /// The link to this peer, if there is one.
    pub fn link_to(&self, peer: &PeerId) -> Option<&Link> {
        self.stream_by_peer
            .get(peer)
            .and_then(|stream| self.links.get(stream))
    }

    /// The links that share this room.
    pub fn links_in_room<'a>(
        &'a self,
        room: &'a Room,
    ) -> impl Iterator<Item = (StreamId, &'a Link)> {
        let sharing = self
            .links
            .iter()
            .filter(|(_, link)| link.shared_rooms.contains(room));
        sharing.map(|(stream, link)| (*stream, link))
    }

    /// Who can be reached through others in a room: over which link, and as whom. One that many reach comes as often.
    pub fn routes_in_room<'a>(
        &'a self,
        room: &'a Room,
    ) -> impl Iterator<Item = (StreamId, &'a PeerId, &'a Route)> {
        self.links.iter().flat_map(|(stream, link)| {
            let there = link.routes.get(room).into_iter().flat_map(SortedMap::iter);
            let there = there.filter(|(_, reach)| reach.valid_from <= self.now.time);
            there.map(|(peer, reach)| (*stream, peer, reach))
        })
    }

    /// Is the author of this log there, though only through others?
    pub fn has_route_to_author(&self, log: &LogId) -> bool {
        self.has_route(log.target.room(), &log.author)
    }

    /// Can this peer be reached through others in this room, or in any?
    pub fn has_route(&self, room: Option<&Room>, peer: &PeerId) -> bool {
        self.links.values().any(|link| {
            let mut there = link
                .routes
                .iter()
                .filter(|(of, _)| room.is_none_or(|room| room == *of));
            there.any(|(_, there)| {
                let reach = there.get(peer);
                reach.is_some_and(|reach| reach.valid_from <= self.now.time)
            })
        })
    }

    /// Who is linked, or reached through others; each once, under the name that it tells us itself if it does.
    pub fn reachable_peers(&self) -> Vec<Peer> {
        let mut names: SortedMap<PeerId, Nick> = SortedMap::new();
        for link in self.links.values() {
            names.insert(link.peer.id, link.peer.nick.clone());
        }
        for (id, reach) in self.links.values().flat_map(|link| {
            let there = link.routes.values();
            there.flat_map(SortedMap::iter)
        }) {
            names.get_or_insert_with(*id, || reach.nick.clone());
        }
        let own = self.own_id();
        let others = names.iter().filter(|(id, _)| **id != own);
        let peer = |(id, nick): (&PeerId, &Nick)| Peer {
            id: *id,
            nick: nick.clone(),
        };
        others.map(peer).collect()
    }

    /// As whom a peer is to be shown, whether it is linked, reached, or not there.
    pub fn display_peer(&self, peer: &PeerId) -> Peer {
        let reach = |link: &Link| {
            let there = link.routes.values().find_map(|there| there.get(peer));
            there.map(|reach| reach.nick.clone())
        };
        let nick = match self.link_to(peer) {
            Some(link) => Some(link.peer.nick.clone()),
            None if *peer == self.own_id() => Some(self.nick.clone()),
            None => self.links.values().find_map(reach),
        };
        Peer {
            id: *peer,
            nick: nick.unwrap_or_else(|| Nick::new_or_placeholder("")),
        }
    }

    pub fn send(&mut self, stream: StreamId, message: &Message) {
        self.queue_frame(stream, FrameKind::Message, &message.encode());
    }

    pub fn send_batch(&mut self, stream: StreamId, batch: &Batch) {
        self.queue_frame(stream, FrameKind::Batch, batch.as_bytes());
    }

    fn queue_frame(&mut self, stream: StreamId, kind: FrameKind, payload: &[u8]) {
        let Some(link) = self.links.get_mut(&stream) else {
            return;
        };
        link.queue_frame(kind, payload);
        self.dirty.insert(stream);
        if link.send_buffer.len() > FLUSH_THRESHOLD_BYTES {
            self.flush_link(stream);
        }
    }

    /// At a turn's end: everything pending goes out, each link's in one write.
    pub fn flush(&mut self) {
        for stream in std::mem::take(&mut self.dirty) {
            self.flush_link(stream);
        }
    }

    /// The socket takes bytes again.
    pub fn mark_writable(&mut self, stream: StreamId) {
        if let Some(link) = self.links.get_mut(&stream) {
            link.is_blocked = false;
            self.dirty.insert(stream);
        }
    }

    fn flush_link(&mut self, stream: StreamId) {
        let Some(link) = self.links.get_mut(&stream) else {
            return;
        };
        if link.is_blocked {
            return;
        }
        if let Some(bytes) = link.seal_send_buffer() {
            self.outputs.push_back(Output::Write { stream, bytes });
        }
    }

    /// The interface of this index, and whether this address lies on one of its networks.
    pub fn is_in_subnet(&self, interface: u32, address: IpAddr) -> bool {
        self.interfaces
            .iter()
            .filter(|i| i.index == interface)
            .any(|i| {
                i.addresses
                    .iter()
                    .any(|(own, prefix)| is_same_subnet(*own, address, *prefix))
            })
    }
}

fn is_same_subnet(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(prefix.min(32)))
                .unwrap_or(0);
            a.to_bits() & mask == b.to_bits() & mask
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(prefix.min(128)))
                .unwrap_or(0);
            a.to_bits() & mask == b.to_bits() & mask
        }
        _ => false,
    }
}
