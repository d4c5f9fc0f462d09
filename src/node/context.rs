//! The state that all features share: the current time, our identity, the links, randomness, and
//! the queue of outputs.
use std::collections::VecDeque;
use std::net::IpAddr;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::base::batch::batch::{Batch, LogId};
use crate::base::event::notice::Notice;
use crate::base::event::output::Output;
use crate::base::event::peer::Peer;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::{Identity, NetworkTag, PeerId};
use crate::base::interface::Interface;
use crate::base::name::{Nick, Room};
use crate::base::presence::profile::Profile;
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::{Now, Time};
use crate::base::timing::Timing;
use crate::base::trust::level::Familiarity;
use crate::node::acquaintances::Acquaintances;
use crate::node::author_clocks::AuthorClocks;
use crate::node::config::NodeConfig;
use crate::node::counters::NodeCounters;
use crate::node::guest_table::GuestTable;
use crate::node::link::{Link, Route};
use crate::node::misbehaviour::MisbehaviourTable;
use crate::node::profile_state::OwnProfile;
use crate::node::standing::{Rank, Standing};
use crate::node::topology::Topology;
use crate::wire::frame::FrameKind;
use crate::wire::message::Message;
use crate::wire::noise::StaticKey;

/// A link is flushed at once if its send buffer exceeds this many bytes. Smaller buffers are
/// flushed at the end of the turn. This limits the memory for queued frames.
const FLUSH_THRESHOLD_BYTES: usize = 64 * 1024;
/// Milliseconds without any peer event, after which no further link is expected. A peer event
/// occurs when a peer is discovered, accepted, connected or linked. A peer that receives our beacon
/// usually dials us within this time.
pub const QUIET_PERIOD_MS: u64 = 8;
/// Milliseconds after the last progress, from which on nobody waits for further links. Strangers
/// who only connect, or send forged beacons, can therefore delay `send` no longer.
const LINKS_EXPECTED_MAX_MS: u64 = 2_000;

/// The state that all features share.
pub struct Context {
    /// The time of the current turn.
    pub now: Now,
    /// The key pair of this directory.
    pub identity: Identity,
    /// Its X25519 form, for handshakes.
    pub noise_key: StaticKey,
    /// The tag of the network, derived from its secret. The signature of each batch covers the
    /// tag.
    pub network: NetworkTag,
    /// The pre-shared key of all handshakes, in a closed network.
    pub psk: Option<[u8; 32]>,
    /// The key that encrypts beacons, in a closed network.
    pub beacon_key: Option<[u8; 32]>,
    /// The name that we claim.
    pub nick: Nick,
    /// The TCP port on which we listen.
    pub port: u16,
    /// This program leaves by itself soon.
    pub transient: bool,
    /// Our key pair is stored nowhere.
    pub is_ephemeral: bool,
    /// How often to send beacons, and how long to wait for silent peers.
    pub timing: Timing,
    /// A random number that identifies this run of the program.
    pub run: u64,
    /// The usable interfaces.
    pub interfaces: Vec<Interface>,
    /// The established links.
    pub links: SortedMap<StreamId, Link>,
    /// The stream of the link to each linked peer. A peer has only one link.
    pub stream_by_peer: SortedMap<PeerId, StreamId>,
    /// The clocks of authors. They show when an author's lines were published.
    pub author_clocks: AuthorClocks,
    /// The peers with whom we were ever linked.
    pub acquaintances: Acquaintances,
    /// What keys were proved to have done wrong in this run.
    pub misbehaviour: MisbehaviourTable,
    /// What our user says about itself.
    pub own_profile: OwnProfile,
    /// The people of foreign networks.
    pub guests: GuestTable,
    /// The peers that we want to be linked with.
    pub topology: Topology,
    /// When a peer was last discovered, accepted, connected or linked. Used by
    /// [`Context::is_quiet`].
    pub last_peer_event: Time,
    /// When lines were last published or acknowledged, or a recipient was last searched. Used by
    /// [`Context::links_expected_until`].
    pub last_progress: Time,
    /// Whether new links are probed: see
    /// [`liveness::probe_all`](crate::node::connection::liveness::probe_all).
    pub probes_links: bool,
    /// Counts of events that are not reported one by one.
    pub counters: NodeCounters,
    /// Scratch space for decryption, shared by all links.
    pub decrypt_buffer: Vec<u8>,
    dialed_streams: u64,
    rng: ChaCha20Rng,
    outputs: VecDeque<Output>,
    /// Links that may have unsent frames.
    dirty: SortedSet<StreamId>,
}

