//! A run as long as it acts through another program, and what of it outlives that program.
//!
//! What was said comes from the history, so that a run goes on line by line where it is, whoever writes it. What is to be said is kept
//! until it is told to be stored.
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use mio::{Events, Token};

use crate::base::error_code::{ErrorCode, Refusal};
use crate::base::event::{Command, Delivery, Notice};
use crate::base::identity::NetworkTag;
use crate::base::name::{Room, Target};
use crate::base::time::{Now, Time};
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::config::options::Options;
use crate::shell::ipc::connection::Connection;
use crate::shell::ipc::message::message;
use crate::shell::ipc::message::message::{
    IpcMessage, LogIdWords, RESPONSE_BODY_MAX_BYTES, Response, Welcome,
};
use crate::shell::ipc::outbox::{Outbox, UnresolvedSend};
use crate::shell::os::poll::SIGNALS_TOKEN;
use crate::shell::os::signals::Signals;
use crate::shell::session::builder::{ActiveSession, SessionBuilder};
use crate::shell::session::exit_policy::Retention;
use crate::shell::session::session::Session;
use crate::shell::session::shutdown::{CLOSE_TIMEOUT_MS, GOODBYE_TIMEOUT_MS};
use crate::shell::state::state_dir::StateDir;
use crate::shell::store::read_only::ReadOnlyStore;
use crate::shell::store::store::Store;

const SERVER_TOKEN: Token = Token(4);
/// Milliseconds for which an answer is waited for.
pub const RESPONSE_TIMEOUT_MS: u64 = 10_000;
/// Milliseconds between two tries to come in.
const RECONNECT_INTERVAL_MS: u64 = 5;

/// All that outlives the program it acts through.
pub struct Client {
    welcome: Option<Welcome>,
    /// The first is spoken in.
    rooms: Vec<Room>,
    store: Store,
    outbox: Outbox,
    /// Parts of the history that are to open, or to close.
    pending_opens: usize,
    /// The peers were asked for.
    is_peers_pending: bool,
    /// When something was last asked for.
    last_request_at: Time,
    /// When it last told of what was said, or, if nothing of that is on its way, the last turn.
    last_response_at: Time,
    /// It was asked for delivery, and has not told of it yet.
    is_finish_pending: bool,
    has_linked_peer: bool,
    delivery: Delivery,
    /// An ended run goes at this time, whatever it still has to say.
    unsent_deadline: Option<Time>,
}

impl Client {
    pub fn new(options: &Options) -> Client {
        Client {
            welcome: None,
            rooms: options.rooms.clone(),
            store: Store::read_only(ReadOnlyStore::new(Path::new(""), NetworkTag::OPEN, false)),
            outbox: Outbox::default(),
            pending_opens: 0,
            is_peers_pending: false,
            last_request_at: Time(0),
            last_response_at: Time(0),
            is_finish_pending: false,
            has_linked_peer: false,
            delivery: Delivery {
                linked_peers: 0,
                acked_peers: 0,
                required_peers: 0,
                has_undelivered: false,
                is_settled: false,
                recheck_at: None,
            },
            unsent_deadline: None,
        }
    }

