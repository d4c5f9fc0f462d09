//! Passes what happens on links to the features that it concerns, in a fixed order. The second part
//! of the dispatcher.
use crate::base::event::peer::Peer;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room};
use crate::base::presence::away::AwayText;
use crate::node::author_clocks::AuthorClock;
use crate::node::connection::liveness;
use crate::node::connection::liveness::{ClosedLink, LinkEnd, LinkEvent};
use crate::node::discovery::heard_beacons;
use crate::node::link::Link;
use crate::node::membership::linked_members;
use crate::node::membership::lost_members::Loss;
use crate::node::membership::profiles;
use crate::node::node::Node;
use crate::node::peer_clock::PeerClock;
use crate::wire::message::{ByeReason, Members, Message};

impl Node {
    /// Ends what concerns banned peers: links, routes, requests, and offers of their lines.
    pub(super) fn enforce_bans(&mut self, events: &mut Vec<LinkEvent>) {
        let ctx = &mut self.ctx;
        let links = ctx.stream_by_peer.iter();
        let banned = links.filter(|(peer, _)| ctx.acquaintances.is_banned(peer));
        let banned: Vec<StreamId> = banned.map(|(_, stream)| *stream).collect();
        for stream in banned {
            liveness::close(ctx, stream, ByeReason::Banned, events);
        }
        self.dialer.forget_banned(ctx);
        self.gone_peers.forget_banned(ctx);
        self.replication.drop_banned(ctx);
        for peer in self.routes.remove_banned(ctx).iter() {
            self.update_presence(peer);
        }
    }

    /// Passes link events to the features. Then handles the new events that the features cause,
    /// until no event is left.
    pub(super) fn handle_link_events(&mut self, mut events: Vec<LinkEvent>) {
        while !events.is_empty() {
            for event in std::mem::take(&mut events) {
                match event {
                    LinkEvent::Up(stream) => self.link_up(stream),
                    LinkEvent::UnexpectedPeer(stream, peer) => {
                        self.dialer.handle_unexpected_peer(stream, peer)
                    }
                    LinkEvent::Message(stream, message) => {
                        self.handle_message(stream, message, &mut events)
                    }
                    LinkEvent::Batches(stream, batches) => {
                        // Most links bring only lines of their own peers.
                        self.typists.end(&mut self.ctx, stream);
                        let (ctx, logs) = (&mut self.ctx, &mut self.logs);
                        let receipts = &mut self.delivery_tracker;
                        let outcome = self
                            .replication
                            .handle_batches(ctx, logs, receipts, stream, batches);
                        for author in outcome.authors.iter() {
                            self.observe_author(author);
                        }
                        if outcome.is_violation {
                            liveness::close_violation(&mut self.ctx, stream, &mut events);
                        }
                    }
                    LinkEvent::DuplicateIdentity(duplicate) => {
                        if self.reported_duplicates.report(&mut self.ctx, duplicate) {
                            self.logs.renew_incarnation(&mut self.ctx);
                        }
                    }
                    LinkEvent::Down(link) => self.link_down(link, &mut events),
                    LinkEvent::Failed(stream, failure) => {
                        self.dialer
                            .handle_dial_failed(&mut self.ctx, stream, failure)
                    }
                }
            }
        }
    }

    fn link_down(&mut self, link: ClosedLink, events: &mut Vec<LinkEvent>) {
        let peer = link.peer;
        let found_via = self.dialer.found_via(link.stream, &peer);
        self.gone_peers.link_down(&self.ctx, &link, found_via);
        if link.end == LinkEnd::Left {
            self.routes.remove_peer(&mut self.ctx, &peer, link.run);
        }
        self.profiles.end(&peer);
        self.replication.link_down(link.stream);
        self.replication.offer_to_carriers(&self.ctx, &self.logs);
        self.presence.link_down(&self.ctx, &link);
        if link.end != LinkEnd::Replaced {
            self.update_presence(&peer);
        }
        let cause = match link.end {
            LinkEnd::Replaced | LinkEnd::Pruned => Loss::Relay,
            LinkEnd::Left => Loss::Left,
            LinkEnd::Lost | LinkEnd::Unconfirmed => Loss::Member,
        };
        self.routes.record_loss(&self.ctx, &peer, cause);
        for reachable in link.reachable.iter() {
            self.routes.record_loss(&self.ctx, reachable, Loss::Relay);
            self.update_presence(reachable);
        }
        self.schedule_route_updates();
        let rooms = self.rooms.joined();
        self.replication
            .author_unlinked(&self.ctx, &self.logs, &peer, rooms);
        self.replication
            .select_sources(&self.ctx, &self.logs, &self.rooms);
        self.dialer.link_down(&mut self.ctx, &link);
        if link.end != LinkEnd::Replaced {
            self.handshakes
                .promote_deferred(&mut self.ctx, peer, events);
        }
    }

