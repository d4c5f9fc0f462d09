//! A run that is attached to another program, the server. Passes the requests of its frontend on,
//! and the events back. When the server ends, the run continues with the next one.
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use mio::{Events, Token};

use crate::base::event::notice::Notice;
use crate::base::identity::NetworkTag;
use crate::base::time::{Now, Time};
use crate::node::backpressure::Backpressure;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::config::scan_target::ScanTarget;
use crate::shell::ipc::connection::{Connection, OUTPUT_MAX_BYTES};
use crate::shell::net::resolver::add_endpoint;
use crate::shell::os::poll::{SIGNALS_TOKEN, STDIN_TOKEN, STDOUT_TOKEN};
use crate::shell::os::signals::Signals;
use crate::shell::session::event_sink::EventSink as _;
use crate::shell::session::frontend::builder::{ActiveFrontend, FrontendBuilder};
use crate::shell::session::frontend::exit_policy::{Retention, UnansweredLines};
use crate::shell::session::frontend::frontend::Frontend;
use crate::shell::session::frontend::pending::PendingRequest;
use crate::shell::session::frontend::shutdown::{CLOSE_TIMEOUT_MS, GOODBYE_TIMEOUT_MS};
use crate::shell::state::network_keys::network_tag;
use crate::shell::state::state_dir::StateDir;
use crate::ui::command::UserCommand;
use crate::ui::json;
use crate::ui::json_parser::events::parse_event;
use crate::ui::request::{Request, RequestKind};
use crate::ui::session_event::{EventKind, Ready};
use crate::wire::code::parse_peer;

const SERVER_TOKEN: Token = Token(4);
/// Longest event, in bytes. A batch of foreign lines fits, with every character escaped.
const EVENT_MAX_BYTES: usize = 4 * 1024 * 1024;
/// How long a client waits for an answer of the server, in milliseconds.
pub const RESPONSE_TIMEOUT_MS: u64 = 10_000;
/// How long after `-W` the server may report that it has not found a guest, in milliseconds.
const GUEST_REPORT_TIMEOUT_MS: u64 = 500;
/// Time between two attempts to attach to a server or to lock the directory, in milliseconds.
const RECONNECT_INTERVAL_MS: u64 = 5;

/// The state of an attached run. If the server ends, the run continues with the next server.
#[derive(Default)]
pub struct Client {
    /// The first event of the newest server. `None`: the run was never attached to a server.
    ready: Option<Ready>,
    /// The last time when the server answered or no request was pending. Timeouts count from it.
    last_answer_at: Time,
    /// When the ended run stops waiting for the server to store its last lines. `None`: the run has
    /// not begun this wait.
    unsent_deadline: Option<Time>,
}

impl Client {
    /// Runs as a client of the server until this run or the server ends. Returns the exit status of
    /// this run. `None`: the server ended first.
    ///
    /// # Errors
    /// Exit status 78: this server's network differs from the previous server's. 1: the system
    /// refuses a socket or the terminal.
    pub fn run(
        &mut self,
        builder: &mut FrontendBuilder,
        directory: &Path,
        stream: UnixStream,
        ready: &Ready,
    ) -> Result<Option<ExitStatus>, Failure> {
        self.check_network(ready.network)?;
        let ActiveFrontend {
            mut frontend,
            mut signals,
        } = builder.take_or_build(&ready.me, ready.uptime_ms)?;
        // The server has already reported errors in this file.
        let known_peers = StateDir::open_unlocked(directory).read_known_peers(&mut Vec::new());
        for known in known_peers.unwrap_or_default() {
            frontend.renderer.record_known_name(known.id, &known.nick);
        }
        let stream = mio::net::UnixStream::from_std(stream);
        let registry = builder.poll.registry();
        let mut connection = Connection::new(stream, registry, SERVER_TOKEN, EVENT_MAX_BYTES)
            .map_err(|error| Failure::io("control.sock cannot be used", &error))?;
        self.ready = Some(ready.clone());
        let now = builder.clock.now();
        self.last_answer_at = now.time;
        for endpoint in builder.endpoints() {
            let kind = RequestKind::Dial {
                host: endpoint.host.clone(),
                port: endpoint.port,
                peer: endpoint.peer,
            };
            json::append_request(&Request::new(None, kind), &mut connection.output);
        }
        frontend.exit_policy.retention = Retention::Server;
        frontend.begin_turn(now);
        frontend.begin(ready);
        let ended = self.run_turns(builder, &mut frontend, &mut signals, &mut connection);
        frontend.exit_policy.retention = Retention::NextRun;
        let ended = ended.map_err(|error| Failure::io("the run ended early", &error))?;
        match ended {
            Some(_) => {
                close(&mut frontend);
                pass_requests(builder, &mut frontend, &mut connection, self.last_answer_at);
                connection.flush();
            }
            None => builder.existing = Some(ActiveFrontend { frontend, signals }),
        }
        Ok(ended)
    }

