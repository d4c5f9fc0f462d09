//! A run that is attached to another program, the server.
//!
//! The client prints the lines from the history on disk. When another program becomes the server,
//! the transcript continues where it was. The client's own lines stay in the outbox until the
//! server has accepted them.
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use mio::{Events, Token};

use crate::base::event::{Command, Delivery};
use crate::base::identity::NetworkTag;
use crate::base::name::Room;
use crate::base::time::{Now, Time};
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::config::options::Options;
use crate::shell::ipc::connection::Connection;
use crate::shell::ipc::message::request::Request;
use crate::shell::ipc::message::response::{Response, Welcome};
use crate::shell::ipc::outbox::Outbox;
use crate::shell::os::poll::SIGNALS_TOKEN;
use crate::shell::os::signals::Signals;
use crate::shell::session::builder::{ActiveSession, SessionBuilder};
use crate::shell::session::exit_policy::Retention;
use crate::shell::session::session::Session;
use crate::shell::session::shutdown::CLOSE_TIMEOUT_MS;
use crate::shell::state::state_dir::StateDir;
use crate::shell::store::read_only::ReadOnlyStore;
use crate::shell::store::store::Store;

const SERVER_TOKEN: Token = Token(4);
/// How long a client waits for an answer of the server, in milliseconds.
pub const RESPONSE_TIMEOUT_MS: u64 = 10_000;
/// Time between two attempts to attach to a server or to lock the directory, in milliseconds.
const RECONNECT_INTERVAL_MS: u64 = 5;

/// The state of an attached run. If the server ends, the run continues with the next server.
pub struct Client {
    /// The welcome of the newest server. `None`: the run was never attached to a server.
    pub(super) welcome: Option<Welcome>,
    /// The rooms of this run. The current room is at index 0.
    pub(super) rooms: Vec<Room>,
    pub(super) store: Store,
    pub(super) outbox: Outbox,
    /// Number of requests to open or close a folder that the server has not answered yet.
    pub(super) pending_opens: usize,
    /// Whether a request for the list of peers is unanswered.
    pub(super) is_peers_pending: bool,
    /// When this run sent its newest join, part or request for the list of peers. At first, the
    /// time when the run attached to the server.
    pub(super) last_request_at: Time,
    /// When the server last accepted or rejected lines of this run, or found a recipient. While
    /// [`Self::is_awaiting_delivery`] is false, each turn sets this time to the current time.
    pub(super) last_response_at: Time,
    /// Whether the run has sent [`Request::Finish`] and got no delivery report since then.
    pub(super) is_finish_pending: bool,
    pub(super) has_linked_peer: bool,
    pub(super) delivery: Delivery,
    /// When the ended run stops waiting for the server to accept its last lines. `None`: the run
    /// has not begun this wait.
    pub(super) unsent_deadline: Option<Time>,
}

impl Client {
    /// A client that has never been attached to a server.
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