impl Context {
    /// The context of a node without links. Ignores the fields `known_peers`, `receipts`,
    /// `addresses` and `resume` of `config`.
    pub fn new(config: NodeConfig, now: Now) -> Context {
        let mut rng = ChaCha20Rng::from_seed(config.seed);
        Context {
            now,
            noise_key: StaticKey::new(&config.identity.noise_secret()),
            identity: config.identity,
            network: config.network,
            psk: config.psk,
            beacon_key: config.beacon_key,
            nick: config.nick,
            port: config.port,
            transient: config.transient,
            is_ephemeral: config.is_ephemeral,
            timing: config.timing,
            run: rng.next_u64(),
            interfaces: Vec::new(),
            links: SortedMap::new(),
            stream_by_peer: SortedMap::new(),
            author_clocks: AuthorClocks::default(),
            acquaintances: Acquaintances::default(),
            misbehaviour: MisbehaviourTable::default(),
            own_profile: OwnProfile::load(&config.profile),
            guests: GuestTable::default(),
            topology: Topology::default(),
            last_peer_event: now.time,
            last_progress: now.time,
            probes_links: false,
            counters: NodeCounters::default(),
            decrypt_buffer: Vec::new(),
            dialed_streams: 0,
            rng,
            outputs: VecDeque::new(),
            dirty: SortedSet::new(),
        }
    }

    /// Our key.
    pub fn own_id(&self) -> PeerId {
        self.identity.id()
    }

    /// Our key and the name that we claim.
    pub fn own_peer(&self) -> Peer {
        Peer {
            id: self.own_id(),
            nick: self.nick.clone(),
        }
    }

    /// How well the peer is known, as users see it.
    pub fn familiarity(&self, peer: &PeerId) -> Familiarity {
        self.acquaintances.familiarity(peer, self.now.wall)
    }

    /// The id of the next stream to dial.
    pub fn next_dialed_stream(&mut self) -> StreamId {
        self.dialed_streams += 1;
        StreamId::dialed(self.dialed_streams)
    }

    /// A random number from the seeded generator.
    pub fn random_u64(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// Random bytes from the seeded generator.
    pub fn random_bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// A random delay between half of `ms` and all of `ms`. Peers that started together then do
    /// not act at the same moment.
    pub fn jitter(&mut self, ms: u64) -> u64 {
        ms / 2 + self.random_u64() % (ms / 2 + 1)
    }

    /// Queues an output.
    pub fn emit(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// Queues a notice.
    pub fn notify(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Notice(Box::new(notice)));
    }

    /// Changes what our user says about itself, and saves it.
    pub fn change_profile(&mut self, change: impl FnOnce(&mut Profile)) {
        if let Some(text) = self.own_profile.change(change) {
            self.emit(Output::SaveProfile(text));
        }
    }

    /// Takes the oldest queued output.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether no output is queued.
    pub fn is_drained(&self) -> bool {
        self.outputs.is_empty()
    }

    /// Until when further links are expected, at the latest: 2 s after the last progress. Only
    /// linked peers cause progress.
    pub fn links_expected_until(&self) -> Time {
        self.last_progress + LINKS_EXPECTED_MAX_MS
    }

    /// When [`Context::is_quiet`] becomes true. Every further peer event postpones this time, at
    /// most until [`Context::links_expected_until`]. See [`QUIET_PERIOD_MS`] for what counts as a
    /// peer event.
    pub fn quiet_at(&self) -> Time {
        let quiet_at = self.last_peer_event + QUIET_PERIOD_MS;
        quiet_at.min(self.links_expected_until())
    }

    /// Whether no peer was discovered, accepted, connected or linked in the last 8 ms, or progress
    /// is older than 2 s. Then no further link is expected.
    pub fn is_quiet(&self) -> bool {
        self.now.time >= self.quiet_at()
    }

    /// The streams of all links.
    pub fn streams(&self) -> Vec<StreamId> {
        self.links.keys().copied().collect()
    }

    /// The link to this peer.
    pub fn link_to(&self, peer: &PeerId) -> Option<&Link> {
        self.stream_by_peer
            .get(peer)
            .and_then(|stream| self.links.get(stream))
    }

    /// Whether this peer is linked in this room, and advertised there. No route to it is better.
    pub fn is_linked_member(&self, peer: &PeerId, room: &Room) -> bool {
        let link = self.link_to(peer).filter(|link| !link.transient);
        link.is_some_and(|link| link.shared_rooms.contains(room))
    }

    /// Whether this peer is linked or reachable through others.
    pub fn is_reachable(&self, peer: &PeerId) -> bool {
        let mut rooms = self.links.values().flat_map(|link| link.routes.values());
        self.stream_by_peer.contains_key(peer) || rooms.any(|routes| routes.contains_key(peer))
    }

    /// The links to peers that share this room.
    pub fn links_in_room<'a>(
        &'a self,
        room: &'a Room,
    ) -> impl Iterator<Item = (StreamId, &'a Link)> {
        let links = self.links.iter();
        links
            .filter(|(_, link)| link.shared_rooms.contains(room))
            .map(|(stream, link)| (*stream, link))
    }