    /// Checks that `network` is the previous server's network, if there was a previous server. A
    /// run must not change its network, because the network's secret decides who can read its
    /// lines.
    fn check_network(&self, network: NetworkTag) -> Result<(), Failure> {
        let before = self.ready.as_ref().map(|ready| ready.network);
        if before.is_some_and(|before| before != network) {
            return Err(Failure::config(
                "the p2pchat through which this one acted has ended, and its network was another: \
                 give its --secret-file to go on",
            ));
        }
        Ok(())
    }

    fn run_turns(
        &mut self,
        builder: &mut FrontendBuilder,
        frontend: &mut Frontend,
        signals: &mut Signals,
        connection: &mut Connection,
    ) -> io::Result<Option<ExitStatus>> {
        let mut events = Events::with_capacity(16);
        let mut now = builder.clock.now();
        loop {
            frontend.end_turn();
            pass_requests(builder, frontend, connection, now.time);
            connection.flush();
            if let Some(status) = self.poll_exit_status(frontend, now) {
                return Ok(Some(status));
            }
            let has_requests =
                frontend.has_input(true, Backpressure::None) && connection.can_answer();
            let has_events =
                frontend.can_accept() && (connection.can_read() || connection.has_line());
            let timeout = match self.next_deadline(frontend, now.time) {
                _ if has_requests || has_events => Some(Duration::ZERO),
                deadline => deadline.map(|at| Duration::from_millis(at.ms_since(now.time))),
            };
            match builder.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
                polled => polled?,
            }
            now = builder.clock.now();
            frontend.begin_turn(now);
            for event in &events {
                match event.token() {
                    SIGNALS_TOKEN => handle_signals(frontend, signals),
                    STDIN_TOKEN => frontend.handle_stdin_event(),
                    STDOUT_TOKEN => frontend.handle_stdout_event(event),
                    SERVER_TOKEN => connection.handle_event(event),
                    _ => {}
                }
            }
            self.read_events(frontend, connection, now.time);
            if connection.is_closed() && !connection.has_line() {
                return Ok(None);
            }
            if frontend.exit_policy.exit_status().is_none() && connection.can_answer() {
                frontend.read_input(now, true, Backpressure::None);
            }
        }
    }

    /// Passes events to the frontend, as long as it has room for lines.
    fn read_events(&mut self, frontend: &mut Frontend, connection: &mut Connection, now: Time) {
        if connection.can_read() && frontend.can_accept() {
            connection.read();
        }
        // While the reader of stdout pauses, no answer is read.
        let is_over = frontend.deadline().is_some_and(|at| at <= now);
        if frontend.pending.is_empty() || !frontend.can_accept() && !is_over {
            self.last_answer_at = now;
        }
        let own = self.ready.as_ref().map(|ready| ready.me.id);
        while frontend.can_accept()
            && let Some(line) = connection.next_line()
        {
            let Some(event) = line.ok().and_then(|line| parse_event(line, own)) else {
                continue;
            };
            // Lines come before the end of a folder, which is an answer.
            let oldest = frontend.pending.oldest();
            if event.id.is_some() || oldest.is_some_and(PendingRequest::is_answered_at_once) {
                self.last_answer_at = now;
            }
            self.observe_nick(&event.kind);
            frontend.emit(event);
        }
    }

    /// Records a change of our nick. If this run locks the directory later, it keeps the new nick.
    fn observe_nick(&mut self, kind: &EventKind) {
        if let (EventKind::Notice(notice), Some(ready)) = (kind, &mut self.ready)
            && let Notice::Renamed { peer, .. } = &**notice
            && peer.id == ready.me.id
        {
            ready.me.nick = peer.nick.clone();
        }
    }

    /// Waits a few milliseconds before the next attempt to attach or to lock the directory. Returns
    /// the exit status if the run is over.
    ///
    /// # Errors
    /// The system refuses to poll.
    pub fn wait_to_reconnect(
        &mut self,
        builder: &mut FrontendBuilder,
    ) -> Result<Option<ExitStatus>, Failure> {
        let mut events = Events::with_capacity(16);
        let interval = Duration::from_millis(RECONNECT_INTERVAL_MS);
        match builder.poll.poll(&mut events, Some(interval)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                return Err(Failure::io("the run ended early", &error));
            }
            _ => {}
        }
        let Some(ActiveFrontend { frontend, signals }) = &mut builder.existing else {
            return Ok(None);
        };
        let now = builder.clock.now();
        frontend.begin_turn(now);
        handle_signals(frontend, signals);
        for event in &events {
            match event.token() {
                STDIN_TOKEN => frontend.handle_stdin_event(),
                STDOUT_TOKEN => frontend.handle_stdout_event(event),
                _ => {}
            }
        }
        cancel_direct(frontend);
        if !frontend.exit_policy.has_ended() {
            return Ok(None);
        }
        frontend.end_turn();
        let status = self.poll_exit_status(frontend, now);
        if status.is_some() {
            close(frontend);
        }
        Ok(status)
    }

    /// Takes over the previous server's options, and the frontend's rooms. The run has locked the
    /// directory, and continues without a server. Does nothing if there was no previous server.
    ///
    /// # Errors
    /// Exit status 78: the network of this run's options differs from the previous server's.
    pub fn adopt_options(&self, builder: &mut FrontendBuilder) -> Result<(), Failure> {
        let Some(ready) = self.ready.clone() else {
            return Ok(());
        };
        self.check_network(network_tag(builder.keys.as_ref()))?;
        // Peers and firewalls know the port.
        builder.preferred_port = ready.port;
        builder.options.username = ready.me.nick;
        builder.options.multicast = ready.multicast;
        builder.options.interfaces = ready.interfaces;
        builder.options.nat = ready.maps_port && !builder.mode.is_transient();
        builder.options.mdns = ready.uses_mdns;
        let scan = ready.scan.as_ref().filter(|_| !builder.mode.is_transient());
        builder.options.scan = scan.and_then(|it| ScanTarget::parse(it.as_ref()).ok());
        builder.options.lsnp = ready.speaks_lsnp;
        builder.options.lsnp_room = ready.lsnp_room;
        builder.options.go_room = ready.speaks_go;
        builder.options.grapes = ready.grapes;
        builder.options.dht = ready.uses_dht;
        builder.options.dht_bootstrap = ready.dht_bootstrap;
        builder.options.timing = ready.timing;
        if let Some(ActiveFrontend { frontend, .. }) = &builder.existing {
            builder.options.rooms = frontend.rooms().to_vec();
        }
        Ok(())
    }

    /// When the client must act even if the server sends nothing. A deadline that has passed needs
    /// no further turn: the run waits for an answer.
    fn next_deadline(&self, frontend: &Frontend, now: Time) -> Option<Time> {
        let answer = (!frontend.pending.is_empty()).then(|| self.answer_deadline(frontend));
        let of_guests = guest_answer_deadline(frontend);
        let deadlines = [
            frontend.next_turn_at(),
            self.unsent_deadline,
            answer,
            of_guests,
        ];
        let future = deadlines.into_iter().flatten().filter(|at| *at > now);
        future.min()
    }

    /// When the server must have answered.
    fn answer_deadline(&self, frontend: &Frontend) -> Time {
        let wait_ms = frontend
            .pending
            .oldest()
            .map_or(0, |oldest| oldest.wait_ms());
        self.last_answer_at + wait_ms + RESPONSE_TIMEOUT_MS
    }

    /// Returns the exit status once the run is over. `-W` limits only the delivery. The run goes on
    /// while it waits for an answer, because the server may be busy.
    fn poll_exit_status(&mut self, frontend: &mut Frontend, now: Now) -> Option<ExitStatus> {
        let has_ended = frontend.exit_policy.has_ended();
        if frontend.exit_policy.is_aborted() || self.is_unsent_over(now.time) {
            cancel_direct(frontend);
        }
        if has_ended && frontend.has_unsent_lines() {
            let deadline = *self
                .unsent_deadline
                .get_or_insert(now.time + GOODBYE_TIMEOUT_MS);
            if deadline > now.time {
                return None;
            }
        }
        if self.is_server_stalled(frontend, now.time) {
            abandon_server(frontend);
            self.unsent_deadline = None;
        } else if !has_ended && !frontend.is_blocked() && !frontend.pending.is_empty() {
            let guests_until = guest_answer_deadline(frontend);
            if guests_until.is_none_or(|at| at > now.time) {
                return None;
            }
        }
        frontend.poll_exit_status(now)
    }

    fn is_unsent_over(&self, now: Time) -> bool {
        self.unsent_deadline.is_some_and(|at| at <= now)
    }

    /// Whether an answer of the server is overdue. Lines may wait in the server. An answer to lines
    /// is thus overdue only once this run must end.
    fn is_server_stalled(&self, frontend: &Frontend, now: Time) -> bool {
        let pending = &frontend.pending;
        let is_late = self.answer_deadline(frontend) <= now;
        let must_end = frontend.deadline().is_some_and(|at| at <= now) && !frontend.is_blocked();
        let is_waiting = pending
            .oldest()
            .is_some_and(PendingRequest::is_answered_at_once)
            || pending.has_lines() && must_end;
        is_waiting && is_late || pending.has_lines() && self.is_unsent_over(now)
    }
}