    /// Acts through the program at the other end. `None`: that ended.
    pub fn run(
        &mut self,
        desk: &mut SessionBuilder,
        directory: &Path,
        stream: UnixStream,
        welcome: Welcome,
    ) -> Result<Option<ExitStatus>, Failure> {
        self.check_network(welcome.network)?;
        let history = directory.join("history");
        self.store = Store::read_only(ReadOnlyStore::new(
            &history,
            welcome.network,
            !welcome.is_printing_transcript,
        ));
        let ActiveSession {
            mut session,
            mut signals,
        } = desk.take_or_build(&welcome.me, welcome.uptime_ms)?;
        // What is wrong with the list the running program has said.
        let known = StateDir::open_unlocked(directory).read_known_peers(&mut Vec::new());
        for known in known.unwrap_or_default() {
            session.renderer.record_known_name(known.id, &known.nick);
        }
        let stream = mio::net::UnixStream::from_std(stream);
        let mut pipe = Connection::new(stream, desk.poll.registry(), SERVER_TOKEN)
            .map_err(|error| Failure::io("the socket cannot be used", &error))?;
        let (me, port) = (welcome.me.clone(), welcome.port);
        self.has_linked_peer = welcome.has_linked_peer;
        self.welcome = Some(welcome);
        self.outbox.drop_stored(&self.store, &me.id);
        self.last_request_at = desk.clock.now().time;
        self.last_response_at = self.last_request_at;
        for place in &desk.options.static_peers {
            message::encode_dial(&mut pipe.output, place);
        }
        self.send_initial_requests(&mut session, &mut pipe);
        session.announce_ready(port, &me, self.rooms.first());
        session.exit_policy.retention = Retention::Server;
        let stayed = self.run_turns(desk, &mut session, &mut signals, &mut pipe);
        session.exit_policy.retention = Retention::NextRun;
        let stayed = stayed.map_err(|error| Failure::io("the run had to end", &error))?;
        match stayed {
            Some(_) => session.close(&mut self.store, CLOSE_TIMEOUT_MS),
            None => desk.existing_session = Some(ActiveSession { session, signals }),
        }
        Ok(stayed)
    }

    /// It acted through a program.
    pub fn was_attached(&self) -> bool {
        self.welcome.is_some()
    }

    /// A secret keeps what is said with those who know it, also when another program goes on with it.
    fn check_network(&self, network: NetworkTag) -> Result<(), Failure> {
        let before = self.welcome.as_ref().map(|welcome| welcome.network);
        if before.is_some_and(|before| before != network) {
            return Err(Failure::config(
                "the program that this one acted through is gone, and its network is another: give its --secret-file to go on",
            ));
        }
        Ok(())
    }

    /// What the program is to know first.
    fn send_initial_requests(&mut self, session: &mut Session, pipe: &mut Connection) {
        let out = &mut pipe.output;
        for room in &self.rooms {
            message::encode_header(out, format_args!("join {room}"));
        }
        message::encode_header(out, format_args!("direct"));
        self.pending_opens = self.rooms.len() + 1;
        if session.is_printing_transcript() {
            message::encode_header(out, format_args!("follow"));
        }
        self.outbox.resend_all(out);
        if std::mem::take(&mut self.is_peers_pending) {
            session.queue_commands_first(vec![Command::Peers]);
        }
        self.delivery.is_settled = false;
        self.is_finish_pending = false;
        session.queue_commands_first(Vec::new());
    }