    /// Whether nobody will ever read lines of rooms here. See [`Link::is_send_only`].
    pub fn is_send_only(&self) -> bool {
        self.transient && self.is_ephemeral
    }

    /// The links to peers that share this room and get its lines: all but send-only peers.
    pub fn receivers_in_room<'a>(
        &'a self,
        room: &'a Room,
    ) -> impl Iterator<Item = (StreamId, &'a Link)> {
        let links = self.links_in_room(room);
        links.filter(|(_, link)| !link.is_send_only())
    }

    /// The valid routes to members of a room. Each item contains the stream of the link that the
    /// route uses, the member, and the route. A member appears once for each link through which it
    /// is reachable.
    pub fn routes_in_room<'a>(
        &'a self,
        room: &'a Room,
    ) -> impl Iterator<Item = (StreamId, &'a PeerId, &'a Route)> {
        let routes = self.known_routes_in_room(room);
        routes.filter(|(_, _, route)| route.is_valid(self.now.time))
    }

    /// As [`Context::routes_in_room`], but includes the routes in hold-down. The member of such a
    /// route may be lost, or may be back already.
    pub fn known_routes_in_room<'a>(
        &'a self,
        room: &'a Room,
    ) -> impl Iterator<Item = (StreamId, &'a PeerId, &'a Route)> {
        self.links.iter().flat_map(|(stream, link)| {
            let routes = link.routes.get(room).into_iter().flat_map(SortedMap::iter);
            routes.map(|(peer, route)| (*stream, peer, route))
        })
    }

    /// Whether the author of this log is reachable through another peer. For a room's log, only
    /// routes in that room count. For direct messages, routes in any room count.
    pub fn has_route_to_author(&self, log: &LogId) -> bool {
        self.has_route(log.target.room(), &log.author)
    }

    /// Whether a valid route leads to this peer in the given room, or in any room if `room` is
    /// `None`.
    pub fn has_route(&self, room: Option<&Room>, peer: &PeerId) -> bool {
        self.links.values().any(|link| {
            let mut routes = link
                .routes
                .iter()
                .filter(|(of, _)| room.is_none_or(|room| room == *of));
            routes.any(|(_, routes)| {
                let route = routes.get(peer);
                route.is_some_and(|route| route.is_valid(self.now.time))
            })
        })
    }

    /// The linked peers, and the peers that are reachable through them. Lists each peer once, and
    /// never ourselves. If a peer has a link and a route, its name comes from the link. Includes
    /// peers whose routes are all in hold-down, as a user may still write to these peers.
    pub fn reachable_peers(&self) -> Vec<Peer> {
        let mut names: SortedMap<PeerId, Nick> = SortedMap::new();
        for link in self.links.values() {
            names.insert(link.peer.id, link.peer.nick.clone());
        }
        for (id, route) in self.links.values().flat_map(|link| {
            let rooms = link.routes.values();
            rooms.flat_map(SortedMap::iter)
        }) {
            names.get_or_insert_with(*id, || route.nick.clone());
        }
        let own = self.own_id();
        let others = names.iter().filter(|(id, _)| **id != own);
        let peer = |(id, nick): (&PeerId, &Nick)| Peer {
            id: *id,
            nick: nick.clone(),
        };
        others.map(peer).collect()
    }

    /// The peer, with the name under which to show the peer. The name comes from the peer's link,
    /// or else from a route. For our own key, returns our own name. If no name is known, returns a
    /// placeholder.
    pub fn display_peer(&self, peer: &PeerId) -> Peer {
        let route_nick = |link: &Link| {
            let route = link.routes.values().find_map(|routes| routes.get(peer));
            route.map(|route| route.nick.clone())
        };
        let nick = match self.link_to(peer) {
            Some(link) => Some(link.peer.nick.clone()),
            None if *peer == self.own_id() => Some(self.nick.clone()),
            None => self.links.values().find_map(route_nick),
        };
        Peer {
            id: *peer,
            nick: nick.unwrap_or_else(|| Nick::new_or_placeholder("")),
        }
    }

    /// How much this peer counts when room is short. `source`: see [`Standing::source`].
    pub fn standing(&self, peer: &PeerId, source: Option<IpAddr>) -> Standing {
        let standing = match *peer == self.own_id() {
            true => Standing::of_rank(Rank::Own),
            false => self.acquaintances.standing(peer, self.now.wall),
        };
        Standing {
            is_linked: self.stream_by_peer.contains_key(peer),
            source,
            ..standing
        }
    }

    /// Queues a message on a link. Ignored if the stream has no link.
    pub fn send(&mut self, stream: StreamId, message: &Message) {
        self.send_to_all(&[stream], message);
    }

    /// Queues a message on these links. Ignores streams that have no link.
    pub fn send_to_all(&mut self, streams: &[StreamId], message: &Message) {
        let bytes = message.encode();
        for stream in streams {
            self.queue_frame(*stream, FrameKind::Message, &bytes);
        }
    }

    /// Queues a message on every link.
    pub fn broadcast(&mut self, message: &Message) {
        self.send_to_all(&self.streams(), message);
    }

    /// Queues a batch on a link. Ignored if the stream has no link.
    ///
    /// If we are not the author, first queues the author's clock, if it is known. A link gets the
    /// clock of each run of an author only once.
    pub fn send_batch(&mut self, stream: StreamId, batch: &Batch) {
        debug_assert!(batch.is_sendable(), "a false signature must not be sent");
        let author = batch.log.author;
        if author != self.own_id()
            && let Some(known) = self.author_clocks.find(&author, batch.run)
            && let Some(link) = self.links.get_mut(&stream)
            && link.clocks_sent.insert(author, known.run)
        {
            let clock = Message::Clock {
                peer: author,
                run: known.run,
                age: known.clock.age_ms(self.now.time),
                wall: known.clock.wall(self.now.time),
            };
            self.send(stream, &clock);
        }
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

    /// Writes the queued frames, with one [`Output::Write`] for each link. Called at the end of a
    /// turn.
    pub fn flush(&mut self) {
        for stream in std::mem::take(&mut self.dirty) {
            self.flush_link(stream);
        }
    }

    /// Records that the socket of a link accepts no more bytes. Nothing is written until
    /// [`Context::mark_writable`] is called.
    pub fn mark_blocked(&mut self, stream: StreamId) {
        if let Some(link) = self.links.get_mut(&stream) {
            link.is_blocked = true;
        }
    }

    /// Records that the socket of a link accepts bytes again. Waiting frames are written at the end
    /// of the turn.
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

    /// Whether one of our interfaces has this address.
    pub fn is_own_address(&self, address: IpAddr) -> bool {
        let mut own = self.interfaces.iter().flat_map(|i| &i.addresses);
        own.any(|own| own.ip == address)
    }

    /// Whether a neighbour on the interface with this index may have this address. See
    /// [`Interface::is_on_link`].
    pub fn is_on_link(&self, interface: u32, address: IpAddr) -> bool {
        let of_index = |i: &&Interface| i.index == interface;
        let mut interfaces = self.interfaces.iter().filter(of_index);
        interfaces.any(|i| i.is_on_link(address))
    }
}