    fn link_up(&mut self, stream: StreamId) {
        let Some(peer) = self.ctx.links.get(&stream).map(|link| link.peer.clone()) else {
            return;
        };
        if self.dialer.link_up(&mut self.ctx, stream, peer.id) {
            self.known_peers.bind(&mut self.ctx, &peer);
        }
        self.exchange.link_up(&mut self.ctx, stream);
        self.routes.link_up(&peer.id);
        self.observe_peer(stream, peer);
        self.delivery_tracker
            .link_up(&self.ctx, &mut self.logs, stream);
        self.rooms.link_up(&mut self.ctx, stream);
        self.own_presence.link_up(&mut self.ctx, stream);
        self.update_shared_rooms(stream);
        self.replication.link_up(&self.ctx, &self.logs, stream);
        self.replication.offer_to_carriers(&self.ctx, &self.logs);
    }

    /// Records that a send-only peer says something under the name that it claims.
    fn observe_author(&mut self, author: &PeerId) {
        let link = self.ctx.link_to(author);
        let Some(link) = link.filter(|link| link.is_send_only()) else {
            return;
        };
        let peer = link.peer.clone();
        let shown = self.known_peers.observe(&mut self.ctx, &peer);
        let stream = self.ctx.stream_by_peer.get(author);
        if let Some(link) = stream.and_then(|stream| self.ctx.links.get_mut(stream)) {
            link.peer.nick = shown;
        }
    }

    /// Records that a peer claims a name. Returns the name under which the peer is shown. A
    /// send-only peer, such as `peers --ephemeral`, may only look: until it says something, nobody
    /// is misled by its name, and the key of each such program is another one.
    fn observe_peer(&mut self, stream: StreamId, peer: Peer) -> Nick {
        let link = self.ctx.links.get(&stream);
        let nick = match link.is_some_and(Link::is_send_only) {
            true => peer.nick,
            false => self.known_peers.observe(&mut self.ctx, &peer),
        };
        if let Some(link) = self.ctx.links.get_mut(&stream) {
            link.peer.nick = nick.clone();
        }
        nick
    }

    pub(super) fn update_shared_rooms(&mut self, stream: StreamId) {
        let change = self.rooms.update_shared(&mut self.ctx, stream);
        for room in &change.removed {
            self.replication.room_unshared(stream, room);
        }
        for room in &change.added {
            self.routes.room_shared(&mut self.ctx, stream, room);
            self.replication
                .room_shared(&mut self.ctx, &self.logs, stream, room);
        }
        let unreachable = self
            .routes
            .rooms_unshared(&mut self.ctx, stream, &change.removed);
        if let Some(peer) = self.ctx.links.get(&stream).map(|link| link.peer.id) {
            self.update_presence(&peer);
        }
        for peer in &unreachable {
            self.update_presence(peer);
        }
        self.dialer.update_peer_rooms(&self.ctx, stream);
    }

    pub(super) fn update_presence(&mut self, peer: &PeerId) {
        self.route_changed(None, peer);
    }

    /// Handles a change of the routes to a peer in a room, or of its link. Routes to a linked
    /// member change nothing for the user.
    fn route_changed(&mut self, room: Option<&Room>, peer: &PeerId) {
        let ctx = &mut self.ctx;
        if room.is_none_or(|room| !ctx.is_linked_member(peer, room)) {
            self.presence.update(ctx, self.rooms.joined(), peer);
        }
        self.delivery_tracker
            .peer_reachable(ctx, &mut self.logs, peer);
    }