/// Until when lines to guests may wait for an answer, if nothing else waits. The server reports at
/// the end of `-W` that it has not found a guest, and this report takes a moment.
fn guest_answer_deadline(frontend: &Frontend) -> Option<Time> {
    let pending = &frontend.pending;
    let waits = !pending.has_other() && pending.unanswered_lines() == UnansweredLines::ToGuests;
    Some(frontend.deadline().filter(|_| waits)? + GUEST_REPORT_TIMEOUT_MS)
}

/// Passes the requests of the frontend to the server, as long as the connection has room.
fn pass_requests(
    builder: &mut FrontendBuilder,
    frontend: &mut Frontend,
    connection: &mut Connection,
    now: Time,
) {
    while connection.output.len() < OUTPUT_MAX_BYTES
        && let Some(request) = frontend.next_request(now)
    {
        if let RequestKind::Command(UserCommand::Connect(text)) = &*request.kind {
            for endpoint in parse_peer(text).unwrap_or_default() {
                // The server reports that the list is full.
                add_endpoint(&mut builder.connected_endpoints, &endpoint);
            }
        }
        json::append_request(&request, &mut connection.output);
    }
}

fn handle_signals(frontend: &mut Frontend, signals: &mut Signals) {
    for signal in signals.take_pending() {
        frontend.handle_signal(signal);
    }
}

fn close(frontend: &mut Frontend) {
    frontend.close(Instant::now() + Duration::from_millis(CLOSE_TIMEOUT_MS));
}

/// If the run has ended, drops the lines whose recipient is still unknown, and prints a warning.
fn cancel_direct(frontend: &mut Frontend) {
    if !frontend.exit_policy.has_ended() {
        return;
    }
    for sentence in frontend.pending.cancel_direct() {
        frontend.exit_policy.record_refusal();
        frontend.warn(&sentence);
    }
}

/// Ends the run with an error, and stops waiting for the server.
fn abandon_server(frontend: &mut Frontend) {
    frontend.warn(
        "the p2pchat that runs in this directory does not answer: whether it stored the last lines \
         is unknown",
    );
    frontend.exit_policy.end(ExitStatus::GeneralError);
    frontend.pending.clear();
}