    /// Runs as a client of the server until this run or the server ends. Returns the exit status of
    /// this run. `None`: the server ended first.
    ///
    /// # Errors
    /// Exit status 78: the previous server was in another network. 1: the system refuses a socket
    /// or the terminal.
    pub fn run(
        &mut self,
        builder: &mut SessionBuilder,
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
        } = builder.take_or_build(&welcome.me, welcome.uptime_ms)?;
        // The server has already reported errors in this file.
        let known_peers = StateDir::open_unlocked(directory).read_known_peers(&mut Vec::new());
        for known in known_peers.unwrap_or_default() {
            session.renderer.record_known_name(known.id, &known.nick);
        }
        let stream = mio::net::UnixStream::from_std(stream);
        let mut connection = Connection::new(stream, builder.poll.registry(), SERVER_TOKEN)
            .map_err(|error| Failure::io("control.sock cannot be used", &error))?;
        let (me, port) = (welcome.me.clone(), welcome.port);
        self.has_linked_peer = welcome.has_linked_peer;
        self.welcome = Some(welcome);
        self.outbox.drop_stored(&self.store, &me.id);
        self.last_request_at = builder.clock.now().time;
        self.last_response_at = self.last_request_at;
        for endpoint in &builder.options.static_peers {
            Request::Dial(endpoint.clone()).encode(&mut connection.output);
        }
        self.send_initial_requests(&mut session, &mut connection.output);
        session.announce_ready(port, &me, self.rooms.first());
        session.exit_policy.retention = Retention::Server;
        let ended = self.run_turns(builder, &mut session, &mut signals, &mut connection);
        session.exit_policy.retention = Retention::NextRun;
        let ended = ended.map_err(|error| Failure::io("the run ended early", &error))?;
        match ended {
            Some(_) => session.close(&mut self.store, CLOSE_TIMEOUT_MS),
            None => builder.existing_session = Some(ActiveSession { session, signals }),
        }
        Ok(ended)
    }

    /// Whether the run was ever attached to a server.
    pub fn was_attached(&self) -> bool {
        self.welcome.is_some()
    }

    /// Checks that `network` is the network of the previous server, if there was one. A run must
    /// not change its network, because the network's secret decides who can read the lines.
    fn check_network(&self, network: NetworkTag) -> Result<(), Failure> {
        let before = self.welcome.as_ref().map(|welcome| welcome.network);
        if before.is_some_and(|before| before != network) {
            return Err(Failure::config(
                "the p2pchat through which this one acted has ended, and its network was another: \
                 give its --secret-file to go on",
            ));
        }
        Ok(())
    }

    /// Requests this run's rooms, folders and notices from a new server. Sends the lines that the
    /// previous server did not accept.
    fn send_initial_requests(&mut self, session: &mut Session, out: &mut Vec<u8>) {
        // Before the rooms, so that the server begins their readers.
        if session.is_printing_transcript() {
            Request::FollowNotices.encode(out);
        }
        for room in &self.rooms {
            Request::Join(room.clone()).encode(out);
        }
        Request::FollowDirect.encode(out);
        self.pending_opens = self.rooms.len() + 1;
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
        builder: &mut SessionBuilder,
        session: &mut Session,
        signals: &mut Signals,
        connection: &mut Connection,
    ) -> io::Result<Option<ExitStatus>> {
        let mut events = Events::with_capacity(16);
        let mut now = builder.clock.now();
        loop {
            if let Some(now) = builder.clock.take_step(now) {
                self.store.correct_readers(&now);
            }
            session.end_turn(&mut self.store);
            connection.flush();
            if let Some(status) = self.poll_exit_status(session, now) {
                return Ok(Some(status));
            }
            let can_accept = self.can_accept();
            let takes_commands = self.can_take_commands() && !session.exit_policy.has_ended();
            let has_work =
                connection.is_readable || takes_commands && session.has_input(can_accept);
            let timeout = match self.next_deadline(session) {
                _ if has_work => Some(Duration::ZERO),
                deadline => deadline.map(|at| Duration::from_millis(at.ms_since(now.time))),
            };
            match builder.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
                polled => polled?,
            }
            now = builder.clock.now();
            handle_events(&events, session, signals, connection);
            self.read_responses(session, connection, now);
            if connection.is_closed {
                return Ok(None);
            }
            if session.exit_policy.exit_status().is_none() {
                session.read_input(now, can_accept);
                self.execute_commands(session, connection, now);
            }
        }
    }

    fn read_responses(&mut self, session: &mut Session, connection: &mut Connection, now: Now) {
        if connection.is_readable {
            connection.read();
        }
        if !self.is_awaiting_delivery() {
            self.last_response_at = now.time;
        }
        while let Some(response) = connection.next_response() {
            if matches!(
                response,
                Response::Accepted { .. } | Response::Rejected | Response::Resolved(_)
            ) {
                self.last_response_at = now.time;
            }
            self.handle_response(session, &mut connection.output, response);
        }
    }

    fn execute_commands(&mut self, session: &mut Session, connection: &mut Connection, now: Now) {
        while self.can_take_commands()
            && let Some(command) = session.next_command(now.time)
        {
            self.handle_command(session, &mut connection.output, command, now);
        }
        if !session.exit_policy.has_ended() {
            session.poll_history_query(now, &self.store, self.rooms.first());
        }
    }

    /// Whether commands can be executed. Commands wait while a request to open or close a folder is
    /// unanswered, or while the recipient of earlier lines is unknown.
    fn can_take_commands(&self) -> bool {
        self.pending_opens == 0 && self.outbox.unresolved().is_none()
    }

    /// Whether a request to open or close a folder, or for the list of peers, is unanswered.
    pub(super) fn is_response_due(&self) -> bool {
        self.pending_opens > 0 || self.is_peers_pending
    }

    /// Whether lines from stdin can be sent.
    fn can_accept(&self) -> bool {
        self.pending_opens == 0 && self.outbox.can_accept()
    }

    /// Whether this run waits for the server to accept its lines, or for the first delivery report.
    pub(super) fn is_awaiting_delivery(&self) -> bool {
        self.is_finish_pending || !self.outbox.is_empty()
    }

    /// Waits a few milliseconds before the next attempt to attach or to lock the directory. Returns
    /// the exit status if the run is over.
    pub fn wait_to_reconnect(
        &mut self,
        builder: &mut SessionBuilder,
    ) -> Result<Option<ExitStatus>, Failure> {
        let mut events = Events::with_capacity(16);
        let polled = builder.poll.poll(
            &mut events,
            Some(Duration::from_millis(RECONNECT_INTERVAL_MS)),
        );
        match polled {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                return Err(Failure::io("the run ended early", &error));
            }
            _ => {}
        }
        let Some(ActiveSession { session, signals }) = &mut builder.existing_session else {
            return Ok(None);
        };
        for signal in signals.take_pending() {
            session.handle_signal(signal);
        }
        self.cancel_resolve(session);
        if !session.exit_policy.has_ended() || !self.outbox.is_empty() {
            return Ok(None);
        }
        session.end_turn(&mut self.store);
        let status =
            session.poll_exit_status(builder.clock.now(), self.has_linked_peer, true, || {
                self.delivery
            });
        if status.is_some() {
            session.close(&mut self.store, CLOSE_TIMEOUT_MS);
        }
        Ok(status)
    }

    /// Turns the unanswered requests into commands of the session. The run has locked the
    /// directory, and executes these commands without a server.
    ///
    /// # Errors
    /// Exit status 78: this run's options select another network than that of the last server.
    pub fn hand_over_commands(
        &mut self,
        builder: &mut SessionBuilder,
        network: NetworkTag,
    ) -> Result<(), Failure> {
        let Some(welcome) = self.welcome.clone() else {
            return Ok(());
        };
        self.check_network(network)?;
        self.outbox.drop_stored(&self.store, &welcome.me.id);
        builder.options.username = welcome.me.nick;
        builder.options.multicast = welcome.multicast;
        builder.options.interfaces = welcome.interfaces;
        builder.options.rooms = self.rooms.clone();
        let mut commands = self.outbox.take_commands();
        if self.is_peers_pending {
            commands.push(Command::Peers);
        }
        if let Some(ActiveSession { session, .. }) = &mut builder.existing_session {
            session.queue_commands_first(commands);
        }
        Ok(())
    }

    /// If the run has ended, drops the lines whose recipient is still unknown, and prints a
    /// warning.
    pub(super) fn cancel_resolve(&mut self, session: &mut Session) {
        if session.exit_policy.has_ended()
            && let Some(unresolved) = self.outbox.cancel_resolve()
        {
            session.exit_policy.record_refusal();
            session.warn(&format!(
                "not sent to {}: not found yet",
                unresolved.selector
            ));
        }
    }
}

fn handle_events(
    events: &Events,
    session: &mut Session,
    signals: &mut Signals,
    connection: &mut Connection,
) {
    for event in events {
        match event.token() {
            SIGNALS_TOKEN => {
                for signal in signals.take_pending() {
                    session.handle_signal(signal);
                }
            }
            SERVER_TOKEN => connection.handle_event(event),
            _ => {}
        }
    }
}
