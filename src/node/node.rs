//! The dispatcher: hands each input to the features it concerns. It decides nothing.
use crate::base::error_code::ErrorCode;
use crate::base::event::{Command, Input, Notice, Output, Peer, StreamId};
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room, Target};
use crate::base::table::SortedSet;
use crate::base::time::{Now, Time};
use crate::node::connection::handshake::Handshakes;
use crate::node::connection::liveness;
use crate::node::connection::liveness::LinkEvent;
use crate::node::context::{Context, NodeConfig};
use crate::node::discovery::dialer::Dialer;
use crate::node::membership::known_peers::KnownPeers;
use crate::node::membership::presence::Presence;
use crate::node::membership::resolve_name::NameResolution;
use crate::node::membership::rooms::Rooms;
use crate::node::membership::roster;
use crate::node::membership::routes::Routes;
use crate::node::replication::delivery::DeliveryTracker;
use crate::node::replication::engine::Replication;
use crate::node::replication::fork_repair;
use crate::node::replication::ingest::IngestOutcome;
use crate::node::replication::logs::Logs;
use crate::wire::message::{ByeReason, Message};

pub struct Node {
    pub(super) ctx: Context,
    pub(super) handshakes: Handshakes,
    pub(super) known_peers: KnownPeers,
    pub(super) logs: Logs,
    pub(super) rooms: Rooms,
    routes: Routes,
    pub(super) replication: Replication,
    pub(super) delivery_tracker: DeliveryTracker,
    pub(super) name_resolution: NameResolution,
    presence: Presence,
    pub(super) dialer: Dialer,
    /// When the own name last changed.
    last_renamed: Time,
    has_left: bool,
}

impl Node {
    pub fn new(setup: NodeConfig, now: Now) -> Node {
        let beacons = setup.beacons_enabled;
        let (mut ctx, known, resume, noted) = Context::new(setup, now);
        let logs = Logs::new(&mut ctx, resume);
        let receipts = DeliveryTracker::new(&ctx, &noted);
        Node {
            ctx,
            handshakes: Handshakes::default(),
            known_peers: KnownPeers::new(known),
            logs,
            rooms: Rooms::default(),
            routes: Routes::default(),
            replication: Replication::default(),
            delivery_tracker: receipts,
            name_resolution: NameResolution::default(),
            presence: Presence::default(),
            dialer: Dialer::new(beacons),
            last_renamed: Time(0),
            has_left: false,
        }
    }

