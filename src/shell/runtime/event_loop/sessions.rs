//! Serves the sessions of this process and of the clients. Executes their requests, and passes
//! notices of the core to them.
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::batch::batch::LogId;
use crate::base::error_code::ErrorCode;
use crate::base::event::command::Command;
use crate::base::event::input::Input;
use crate::base::event::notice::Notice;
use crate::base::event::output::KnownPeer;
use crate::base::event::peer::Peer;
use crate::base::guests::guest::{GuestLinesResult, HAS_GUESTS};
use crate::base::identity::PeerId;
use crate::base::name::{FolderName, Nick, Room};
use crate::base::presence::profile::HAS_PROFILE;
use crate::base::trust::level::HAS_TRUST;
use crate::shell::net::own_code::connection_code;
use crate::shell::runtime::event_loop::event_loop::{EventLoop, ResolvedSearch, SessionKey};
use crate::shell::session::event_sink::EventSink;
use crate::shell::session::session::{Session, SessionAction, Surroundings};
use crate::shell::session::trust::{TrustSurroundings, execute_trust};
use crate::shell::store::reader::NAMED_READERS_MAX;
use crate::ui::request::Listen;
use crate::ui::session_event::{FolderCursor, PROTOCOL_VERSION, Ready};
use crate::ui::trust_command::{TrustCommand, TrustEntry};

impl EventLoop {
    /// The first event of a session.
    pub(super) fn ready(&self) -> Ready {
        Ready {
            protocol: PROTOCOL_VERSION,
            me: self.node.own_peer(),
            port: self.streams.port().unwrap_or(0),
            uptime_ms: self.now.time.0,
            has_linked_peer: self.node.link_count() > 0,
            network: self.node.network(),
            multicast: self.options.multicast,
            interfaces: self.options.interfaces.clone(),
            maps_port: self.options.nat,
            mapped: self.port_mapping.external(),
            uses_mdns: self.options.mdns,
            scan: self.options.scan.map(|target| target.to_string()),
            speaks_lsnp: self.options.lsnp,
            lsnp_room: self.options.lsnp_room.clone(),
            speaks_go: self.options.go_room,
            grapes: self.options.grapes.clone(),
            uses_dht: self.options.dht,
            dht_bootstrap: self.options.dht_bootstrap.clone(),
            timing: self.options.timing,
        }
    }

    /// Reads the input of the user and of the clients, and executes their requests.
    pub(super) fn handle_requests(&mut self) {
        let now = self.now.time;
        let ready = self.ipc_server.can_connect(now).then(|| self.ready());
        self.ipc_server
            .accept_and_read(self.poll.registry(), now, ready);
        let (can_accept, backpressure) = (self.can_accept(), self.node.backpressure(now));
        self.frontend.read_input(self.now, can_accept, backpressure);
        while let Some(request) = self.frontend.next_request(self.now.time) {
            self.session.push_request(request);
        }
        self.execute_requests(SessionKey::Local);
        for key in self.ipc_server.keys() {
            self.execute_requests(SessionKey::Client(key));
        }
    }

    fn execute_requests(&mut self, key: SessionKey) {
        while let Some(action) = self.next_action(key) {
            self.perform(key, action);
        }
    }

    fn next_action(&mut self, key: SessionKey) -> Option<SessionAction> {
        let can_accept = self.can_accept();
        let has_reader = self.has_own_reader();
        match key {
            SessionKey::Local => {
                let mut around = Surroundings {
                    store: &mut self.store,
                    // The frontend has read no more than the store accepts.
                    can_accept: true,
                    default_rooms: &[],
                    has_reader,
                };
                self.session.next_action(&mut around, &mut self.frontend)
            }
            SessionKey::Client(client) => {
                let mut around = Surroundings {
                    store: &mut self.store,
                    can_accept,
                    default_rooms: self.session.rooms(),
                    has_reader,
                };
                self.ipc_server.next_action(client, &mut around)
            }
        }
    }