    fn schedule_route_updates(&mut self) {
        for room in self.rooms.joined() {
            self.routes.schedule_update(&self.ctx, room);
        }
    }

    fn handle_members(&mut self, stream: StreamId, peer: &PeerId, members: Members) {
        let room = Room::parse_canonical(&members.target);
        for other in self.routes.handle_update(&mut self.ctx, stream, members) {
            self.route_changed(room.as_ref(), &other);
            let (ctx, logs) = (&self.ctx, &self.logs);
            let rooms = self.rooms.joined();
            self.replication
                .offer_to_unreached(ctx, logs, peer, &other, rooms);
            self.replication.offer_to_carriers_for(ctx, logs, &other);
            self.replication
                .offer_to_neighbour_of(ctx, logs, stream, &other);
            self.replication
                .repeat_receipts(ctx, logs, stream, &other, rooms);
        }
    }

    fn handle_message(&mut self, stream: StreamId, message: Message, events: &mut Vec<LinkEvent>) {
        let ctx = &mut self.ctx;
        let Some(link) = ctx.links.get(&stream) else {
            return;
        };
        let peer = link.peer.id;
        match message {
            Message::Rooms { rooms } => match self.rooms.handle_rooms(ctx, stream, rooms) {
                true => self.update_shared_rooms(stream),
                false => liveness::close_overloading(ctx, stream, events),
            },
            Message::Have(have) => self.replication.handle_have(
                ctx,
                &mut self.logs,
                &self.rooms,
                &mut self.delivery_tracker,
                stream,
                have,
            ),
            Message::Want { target, logs } => self
                .replication
                .handle_want(ctx, &self.logs, stream, &target, &logs),
            Message::Ping { nonce } => ctx.send(stream, &Message::Pong { nonce }),
            Message::HeardRequest => {
                heard_beacons::answer(ctx, self.dialer.discovered(), stream);
            }
            Message::HeardReply { age } => heard_beacons::handle_reply(ctx, stream, age),
            Message::Pong { nonce } => {
                liveness::handle_pong(ctx, stream, nonce);
                self.handshakes.handle_pong(ctx, stream);
            }
            Message::Profile { username } => {
                let nick = Nick::new_or_placeholder(&username);
                if link.peer.nick != nick {
                    self.presence.record_own_change(ctx, &peer);
                }
                let nick = self.observe_peer(stream, Peer { id: peer, nick });
                self.presence.rename(&mut self.ctx, &peer, nick);
                self.schedule_route_updates();
            }
            Message::Presence { away } => {
                let away = away.as_deref().map(AwayText::cut);
                self.presence.set_away(ctx, stream, away);
            }
            Message::ProfileRequest(request) => profiles::answer(ctx, stream, &request),
            Message::ProfileReply(reply) => self.profiles.handle_reply(ctx, stream, &reply),
            Message::Typing { target } => {
                self.typists.handle_typing(ctx, stream, &target);
                self.observe_author(&peer);
            }
            Message::Members(members) => self.handle_members(stream, &peer, members),
            Message::MembersDigest { target, digest } => {
                if let Some(members) = linked_members::expand_digest(ctx, stream, target, &digest) {
                    self.handle_members(stream, &peer, members);
                }
            }
            Message::MembersRequest { target } => self.routes.handle_request(ctx, stream, &target),
            Message::Clock {
                peer: author,
                run,
                age,
                wall,
            } => {
                let clock = PeerClock::new(ctx.now.time, age, wall);
                ctx.author_clocks
                    .record_relayed(author, AuthorClock { run, clock }, peer);
            }
            Message::Peers { peers } => {
                self.exchange.handle_peers(ctx, stream, &peers);
                self.dialer.handle_introductions(ctx, stream, &peers);
            }
            Message::Bye { reason } => liveness::handle_bye(ctx, stream, reason, events),
            Message::Hello(_) | Message::Unknown => {}
        }
    }
}