    /// Takes in what happened. Never fails; afterwards [`Node::poll_output`] must be drained before the next call.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        debug_assert!(
            self.ctx.is_drained(),
            "outputs must be drained before the next input"
        );
        self.ctx.now = now;
        let mut events = Vec::new();
        if !self.has_left {
            self.handle_timeouts(&mut events);
            self.dispatch(input, &mut events);
            self.handle_link_events(events);
            self.send_resolved();
            if std::mem::take(&mut self.handshakes.has_new_duplicate) {
                // Each goes on under numbers of its own.
                self.logs.renew_incarnation(&mut self.ctx);
            }
            self.delivery_tracker
                .end_turn(&mut self.ctx, &mut self.logs);
            let rooms = self.rooms.joined();
            self.replication
                .end_turn(&mut self.ctx, &self.logs, &self.delivery_tracker, rooms);
            self.dialer.end_turn(&self.ctx);
            if self.delivery_tracker.is_awaiting_delivery() {
                let delivery = self.delivery();
                self.delivery_tracker
                    .notify_if_settled(&mut self.ctx, &delivery);
            }
        }
        self.ctx.flush();
    }

    /// What is to be done next; `None`: nothing more, until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.ctx.poll_output()
    }

    /// When to come back with [`Input::Wake`] at the latest.
    pub fn next_timeout(&self) -> Option<Time> {
        if self.has_left {
            return None;
        }
        let delivery = self
            .delivery_tracker
            .is_awaiting_delivery()
            .then(|| self.delivery());
        let deadlines = [
            self.handshakes.deadline(self.ctx.now.time),
            liveness::deadline(&self.ctx),
            self.presence.deadline(),
            self.routes.deadline(),
            self.dialer.deadline(&self.ctx, &self.handshakes),
            self.replication.deadline(&self.ctx),
            self.delivery_tracker.deadline(delivery.as_ref()),
            self.name_resolution.deadline(&self.ctx),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn handle_timeouts(&mut self, events: &mut Vec<LinkEvent>) {
        self.handshakes.handle_timeout(&mut self.ctx, events);
        liveness::handle_timeout(&mut self.ctx, events);
        for peer in self.presence.handle_timeout(&self.ctx) {
            self.update_presence(&peer);
        }
        for peer in self.routes.handle_timeout(&mut self.ctx) {
            self.update_presence(&peer);
        }
        self.dialer
            .handle_timeout(&mut self.ctx, &mut self.handshakes);
        self.dialer.prune_links(&mut self.ctx, events);
        self.replication
            .wake(&mut self.ctx, &mut self.logs, &self.rooms);
    }

    /// What was said to names goes to those who are meant.
    fn send_resolved(&mut self) {
        let coming = self.is_expecting_link();
        let ctx = &mut self.ctx;
        for (reader, lines, action) in
            self.name_resolution
                .resolve_pending(ctx, &mut self.known_peers, coming)
        {
            let target = Target::Peer(reader);
            self.replication
                .publish(ctx, &mut self.logs, &target, lines, action);
        }
    }

    fn dispatch(&mut self, input: Input<'_>, events: &mut Vec<LinkEvent>) {
        let ctx = &mut self.ctx;
        match input {
            Input::Timeout => {}
            Input::Datagram {
                interface,
                source,
                bytes,
            } => self
                .dialer
                .handle_datagram(ctx, &mut self.handshakes, interface, source, bytes),
            Input::InterfacesChanged(interfaces) => {
                self.dialer.handle_interfaces(ctx, interfaces);
                self.dialer.handle_timeout(ctx, &mut self.handshakes);
            }
            Input::Accepted { stream, address } => self
                .handshakes
                .handle_accepted(ctx, stream, address, events),
            Input::Connected { stream } => self.handshakes.handle_connected(ctx, stream, events),
            Input::Bytes { stream, bytes } => {
                liveness::handle_bytes(ctx, stream, bytes, events);
                self.handshakes
                    .handle_bytes(ctx, stream, bytes, self.rooms.joined(), events)
            }
            Input::Blocked { stream } => {
                if let Some(link) = ctx.links.get_mut(&stream) {
                    link.is_blocked = true;
                }
            }
            Input::Writable { stream } => ctx.mark_writable(stream),
            Input::Closed { stream } => {
                self.handshakes.handle_closed(ctx, stream, events);
                liveness::handle_closed(ctx, stream, events);
            }
            Input::Candidate {
                address,
                peer,
                found_via: found,
            } => {
                self.dialer.handle_candidate(ctx, address, peer, found);
                self.dialer.handle_timeout(ctx, &mut self.handshakes);
            }
            Input::FolderOpened {
                folder,
                ranges,
                existed: before,
            } => {
                let room = folder.room();
                if !room.as_ref().is_some_and(|room| self.rooms.is_joined(room)) {
                    self.logs.restore_ranges(ctx, &folder, ranges);
                    let joined = room.is_some_and(|room| self.rooms.join(ctx, &room, before));
                    fork_repair::resume_folder(ctx, &mut self.logs, &folder);
                    if joined {
                        self.dialer.set_joined_rooms(ctx, self.rooms.joined());
                        self.update_all_shared_rooms();
                    }
                }
            }
            Input::KnownPeers(list) => self.known_peers.reload(list),
            Input::Command(command) => self.handle_command(command),
            Input::Loaded(reply) => self.replication.handle_loaded(
                ctx,
                &mut self.logs,
                &mut self.delivery_tracker,
                reply,
            ),
            Input::SaveFailed { batches } => {
                self.replication
                    .handle_save_failed(ctx, &mut self.logs, &batches)
            }
            Input::Evicted { log, low } => self.logs.raise_low(&log, low),
        }
    }

    fn handle_command(&mut self, command: Command) {
        let ctx = &mut self.ctx;
        match command {
            Command::SendToRoom {
                room,
                lines,
                action,
            } => match room.or_else(|| self.rooms.current().cloned()) {
                Some(room) if self.rooms.is_joined(&room) => self.replication.publish(
                    ctx,
                    &mut self.logs,
                    &Target::Room(room),
                    lines,
                    action,
                ),
                Some(room) => ctx.notify(Notice::Error {
                    code: ErrorCode::Room,
                    content: format!("not in {room}: /join {room} first"),
                }),
                None => ctx.notify(Notice::Error {
                    code: ErrorCode::Room,
                    content: "in no room: /join one first".into(),
                }),
            },
            Command::SendToPeer {
                selector: whom,
                lines,
                action,
                timeout_ms: within,
            } => self
                .name_resolution
                .resolve_and_send(ctx, whom, lines, action, within),
            Command::Resolve {
                request_id: serial,
                selector: whom,
                timeout_ms: within,
            } => self.name_resolution.resolve(ctx, serial, whom, within),
            Command::Join(room) => {
                if self.rooms.is_joined(&room) {
                    self.rooms.set_current(&room);
                }
            }
            Command::Part(room) => match room.or_else(|| self.rooms.current().cloned()) {
                Some(room) if self.rooms.part(ctx, &room) => {
                    self.dialer.set_joined_rooms(ctx, self.rooms.joined());
                    self.update_all_shared_rooms();
                    self.routes.room_left(&room);
                    self.logs.forget_room(&self.ctx, &room);
                    self.replication.room_left(&mut self.ctx, &room);
                }
                Some(room) => ctx.notify(Notice::Error {
                    code: ErrorCode::Room,
                    content: format!("not in {room}"),
                }),
                None => ctx.notify(Notice::Error {
                    code: ErrorCode::Room,
                    content: "in no room".into(),
                }),
            },
            Command::Nick(nick) => self.set_nick(nick),
            Command::Peers => {
                let view = roster::list_peers(ctx, &self.dialer);
                ctx.notify(Notice::Peers(view));
            }
            Command::Rooms => ctx.notify(Notice::Rooms(self.rooms.list())),
            Command::Stats => {
                let stats = self.stats();
                self.ctx.notify(Notice::Stats(stats));
            }
            Command::AwaitDelivery { log, sequence } => self.logs.adopt_lines(ctx, log, sequence),
            Command::MarkRead { log, sequence } => {
                self.replication.mark_read(ctx, &self.logs, log, sequence)
            }
            Command::Finish {
                required_peers: need,
            } => self.delivery_tracker.await_delivery(need),
            Command::Leave => {
                self.delivery_tracker.persist(ctx, &mut self.logs);
                // Nobody is shown as gone because we go.
                liveness::close_all(ctx, &mut Vec::new());
                self.handshakes.close_all(ctx, &mut Vec::new());
                self.dialer.withdraw_beacon(ctx);
                self.has_left = true;
            }
        }
    }

    fn set_nick(&mut self, nick: Nick) {
        let username = nick.to_string();
        let old = std::mem::replace(&mut self.ctx.nick, nick);
        if old == self.ctx.nick {
            return;
        }
        self.last_renamed = self.ctx.now.time;
        for stream in self.ctx.links.keys().copied().collect::<Vec<_>>() {
            self.ctx.send(
                stream,
                &Message::Profile {
                    username: username.clone(),
                },
            );
        }
        let (peer, at) = (self.ctx.own_peer(), self.ctx.now.wall);
        for room in self.rooms.joined() {
            self.ctx.notify(Notice::Renamed {
                room: room.clone(),
                peer: peer.clone(),
                old: old.clone(),
                at,
            });
        }
    }

    /// Events may bring further events, when a link ends.
    fn handle_link_events(&mut self, mut events: Vec<LinkEvent>) {
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
                    LinkEvent::Batch(stream, bytes) => {
                        let (ctx, logs) = (&mut self.ctx, &mut self.logs);
                        let receipts = &mut self.delivery_tracker;
                        let verdict = self
                            .replication
                            .handle_batch(ctx, logs, receipts, stream, bytes);
                        if verdict == IngestOutcome::ProtocolViolation {
                            self.ctx.counters.broken_links += 1;
                            liveness::close(
                                &mut self.ctx,
                                stream,
                                ByeReason::InvalidMessage,
                                &mut events,
                            );
                        }
                    }
                    LinkEvent::Down {
                        stream,
                        peer,
                        established_at: since,
                        reachable: reached,
                        is_replaced: replaced,
                        ..
                    } => {
                        self.replication.link_down(stream);
                        self.replication.offer_to_carriers(
                            &self.ctx,
                            &self.logs,
                            &self.delivery_tracker,
                        );
                        match replaced {
                            true => self.presence.expect_replacement(&self.ctx, &peer.id),
                            false => self.update_presence(&peer.id),
                        }
                        self.handle_routes_lost(&peer.id, &reached);
                        self.dialer.link_down(&mut self.ctx, &peer.id, since);
                        if !replaced {
                            self.handshakes
                                .promote_deferred(&mut self.ctx, peer.id, &mut events);
                        }
                    }
                    LinkEvent::Failed {
                        stream,
                        is_self: own,
                    } => self.dialer.handle_dial_failed(&mut self.ctx, stream, own),
                }
            }
        }
    }

    fn link_up(&mut self, stream: StreamId) {
        let Some(peer) = self.ctx.links.get(&stream).map(|link| link.peer.clone()) else {
            return;
        };
        if self.dialer.link_up(stream, peer.id) {
            self.known_peers.bind(&mut self.ctx, &peer);
        }
        self.observe_peer(stream, peer);
        self.delivery_tracker.link_up(&self.ctx, stream);
        self.rooms.link_up(&mut self.ctx, stream);
        let begun = self
            .ctx
            .links
            .get(&stream)
            .map(|link| link.handshake_started_at);
        if begun.is_some_and(|begun| begun <= self.last_renamed) {
            let username = self.ctx.nick.to_string();
            self.ctx.send(stream, &Message::Profile { username });
        }
        self.update_shared_rooms(stream);
        self.replication.link_up(&self.ctx, &self.logs, stream);
        self.replication
            .offer_to_carriers(&self.ctx, &self.logs, &self.delivery_tracker);
    }

    /// A peer tells its name.
    fn observe_peer(&mut self, stream: StreamId, peer: Peer) -> Nick {
        let nick = self.known_peers.observe(&mut self.ctx, &peer);
        if let Some(link) = self.ctx.links.get_mut(&stream) {
            link.peer.nick = nick.clone();
        }
        nick
    }

    fn update_shared_rooms(&mut self, stream: StreamId) {
        let change = self.rooms.update_shared(&mut self.ctx, stream);
        for room in &change.removed {
            self.replication.room_unshared(stream, room);
            self.routes.schedule_update(&self.ctx, room);
        }
        for room in &change.added {
            self.routes.room_shared(&mut self.ctx, stream, room);
            self.replication
                .room_shared(&mut self.ctx, &self.logs, stream, room);
        }
        let link = self.ctx.links.get_mut(&stream);
        let reached = link.map(|link| {
            let gone = |room: &Room| change.removed.contains(room);
            let of_gone = link.routes.iter().filter(|(room, _)| gone(room));
            let reached: SortedSet<PeerId> = of_gone
                .flat_map(|(_, there)| there.keys())
                .copied()
                .collect();
            link.routes.retain(|room, _| !gone(room));
            (link.peer.id, reached)
        });
        if let Some((peer, reached)) = reached {
            self.update_presence(&peer);
            reached.iter().for_each(|peer| self.update_presence(peer));
        }
        self.dialer.update_peer_rooms(&self.ctx, stream);
    }

    /// Is this peer there, and in which rooms?
    fn update_presence(&mut self, peer: &PeerId) {
        self.presence
            .update(&mut self.ctx, self.rooms.joined(), peer);
        self.delivery_tracker
            .peer_reachable(&mut self.ctx, &self.logs, peer);
    }

    /// A link ended: whom it reached may be gone, and its author's last lines may not be with everybody.
    fn handle_routes_lost(&mut self, peer: &PeerId, reached: &SortedSet<PeerId>) {
        self.routes.start_hold_down(&self.ctx, peer);
        for peer in reached.iter() {
            self.routes.start_hold_down(&self.ctx, peer);
            self.update_presence(peer);
        }
        let rooms = self.rooms.joined();
        for room in rooms {
            self.routes.schedule_update(&self.ctx, room);
        }
        self.replication
            .author_unlinked(&self.ctx, &self.logs, peer, rooms);
        self.replication
            .select_sources(&mut self.ctx, &self.logs, &self.rooms);
    }

    fn update_all_shared_rooms(&mut self) {
        for stream in self.ctx.links.keys().copied().collect::<Vec<_>>() {
            self.update_shared_rooms(stream);
        }
    }

    fn handle_message(&mut self, stream: StreamId, message: Message, events: &mut Vec<LinkEvent>) {
        let ctx = &mut self.ctx;
        let Some(link) = ctx.links.get(&stream) else {
            return;
        };
        let (peer, run) = (link.peer.clone(), link.run);
        match message {
            Message::Rooms { rooms } => {
                self.rooms.handle_rooms(ctx, stream, rooms);
                self.update_shared_rooms(stream);
            }
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
                .progress_mut()
                .handle_want(ctx, &self.logs, stream, &target, &logs),
            Message::Ping { nonce } => ctx.send(stream, &Message::Pong { nonce }),
            Message::Pong { nonce } => {
                liveness::handle_pong(ctx, stream, nonce);
                self.handshakes.handle_pong(ctx, stream);
            }
            Message::Profile { username } => {
                let (id, nick) = (peer.id, Nick::new_or_placeholder(&username));
                let nick = self.observe_peer(stream, Peer { id, nick });
                let ctx = &mut self.ctx;
                self.presence.rename(ctx, &peer.id, nick);
                for room in self.rooms.joined() {
                    self.routes.schedule_update(ctx, room);
                }
            }
            Message::Members(told) => {
                for other in self.routes.handle_update(ctx, stream, told) {
                    self.update_presence(&other);
                    self.replication.peer_reachable(&self.ctx, stream, &other);
                    let rooms = self.rooms.joined();
                    self.replication
                        .offer_to_unreached(&self.ctx, &self.logs, &peer.id, &other, rooms);
                }
            }
            Message::Bye { reason } => {
                // The older of two twins is told so and stays; the newer one's stream is closed by the other side.
                if reason == ByeReason::DuplicateIdentity {
                    return self
                        .handshakes
                        .report_duplicate(ctx, None, None, Some(peer));
                }
                liveness::handle_bye(ctx, stream, reason == ByeReason::Duplicate, events);
                if reason == ByeReason::Leave {
                    self.dialer.forget_peer(&peer.id);
                    self.routes.remove_peer(ctx, &peer.id, run);
                }
            }
            Message::Hello(_) | Message::Unknown => {}
        }
    }
}