    /// Calls `act` with a session and the sink of its events.
    fn with_session(
        &mut self,
        key: SessionKey,
        act: impl FnOnce(&mut Session, &mut Surroundings<'_>, &mut dyn EventSink),
    ) {
        let has_reader = self.has_own_reader();
        let mut around = Surroundings {
            store: &mut self.store,
            can_accept: true,
            default_rooms: &[],
            has_reader,
        };
        match key {
            SessionKey::Local => act(&mut self.session, &mut around, &mut self.frontend),
            SessionKey::Client(client) => {
                around.default_rooms = self.session.rooms();
                if let Some((session, sink)) = self.ipc_server.get_mut(client) {
                    act(session, &mut around, sink);
                }
            }
        }
    }

    fn perform(&mut self, key: SessionKey, action: SessionAction) {
        self.current_session = Some(key);
        match action {
            SessionAction::Join { room, after } => self.join(key, room, after),
            SessionAction::Listen(listen) => self.listen(key, listen),
            SessionAction::Leave(room) => {
                self.rooms_to_leave.insert(room);
            }
            SessionAction::Publish {
                target,
                lines,
                form,
                request,
            } => {
                let head_before = self.node.own_head(&target);
                self.handle_input(Input::Command(Command::Publish {
                    target: target.clone(),
                    lines,
                    form,
                    request,
                }));
                // The core does not report whether it published the lines. If it has, the log has a
                // new head. If the lines cannot be stored now, the core keeps them and retries.
                let head = self.node.own_head(&target);
                let is_new = head != head_before;
                let head = head.filter(|_| is_new);
                let is_kept = is_new || !self.node.can_accept();
                self.with_session(key, |session, _, sink| match is_kept {
                    true => session.track_send(target, head_before, head),
                    false => session.reject_send(sink),
                });
            }
            SessionAction::Resolve {
                selector,
                timeout_ms,
            } => {
                self.last_search_id += 1;
                let request_id = self.last_search_id;
                self.with_session(key, |session, _, _| session.start_resolve(request_id));
                self.handle_input(Input::Command(Command::Resolve {
                    request_id,
                    selector,
                    timeout_ms,
                }));
            }
            SessionAction::Command(command) => self.handle_input(Input::Command(command)),
            SessionAction::ReloadKnownPeers => self.reload_known_peers(),
            SessionAction::Dial(endpoints) => {
                let added = endpoints.iter().map(|endpoint| self.resolver.add(endpoint));
                if let Some(why) = added.filter_map(Result::err).last() {
                    self.with_session(key, |session, _, sink| session.refuse_endpoints(why, sink));
                }
            }
            SessionAction::Trust(command) => {
                if HAS_TRUST {
                    self.execute_trust(key, &command);
                }
            }
            SessionAction::Code => {
                let ready = self.ready();
                let Ready { port, mapped, .. } = ready;
                let code = connection_code(ready.me.id, &ready.interfaces, port, mapped);
                let code = code.map(|code| code.to_string());
                self.with_session(key, |session, _, sink| {
                    session.finish_code(ready.me, code, sink);
                });
            }
        }
        self.with_session(key, |session, _, sink| session.finish_action(sink));
        self.current_session = None;
        self.handle_resolved();
    }

    /// Executes a command about known peers, and passes the changed peers to the core.
    fn execute_trust(&mut self, key: SessionKey, command: &TrustCommand) {
        if let TrustCommand::Whois { selector, .. } = command
            && HAS_GUESTS
            && selector.guest_name().is_some()
        {
            let mut guests = self.node.guests();
            guests.retain(|guest| selector.matches_guest(&guest.nick, guest.address));
            return self.with_session(key, |session, _, sink| {
                session.finish_whois_of_guests(selector, guests, sink);
            });
        }
        let present = self.node.present_peers();
        let is_ephemeral = |id: &PeerId| self.node.is_ephemeral(id);
        let around = TrustSurroundings {
            own_id: Some(self.node.own_peer().id),
            ephemeral: present
                .iter()
                .map(|it| it.id)
                .filter(is_ephemeral)
                .collect(),
            present,
            now: self.now.wall,
        };
        let mut result = execute_trust(self.state.trust(), command, &around);
        for entry in result.iter_mut().flatten() {
            entry.misbehaviour = self.node.misbehaviour(&entry.known.id);
        }
        if result.is_ok() && command.changes_known_peers() {
            self.reload_known_peers();
        }
        if let (TrustCommand::Whois { wants_avatar, .. }, Ok(entries)) = (command, &mut result) {
            let entries = std::mem::take(entries);
            return self.start_whois(key, entries, *wants_avatar);
        }
        self.with_session(key, |session, _, sink| {
            session.finish_trust(result, Vec::new(), sink);
        });
    }

    /// Requests what these peers say about themselves. The session answers later.
    fn start_whois(&mut self, key: SessionKey, entries: Vec<TrustEntry>, wants_avatar: bool) {
        let mut peers = self.node.peers();
        peers.retain(|info| entries.iter().any(|entry| entry.known.id == info.peer.id));
        if !HAS_PROFILE {
            return self.with_session(key, |session, _, sink| {
                session.finish_trust(Ok(entries), peers, sink);
            });
        }
        for peer in peers.iter().map(|info| info.peer.id) {
            self.handle_input(Input::Command(Command::FetchProfile { peer, wants_avatar }));
        }
        self.with_session(key, |session, _, _| session.await_profiles(entries, peers));
    }

    fn join(&mut self, key: SessionKey, room: Room, after: Option<FolderCursor>) {
        self.open_room_or_notify(&room);
        let is_joined = self.node.joined_rooms().contains(&room);
        let (mut reader, mut is_listening) = (None, false);
        self.with_session(key, |session, _, _| {
            reader = session.is_reader().then(|| session.reader_name().cloned());
            is_listening = session.is_listening();
        });
        match reader {
            Some(name) if is_joined => drop(self.begin_reader(&room, name.as_ref())),
            None if is_joined && is_listening => self.open_listener(room.clone()),
            _ => {}
        }
        self.with_session(key, |session, around, sink| {
            session.finish_join(room, after, is_joined, around.store, sink);
        });
    }

    /// Whether the session of this process is the directory's own reader.
    fn has_own_reader(&self) -> bool {
        self.frontend.is_printing_transcript() && self.options.reading.reader.is_none()
    }

    /// Whether another session than this one is the reader with this name.
    fn is_reader_taken(&mut self, key: SessionKey, name: &Nick) -> bool {
        let clients = self.ipc_server.keys().into_iter().map(SessionKey::Client);
        let mut others: Vec<SessionKey> = [SessionKey::Local].into_iter().chain(clients).collect();
        others.retain(|other| *other != key);
        others.into_iter().any(|other| {
            let mut is_taken = false;
            self.with_session(other, |session, _, _| {
                is_taken = session.is_listening() && session.reader_name() == Some(name);
            });
            is_taken
        })
    }

    fn listen(&mut self, key: SessionKey, listen: Listen) {
        let mut rooms = Vec::new();
        self.with_session(key, |session, around, _| {
            rooms = session.rooms_of(&listen, around);
        });
        rooms.retain(|room| self.node.joined_rooms().contains(room));
        let name = listen.reader_name.as_ref();
        let refusal = match name {
            _ if !listen.is_reader => {
                rooms.into_iter().for_each(|room| self.open_listener(room));
                None
            }
            Some(name) if self.is_reader_taken(key, name) => Some(format!(
                "the reader {name} listens already: end that program, or choose another name"
            )),
            Some(name) => {
                let now = self.clock.moment(self.now);
                let direct = FolderName::direct();
                let mut has_begun = self.store.begin_reader(&direct, Some(name), &now);
                for room in &rooms {
                    has_begun &= self.begin_reader(room, Some(name));
                }
                (!has_begun).then(|| {
                    format!(
                        "the reader {name} cannot begin: there are {NAMED_READERS_MAX} others \
                         already; remove the files reader.NAME of one that is not needed"
                    )
                })
            }
            None => {
                for room in &rooms {
                    self.begin_reader(room, None);
                }
                None
            }
        };
        self.with_session(key, |session, around, sink| match refusal {
            Some(why) => session.refuse_listen(why, sink),
            None => session.listen(listen, around, sink),
        });
    }

    /// Publishes the lines whose recipients the core has found.
    pub(super) fn handle_resolved(&mut self) {
        while let Some(ResolvedSearch { id, result }) = self.resolved_searches.pop_front() {
            let clients = self.ipc_server.keys().into_iter().map(SessionKey::Client);
            for key in [SessionKey::Local].into_iter().chain(clients) {
                let mut action = None;
                let result = result.clone();
                self.with_session(key, |session, around, sink| {
                    if session.awaits_resolve(id) {
                        action = session.handle_resolved(result, around, sink);
                    }
                });
                if let Some(action) = action {
                    self.perform(key, action);
                }
            }
        }
    }

    /// Passes a notice of the core to the sessions that it concerns. An answer goes only to the
    /// session that asked.
    pub(super) fn notify(&mut self, mut notice: Notice) {
        if let Notice::Stats { counters, troubles } = &mut notice {
            self.multicast.add_stats(counters);
            self.finders.add_stats(counters, troubles);
            self.port_mapping.add_stats(counters, troubles);
        }
        if let Notice::Resolved { request_id, result } = notice {
            let id = request_id;
            self.resolved_searches
                .push_back(ResolvedSearch { id, result });
            return;
        }
        if let Notice::SentToGuest(of) = &notice {
            return self.handle_guest_lines(of);
        }
        if let Notice::Presence { peer, .. } | Notice::Typing { peer, .. } = &notice
            && self.store.is_ignored(&peer.id)
        {
            return;
        }
        let notice = Arc::new(notice);
        if let Some(key) = self.current_session.filter(|_| is_answer(&notice)) {
            return self.with_session(key, |session, around, sink| {
                session.handle_notice(&notice, true, around.store, sink);
            });
        }
        let store = &self.store;
        self.session
            .handle_notice(&notice, false, store, &mut self.frontend);
        for (session, sink) in self.ipc_server.sessions_mut() {
            session.handle_notice(&notice, false, store, sink);
        }
    }

    /// Passes what became of lines for a guest to the session that sent them. If that has ended,
    /// the user of this process hears of lost ones.
    fn handle_guest_lines(&mut self, of: &GuestLinesResult) {
        if !HAS_GUESTS || self.session.handle_guest_lines(of, &mut self.frontend) {
            return;
        }
        for (session, sink) in self.ipc_server.sessions_mut() {
            if session.handle_guest_lines(of, sink) {
                return;
            }
        }
        if let Err(why) = &of.result {
            let sentence = "what a session said that has ended was not delivered";
            self.frontend.warn(&format!("{sentence}: {why}"));
        }
    }

    /// Tells the clients the name of a peer that has become known.
    pub(super) fn notify_known_peer(&mut self, known: &KnownPeer) {
        let peer = Peer {
            id: known.id,
            nick: known.nick.clone(),
        };
        for (session, sink) in self.ipc_server.sessions_mut() {
            session.handle_known_peer(&peer, sink);
        }
    }

    /// Tells the sessions that the store has evicted all lines of a log below `low`.
    pub(super) fn record_evicted(&mut self, log: &LogId, low: u64) {
        self.session.record_evicted(log, low);
        for (session, _) in self.ipc_server.sessions_mut() {
            session.record_evicted(log, low);
        }
    }

    /// Whether a session is in this room.
    pub(super) fn is_in_use(&mut self, room: &Room) -> bool {
        let mut clients = self.ipc_server.sessions_mut();
        self.session.is_in_room(room) || clients.any(|(session, _)| session.is_in_room(room))
    }

    /// Ends the turn of every session. Emits new lines, answers to requests, and changes of the
    /// status or the delivery.
    pub(super) fn end_session_turns(&mut self) {
        let is_full = self.store.is_full();
        let (store, node) = (&self.store, &self.node);
        let mut error = self.session.catch_up(store, &mut self.frontend);
        let recheck = self
            .session
            .end_turn(store, node, is_full, &mut self.frontend);
        self.recheck_at = recheck;
        for (session, sink) in self.ipc_server.sessions_mut() {
            error = session.catch_up(store, sink).or(error);
            let recheck = session.end_turn(store, node, is_full, sink);
            self.recheck_at = self.recheck_at.into_iter().chain(recheck).min();
        }
        self.ipc_server.flush();
        if let Some(error) = error {
            self.report_read_error(&error);
        }
        self.frontend.end_turn();
        self.pass_outgoing();
    }

    /// Executes the frontend's waiting requests. For example, a request records which lines are
    /// printed.
    fn pass_outgoing(&mut self) {
        while let Some(request) = self.frontend.next_outgoing() {
            self.session.push_request(request);
        }
        self.execute_requests(SessionKey::Local);
    }

    /// Prints the remaining output, for at most `timeout_ms` milliseconds. Records which lines are
    /// printed.
    pub(super) fn close_session(&mut self, timeout_ms: u64) {
        let deadline = Instant::now() + Duration::from_millis(timeout_ms);
        loop {
            let error = self.session.catch_up(&self.store, &mut self.frontend);
            let is_done = error.is_some() || !self.session.has_transcript_work();
            if is_done || !self.frontend.flush_stdout(deadline) {
                break;
            }
        }
        let is_printed = self.frontend.close(deadline);
        self.pass_outgoing();
        if is_printed {
            self.session.save_skipped(&mut self.store);
        }
    }
}

/// Whether this kind of notice answers the request in execution, if there is one.
fn is_answer(notice: &Notice) -> bool {
    match notice {
        Notice::Peers(_) | Notice::Guests(_) | Notice::OwnProfile(_) | Notice::Stats { .. } => true,
        Notice::Error { code, .. } => matches!(
            code,
            ErrorCode::Room | ErrorCode::TooManyRooms | ErrorCode::Target | ErrorCode::WrongKey
        ),
        _ => false,
    }
}
