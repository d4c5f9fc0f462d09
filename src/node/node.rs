//! The dispatcher. Passes each input to the features that it concerns, in a fixed order. Makes no
//! decisions itself.
use crate::base::event::command::Command;
use crate::base::event::input::Input;
use crate::base::event::notice::Notice;
use crate::base::event::output::Output;
use crate::base::guests::lsnp::{LsnpInput, LsnpRequest};
use crate::base::lines::Lines;
use crate::base::name::{FolderName, Target};
use crate::base::range::LogRanges;
use crate::base::text::line_form::LineForm;
use crate::base::time::{Now, Time};
use crate::node::config::NodeConfig;
use crate::node::connection::duplicate_identity::ReportedDuplicates;
use crate::node::connection::handshake::Handshakes;
use crate::node::connection::liveness;
use crate::node::connection::liveness::LinkEvent;
use crate::node::context::Context;
use crate::node::discovery::dialer::Dialer;
use crate::node::discovery::exchange::PeerExchange;
use crate::node::discovery::heard_beacons;
use crate::node::guests::guests::{GuestConfig, Guests};
use crate::node::membership::gone_peers::GonePeers;
use crate::node::membership::known_peers::KnownPeers;
use crate::node::membership::own_presence::OwnPresence;
use crate::node::membership::presence::Presence;
use crate::node::membership::profiles::{self, Profiles};
use crate::node::membership::resolve_name::NameResolution;
use crate::node::membership::rooms::Rooms;
use crate::node::membership::roster;
use crate::node::membership::routes::Routes;
use crate::node::membership::typists::Typists;
use crate::node::replication::delivery::DeliveryTracker;
use crate::node::replication::engine::Replication;
use crate::node::replication::logs::publication::Publication;
use crate::node::replication::logs::table::Logs;
use crate::node::timer::{Deadlines, Timer};

/// One peer of the network, without I/O. All work happens in [`Node::handle`].
pub struct Node {
    pub(super) ctx: Context,
    pub(super) handshakes: Handshakes,
    pub(super) reported_duplicates: ReportedDuplicates,
    pub(super) known_peers: KnownPeers,
    pub(super) logs: Logs,
    pub(super) rooms: Rooms,
    pub(super) routes: Routes,
    pub(super) replication: Replication,
    pub(super) delivery_tracker: DeliveryTracker,
    pub(super) name_resolution: NameResolution,
    pub(super) presence: Presence,
    pub(super) dialer: Dialer,
    pub(super) exchange: PeerExchange,
    guests: Guests,
    pub(super) own_presence: OwnPresence,
    pub(super) profiles: Profiles,
    pub(super) typists: Typists,
    pub(super) gone_peers: GonePeers,
    has_left: bool,
}

impl Node {
    /// A node without rooms, interfaces and links. Inputs add them.
    pub fn new(mut config: NodeConfig, now: Now) -> Node {
        let known_peers = std::mem::take(&mut config.known_peers);
        let known_peers = KnownPeers::new(known_peers);
        let receipts = std::mem::take(&mut config.receipts);
        let resume = config.resume.take();
        let addresses = std::mem::take(&mut config.addresses);
        let beacons_enabled = config.beacons_enabled;
        let of_guests = GuestConfig {
            lsnp: config.lsnp.take(),
            speaks_go: config.speaks_go,
            uses_grapes: config.uses_grapes,
        };
        let mut ctx = Context::new(config, now);
        let guests = Guests::new(&mut ctx, of_guests);
        known_peers.index(&mut ctx);
        let dialer = Dialer::new(&mut ctx, beacons_enabled, &addresses);
        let mut logs = Logs::new(&mut ctx, resume);
        let delivery_tracker = DeliveryTracker::restore(&ctx, &mut logs, &receipts);
        Node {
            ctx,
            handshakes: Handshakes::default(),
            reported_duplicates: ReportedDuplicates::default(),
            known_peers,
            logs,
            rooms: Rooms::default(),
            routes: Routes::default(),
            replication: Replication::default(),
            delivery_tracker,
            name_resolution: NameResolution::default(),
            presence: Presence::default(),
            dialer,
            exchange: PeerExchange::default(),
            guests,
            own_presence: OwnPresence::default(),
            profiles: Profiles::default(),
            typists: Typists::default(),
            gone_peers: GonePeers::default(),
            has_left: false,
        }
    }