    fn run_turns(
        &mut self,
        desk: &mut SessionBuilder,
        session: &mut Session,
        signals: &mut Signals,
        pipe: &mut Connection,
    ) -> io::Result<Option<ExitStatus>> {
        let mut events = Events::with_capacity(16);
        let mut now = desk.clock.now();
        loop {
            session.end_turn(&mut self.store);
            pipe.flush();
            if let Some(status) = self.poll_exit_status(session, now) {
                return Ok(Some(status));
            }
            let takes = self.can_accept();
            // Behind a reader who is looked for nothing else is done.
            let looks = self.outbox.unresolved().is_some();
            let pauses = self.pending_opens > 0 || looks || session.exit_policy.has_ended();
            let busy = pipe.is_readable || !pauses && session.has_input(takes);
            let deadlines = match (self.is_response_due(), self.outbox.unresolved()) {
                (true, _) => [
                    None,
                    self.unsent_deadline,
                    Some(self.last_request_at + RESPONSE_TIMEOUT_MS),
                ],
                (false, Some(asked)) => [None, self.unsent_deadline, Some(asked.deadline)],
                (false, None) => [self.deadline(session), self.unsent_deadline, None],
            };
            let least = deadlines.into_iter().flatten().min();
            let timeout = match least {
                _ if busy => Some(Duration::ZERO),
                least => least.map(|at| Duration::from_millis(at.ms_since(now.time))),
            };
            match desk.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
                done => done?,
            }
            now = desk.clock.now();
            for event in &events {
                match event.token() {
                    SIGNALS_TOKEN => {
                        for signal in signals.take_pending() {
                            session.handle_signal(signal);
                        }
                    }
                    SERVER_TOKEN => pipe.handle_event(event),
                    _ => {}
                }
            }
            if pipe.is_readable {
                pipe.read();
            }
            if !self.is_awaiting_delivery() {
                self.last_response_at = now.time;
            }
            while let Some(told) = next_response(pipe) {
                if matches!(
                    told,
                    Response::Accepted(..) | Response::Rejected | Response::Resolved(_)
                ) {
                    self.last_response_at = now.time;
                }
                self.handle_response(session, &mut pipe.output, told)?;
            }
            if pipe.is_closed {
                return Ok(None);
            }
            if session.exit_policy.exit_status().is_some() {
                continue;
            }
            session.read_input(now, takes);
            while self.pending_opens == 0
                && self.outbox.unresolved().is_none()
                && let Some(command) = session.next_command(now.time)
            {
                self.handle_command(session, pipe, command, now);
            }
            if !session.exit_policy.has_ended() {
                session.poll_history_query(now, &self.store, self.rooms.first());
            }
        }
    }

    /// An answer is due.
    fn is_response_due(&self) -> bool {
        self.pending_opens > 0 || self.is_peers_pending
    }

    fn can_accept(&self) -> bool {
        self.pending_opens == 0 && self.outbox.can_accept()
    }

    /// Something is on its way to the program, or its answer from there.
    fn is_awaiting_delivery(&self) -> bool {
        self.is_finish_pending || !self.outbox.is_empty()
    }

    /// When this run has waited long enough. The time for delivery is none for answers: a program may just be busy.
    fn deadline(&self, session: &Session) -> Option<Time> {
        let deadline = session.deadline();
        match self.is_awaiting_delivery() && !session.exit_policy.has_ended() {
            false => deadline,
            true => deadline.map(|at| at.max(self.last_response_at + RESPONSE_TIMEOUT_MS)),
        }
    }

    fn poll_exit_status(&mut self, session: &mut Session, now: Now) -> Option<ExitStatus> {
        let late = |deadline: Option<Time>| deadline.is_some_and(|at| at <= now.time);
        // A script that quits right behind its last line means that to be said.
        if session.exit_policy.is_aborted() || late(self.unsent_deadline) {
            cancel_resolve(&mut self.outbox, session);
        }
        let stored = self.outbox.is_empty();
        let says = session.exit_policy.exit_status().is_none() && session.has_unsent_lines();
        if session.exit_policy.has_ended() && (!stored || says) {
            let until = *self
                .unsent_deadline
                .get_or_insert(now.time + GOODBYE_TIMEOUT_MS);
            if until > now.time {
                return None;
            }
        }
        let patience = self.deadline(session);
        let silent = match self.outbox.unresolved() {
            _ if self.is_response_due() => self.last_request_at + RESPONSE_TIMEOUT_MS <= now.time,
            Some(asked) => asked.deadline <= now.time,
            None => !stored && late(patience),
        };
        if silent || !stored && late(self.unsent_deadline) {
            session.warn(
                "the program that runs in this directory does not answer: whether it has taken what was said last is not known",
            );
            session.exit_policy.end(ExitStatus::GeneralError);
            // Nothing of it is waited for any more.
            self.outbox.clear();
            (
                self.pending_opens,
                self.is_peers_pending,
                self.unsent_deadline,
            ) = (0, false, None);
        }
        let asks = self.is_response_due() || self.outbox.unresolved().is_some();
        if (asks || self.is_awaiting_delivery() && !late(patience))
            && !session.exit_policy.has_ended()
        {
            return None;
        }
        session.poll_exit_status(now, self.has_linked_peer, self.outbox.is_empty(), || {
            self.delivery
        })
    }

    fn handle_response(
        &mut self,
        session: &mut Session,
        out: &mut Vec<u8>,
        told: Response,
    ) -> io::Result<()> {
        match told {
            Response::FolderOpened(folder, end) => {
                self.pending_opens = self.pending_opens.saturating_sub(1);
                self.store.open_folder_read_only(&folder, end);
                session.open_folder(&self.store, &folder);
                session.end_turn(&mut self.store);
            }
            Response::JoinRefused(room) => {
                self.pending_opens = self.pending_opens.saturating_sub(1);
                session.exit_policy.record_refusal();
                self.leave_room(session, &room);
            }
            Response::Parted(room) => {
                self.pending_opens = self.pending_opens.saturating_sub(1);
                session.transcript.close(&(&room).into());
            }
            Response::FolderEnd(folder, end) => {
                self.store.set_end(&folder, end);
                if session.is_printing_transcript() {
                    session.transcript.mark_lagging();
                    session.end_turn(&mut self.store);
                }
            }
            Response::PeerNick(peer) => session.renderer.record_known_name(peer.id, &peer.nick),
            Response::Accepted(log, sequence) => self.outbox.confirm_oldest(log, sequence),
            Response::Rejected => {
                self.outbox.reject_oldest();
                session.exit_policy.record_refusal();
            }
            Response::Resolved(reader) => self.outbox.complete_resolve(out, &self.store, reader),
            Response::ResolveFailed(Refusal { code, content }) => {
                self.outbox.cancel_resolve();
                // If nothing else was said, there is nothing to be waited for.
                self.delivery.is_settled = self.outbox.is_unused();
                session.handle_notice(Notice::Error { code, content }, &self.store);
            }
            Response::Delivery {
                has_linked_peer: met,
                delivery,
            } => {
                self.is_finish_pending = false;
                self.has_linked_peer |= met;
                self.delivery = delivery;
                if delivery.is_settled && self.outbox.is_empty() {
                    session.exit_policy.record_delivery_complete();
                }
            }
            Response::Peers(count, list) => {
                self.is_peers_pending = false;
                session.show_peers(count, list);
            }
            Response::Stats(list) => session.show_reply(list),
            Response::Notice(notice) => {
                if let (Notice::Renamed { peer, .. }, Some(welcome)) = (&notice, &mut self.welcome)
                    && peer.id == welcome.me.id
                {
                    welcome.me.nick = peer.nick.clone();
                }
                session.handle_notice(notice, &self.store);
            }
            Response::Welcome(_) => {}
        }
        Ok(())
    }

    fn handle_command(
        &mut self,
        session: &mut Session,
        pipe: &mut Connection,
        command: Command,
        now: Now,
    ) {
        let out = &mut pipe.output;
        match command {
            Command::SendToRoom {
                room,
                lines,
                action,
            } => match room.or_else(|| self.rooms.first().cloned()) {
                Some(room) if self.rooms.contains(&room) => {
                    let target = Target::Room(room);
                    self.outbox.send(out, &self.store, target, lines, action);
                }
                Some(room) => report_room_error(
                    session,
                    &self.store,
                    format!("not in {room}: /join {room} first"),
                ),
                None => {
                    report_room_error(session, &self.store, "in no room: /join one first".into())
                }
            },
            Command::Join(room) => {
                if !self.rooms.contains(&room) {
                    message::encode_header(out, format_args!("join {room}"));
                    self.pending_opens += 1;
                    self.last_request_at = now.time;
                }
                self.rooms.retain(|other| *other != room);
                self.rooms.insert(0, room);
                session.set_current_room(self.rooms.first());
            }
            Command::Part(room) => match room.or_else(|| self.rooms.first().cloned()) {
                Some(room) if self.rooms.contains(&room) => {
                    // What was said there is still to be shown.
                    message::encode_header(out, format_args!("part {room}"));
                    self.pending_opens += 1;
                    self.last_request_at = now.time;
                    self.leave_room(session, &room);
                }
                Some(room) => report_room_error(session, &self.store, format!("not in {room}")),
                None => report_room_error(session, &self.store, "in no room".into()),
            },
            Command::Nick(nick) => message::encode_header(out, format_args!("nick {nick}")),
            Command::Peers => {
                let form = session.reply_format().as_str();
                message::encode_header(out, format_args!("peers {form}"));
                (self.is_peers_pending, self.last_request_at) = (true, now.time);
            }
            Command::Stats => {
                let form = session.reply_format().as_str();
                message::encode_header(out, format_args!("stats {form}"));
            }
            Command::Rooms => session.handle_notice(Notice::Rooms(self.rooms.clone()), &self.store),
            Command::Finish {
                required_peers: need,
            } => {
                match need {
                    Some(need) => message::encode_header(out, format_args!("finish {need}")),
                    None => message::encode_header(out, format_args!("finish all")),
                }
                self.is_finish_pending = true;
            }
            Command::SendToPeer {
                selector: whom,
                lines,
                action,
                timeout_ms: within,
            } => {
                let until = now.time + within + RESPONSE_TIMEOUT_MS;
                let asked = UnresolvedSend {
                    selector: whom,
                    lines,
                    action,
                    timeout_ms: within,
                    deadline: until,
                };
                self.outbox.resolve_and_send(out, asked);
            }
            Command::MarkRead { log, sequence } => {
                message::encode_header(out, format_args!("shown {} {sequence}", LogIdWords(&log)));
            }
            Command::Resolve { .. } | Command::AwaitDelivery { .. } | Command::Leave => {}
        }
    }

    fn leave_room(&mut self, session: &mut Session, room: &Room) {
        self.rooms.retain(|other| other != room);
        session.set_current_room(self.rooms.first());
    }

    /// Until the next try to come in. The status, if the run ended meanwhile.
    pub fn wait_to_reconnect(
        &mut self,
        desk: &mut SessionBuilder,
    ) -> Result<Option<ExitStatus>, Failure> {
        let mut events = Events::with_capacity(16);
        let polled = desk.poll.poll(
            &mut events,
            Some(Duration::from_millis(RECONNECT_INTERVAL_MS)),
        );
        match polled {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                return Err(Failure::io("the run had to end", &error));
            }
            _ => {}
        }
        let Some(ActiveSession { session, signals }) = &mut desk.existing_session else {
            return Ok(None);
        };
        for signal in signals.take_pending() {
            session.handle_signal(signal);
        }
        cancel_resolve(&mut self.outbox, session);
        if !session.exit_policy.has_ended() || !self.outbox.is_empty() {
            return Ok(None);
        }
        session.end_turn(&mut self.store);
        let status = session.poll_exit_status(desk.clock.now(), self.has_linked_peer, true, || {
            self.delivery
        });
        if status.is_some() {
            session.close(&mut self.store, CLOSE_TIMEOUT_MS);
        }
        Ok(status)
    }

    /// The directory is this run's own now: what is not done yet it does itself.
    pub fn hand_over_commands(
        &mut self,
        desk: &mut SessionBuilder,
        network: NetworkTag,
    ) -> Result<(), Failure> {
        let Some(welcome) = self.welcome.clone() else {
            return Ok(());
        };
        self.check_network(network)?;
        self.outbox.drop_stored(&self.store, &welcome.me.id);
        desk.options.username = welcome.me.nick;
        desk.options.multicast = welcome.multicast;
        desk.options.interfaces = welcome.interfaces;
        desk.options.rooms = self.rooms.clone();
        let mut commands = self.outbox.take_commands();
        if self.is_peers_pending {
            commands.push(Command::Peers);
        }
        if let Some(ActiveSession { session, .. }) = &mut desk.existing_session {
            session.queue_commands_first(commands);
        }
        Ok(())
    }
}

/// The next thing told. What nobody understands ends it.
fn next_response(pipe: &mut Connection) -> Option<Response> {
    match IpcMessage::decode(&mut pipe.input, RESPONSE_BODY_MAX_BYTES) {
        Ok(None) => None,
        Ok(Some(message)) => match message.into_response() {
            Some(told) => Some(told),
            None => {
                pipe.mark_closed();
                None
            }
        },
        Err(_) => {
            pipe.mark_closed();
            None
        }
    }
}

/// An ended run waits for no reader.
fn cancel_resolve(outbox: &mut Outbox, session: &mut Session) {
    if session.exit_policy.has_ended()
        && let Some(asked) = outbox.cancel_resolve()
    {
        session.exit_policy.record_refusal();
        session.warn(&format!("not sent to {}: not found yet", asked.selector));
    }
}

fn report_room_error(session: &mut Session, store: &Store, content: String) {
    let code = ErrorCode::Room;
    session.handle_notice(Notice::Error { code, content }, store);
}