    /// Runs one turn: handles one input. [`Input::Timeout`] handles the timers that are due at
    /// `now`. Never fails.
    /// Afterwards the caller must call [`Node::poll_output`] until it returns `None`.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        debug_assert!(
            self.ctx.is_drained(),
            "outputs must be drained before the next input"
        );
        self.ctx.now = now;
        let mut events = Vec::new();
        if !self.has_left {
            liveness::close_overflowed(&mut self.ctx, &mut events);
            let is_timeout = matches!(input, Input::Timeout);
            self.dispatch(input, &mut events);
            self.handle_link_events(events);
            if self.name_resolution.is_searching() {
                let is_expecting_link = self.is_expecting_link();
                let known_peers = &mut self.known_peers;
                self.name_resolution.end_turn(
                    &mut self.ctx,
                    known_peers,
                    is_expecting_link,
                    is_timeout,
                );
            }
            self.delivery_tracker
                .end_turn(&mut self.ctx, &mut self.logs);
            let rooms = self.rooms.joined();
            self.replication
                .end_turn(&mut self.ctx, &mut self.logs, rooms);
            self.dialer.end_turn(&self.ctx);
            if !self.replication.is_store_tried() {
                self.guests.end_turn(&mut self.ctx, rooms);
            }
        }
        self.ctx.flush();
    }

    /// Takes the next output. The caller must execute the outputs in this order. `None` means that
    /// the turn is over.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.ctx.poll_output()
    }

    /// When the caller must pass [`Input::Timeout`]. If other inputs have come by then, they go
    /// first: a program that runs late may have received what the timer waits for.
    pub fn next_timeout(&self) -> Option<Time> {
        self.next_timer().map(|(_, at)| at)
    }

    /// The earliest deadline and its timer. `None` if nothing is due before another input.
    pub fn next_timer(&self) -> Option<(Timer, Time)> {
        if self.has_left {
            return None;
        }
        let ctx = &self.ctx;
        let mut deadlines = Deadlines::default();
        self.handshakes.state_deadlines(ctx, &mut deadlines);
        liveness::state_deadlines(ctx, &mut deadlines);
        self.presence.state_deadlines(&mut deadlines);
        self.typists.state_deadlines(&mut deadlines);
        self.profiles.state_deadlines(&mut deadlines);
        self.routes.state_deadlines(ctx, &mut deadlines);
        self.dialer
            .state_deadlines(ctx, &self.handshakes, &mut deadlines);
        self.exchange.state_deadlines(ctx, &mut deadlines);
        self.guests.state_deadlines(ctx, &mut deadlines);
        self.name_resolution.state_deadlines(ctx, &mut deadlines);
        self.replication.state_deadlines(ctx, &mut deadlines);
        self.delivery_tracker.state_deadlines(&mut deadlines);
        deadlines.next()
    }

    fn handle_timeouts(&mut self, events: &mut Vec<LinkEvent>) {
        self.handshakes.handle_timeout(&mut self.ctx, events);
        liveness::handle_timeout(&mut self.ctx, events);
        self.typists.handle_timeout(&mut self.ctx);
        self.profiles.handle_timeout(&self.ctx);
        for peer in self.presence.handle_timeout(&mut self.ctx) {
            self.update_presence(&peer);
        }
        for peer in self.routes.handle_timeout(&mut self.ctx) {
            self.update_presence(&peer);
        }
        self.dialer
            .handle_timeout(&mut self.ctx, &mut self.handshakes);
        self.dialer.prune_links(&mut self.ctx, events);
        self.exchange
            .handle_timeout(&mut self.ctx, self.dialer.discovered());
        self.guests.handle_timeout(&mut self.ctx);
        self.replication
            .handle_timeout(&mut self.ctx, &mut self.logs, &self.rooms);
    }

    fn dispatch(&mut self, input: Input<'_>, events: &mut Vec<LinkEvent>) {
        let ctx = &mut self.ctx;
        let (handshakes, dialer) = (&mut self.handshakes, &mut self.dialer);
        if self.guests.handle_input(ctx, handshakes, dialer, &input) {
            return;
        }
        match input {
            Input::Timeout => self.handle_timeouts(events),
            Input::Datagram {
                interface,
                source,
                bytes,
            } => self
                .dialer
                .handle_datagram(ctx, &mut self.handshakes, interface, source, bytes),
            Input::Lsnp(datagram) => self.handle_lsnp(&datagram),
            Input::LsnpLine { line, is_sent } => self.guests.handle_lsnp_line(ctx, &line, is_sent),
            Input::InterfacesChanged(interfaces) => {
                self.dialer.handle_interfaces(ctx, interfaces);
                self.guests.handle_interfaces(ctx);
                self.dialer.handle_timeout(ctx, &mut self.handshakes);
            }
            Input::Accepted { stream, address } => {
                self.dialer.record_accepted(ctx.now.time);
                self.handshakes
                    .handle_accepted(ctx, stream, address, events);
            }
            Input::Connected { stream } => self.handshakes.handle_connected(ctx, stream, events),
            Input::Bytes { stream, bytes } => {
                liveness::handle_bytes(ctx, stream, bytes, events);
                self.handshakes
                    .handle_bytes(ctx, stream, bytes, self.rooms.joined(), events)
            }
            Input::Blocked { stream } => ctx.mark_blocked(stream),
            Input::Writable { stream } => ctx.mark_writable(stream),
            Input::Closed { stream } => {
                self.handshakes.handle_closed(ctx, stream, events);
                liveness::handle_closed(ctx, stream, events);
            }
            Input::EndpointResolved {
                endpoint,
                addresses,
                peer,
                is_requested,
            } => {
                self.dialer
                    .handle_endpoint(ctx, &endpoint, &addresses, peer, is_requested);
                self.dialer.handle_timeout(ctx, &mut self.handshakes);
            }
            Input::PeerFound {
                via,
                peer,
                addresses,
            } => {
                self.dialer.handle_found(ctx, via, peer, &addresses);
                self.dialer.handle_timeout(ctx, &mut self.handshakes);
            }
            Input::ServiceFound { .. } => {}
            Input::PortMapped(address) => self.exchange.handle_mapping(ctx, address),
            Input::FolderOpened {
                folder,
                ranges,
                existed,
            } => self.handle_folder_opened(&folder, ranges, existed),
            Input::ReaderOpened { room, start } => {
                self.replication.news_mut().open_reader(room, start)
            }
            Input::KnownPeers(list) => {
                self.known_peers.reload(ctx, list);
                self.enforce_bans(events);
            }
            Input::Command(command) => self.handle_command(command),
            Input::Loaded(reply) => self.replication.handle_loaded(
                ctx,
                &mut self.logs,
                &mut self.delivery_tracker,
                reply,
            ),
            Input::SaveFailed { batches } => {
                self.guests.handle_save_failed(ctx, &batches);
                self.replication
                    .handle_save_failed(ctx, &mut self.logs, &batches)
            }
            Input::LinesLost(lost) => {
                let known_peers = &self.known_peers;
                self.replication
                    .handle_lost(ctx, &mut self.logs, known_peers, &lost)
            }
            Input::PrintedDamage(parts) => self.replication.news_mut().record_printed(parts),
            Input::Evicted { log, low } => self.logs.raise_low(&log, low),
        }
    }

    fn handle_command(&mut self, command: Command) {
        let ctx = &mut self.ctx;
        match command {
            Command::Publish {
                target,
                lines,
                form,
                request,
            } => {
                let room = target.room().cloned();
                if room.is_none() || self.rooms.resolve(ctx, room).is_some() {
                    let publication = Publication {
                        target,
                        lines,
                        form,
                        request,
                    };
                    self.replication.publish(ctx, &mut self.logs, publication);
                }
            }
            Command::SendToGuest(lines) => self.guests.send_direct(ctx, &lines),
            Command::Lsnp(request) => {
                let lists_users = request == LsnpRequest::List;
                if self.guests.handle_request(ctx, request) && lists_users {
                    self.list_peers();
                }
            }
            Command::Resolve {
                request_id,
                selector,
                timeout_ms,
            } => self
                .name_resolution
                .resolve(ctx, request_id, selector, timeout_ms),
            Command::Join(room) => self.rooms.set_current(room),
            Command::Part(room) => {
                self.replication.send_pending_acks(ctx, &self.logs);
                if let Some(room) = self.rooms.part(ctx, room) {
                    self.handle_rooms_changed();
                    self.routes.room_left(&room);
                    self.logs.forget_room(&self.ctx, &room);
                    self.replication.room_left(&mut self.ctx, &room);
                }
            }
            Command::Nick(nick) => self.own_presence.set_nick(ctx, nick, self.rooms.joined()),
            Command::Away(away) => self.own_presence.set_away(ctx, away, self.rooms.joined()),
            Command::Type(target) => self.typists.type_to(ctx, &self.known_peers, target),
            Command::Profile(command) => profiles::execute(ctx, command),
            Command::FetchProfile { peer, wants_avatar } => {
                self.profiles.fetch(ctx, peer, wants_avatar)
            }
            Command::Peers => self.list_peers(),
            Command::Stats => {
                let counters = self.stats();
                let troubles = Vec::new();
                self.ctx.notify(Notice::Stats { counters, troubles });
            }
            Command::AskHeard => heard_beacons::ask(ctx),
            Command::Sync => {
                ctx.last_progress = ctx.now.time;
                liveness::probe_all(ctx);
            }
            Command::AwaitDelivery { log, first, .. } => self.logs.adopt_lines(&log, first),
            Command::MarkRead { log, sequence } => {
                self.replication
                    .mark_read(ctx, &mut self.logs, &log, sequence)
            }
            Command::Leave => {
                self.delivery_tracker.persist(ctx, &mut self.logs);
                self.replication.send_pending_acks(ctx, &self.logs);
                // The events are dropped, so that peers are not shown as gone because we leave.
                liveness::close_all(ctx, &mut Vec::new());
                self.handshakes.close_all(ctx, &mut Vec::new());
                self.dialer.withdraw_beacon(ctx);
                self.guests.leave(ctx);
                self.has_left = true;
            }
        }
    }

    fn list_peers(&mut self) {
        let ctx = &mut self.ctx;
        let guests = ctx.guests.list();
        let peers = roster::list_peers(ctx, &self.dialer, &self.gone_peers);
        if !guests.is_empty() {
            ctx.notify(Notice::Guests(guests));
        }
        ctx.notify(Notice::Peers(peers));
    }

    /// Handles a datagram of LSNP. If we repeat what guests say in a room, publishes their line
    /// there, as a line of ours.
    fn handle_lsnp(&mut self, datagram: &LsnpInput<'_>) {
        let repeated = self.guests.handle_lsnp(&mut self.ctx, datagram);
        let repeated = repeated.filter(|(room, _)| self.rooms.is_joined(room));
        let mut lines = Lines::default();
        if let Some((room, line)) = repeated
            && lines.push(line.as_bytes()).is_ok()
        {
            self.handle_command(Command::Publish {
                target: Target::Room(room),
                lines,
                form: LineForm::Text,
                request: None,
            });
        }
    }

    /// Restores the logs of an opened folder. If it is the folder of a room, joins that room.
    fn handle_folder_opened(&mut self, folder: &FolderName, ranges: LogRanges, existed: bool) {
        let (ctx, logs, rooms) = (&mut self.ctx, &mut self.logs, &mut self.rooms);
        let has_joined = self
            .replication
            .handle_folder_opened(ctx, logs, rooms, folder, ranges, existed);
        if *folder == FolderName::carried() {
            self.delivery_tracker.resume_carrying(ctx, logs);
        }
        if has_joined {
            self.handle_rooms_changed();
        }
    }

    fn handle_rooms_changed(&mut self) {
        self.dialer.set_joined_rooms(&self.ctx, self.rooms.joined());
        for stream in self.ctx.streams() {
            self.update_shared_rooms(stream);
        }
    }
}
