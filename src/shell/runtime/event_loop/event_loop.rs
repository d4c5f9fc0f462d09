//! The one loop: polls sockets, threads and signals, feeds the core, and carries out what it wants.
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use mio::{Events, Poll, Token};

use crate::base::event::{Command, FoundVia, Input, Interface, LoadRequest, Notice, Output};
use crate::base::name::{FolderName, Room};
use crate::base::range::LogRange;
use crate::base::table::SortedSet;
use crate::base::time::Now;
use crate::node::node::Node;
use crate::node::save_barrier::SaveBarrier;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::config::options;
use crate::shell::config::options::Options;
use crate::shell::config::reload;
use crate::shell::ipc::server::Server;
use crate::shell::net::interface_watch::InterfaceWatch;
use crate::shell::net::multicast::Multicast;
use crate::shell::net::resolver::ResolvedQueue;
use crate::shell::net::tcp::{READ_BUDGET_BYTES, StreamEvent, TcpStreams};
use crate::shell::os::clock::Clock;
use crate::shell::os::poll::{SIGNALS_TOKEN, WAKE_TOKEN};
use crate::shell::os::signals::Signals;
use crate::shell::session::session::Session;
use crate::shell::state::state_dir::StateDir;
use crate::shell::store::store::Store;
use crate::wire::code::Endpoint;

const LISTENER_TOKEN: Token = Token(2);
const NETLINK_TOKEN: Token = Token(3);
const IPC_TOKENS: std::ops::Range<usize> = 16..64;
const MULTICAST_TOKENS: std::ops::Range<usize> = 64..1024;
const FIRST_STREAM_TOKEN: usize = 1024;

/// Datagrams taken in one turn: a flood must not starve the links.
const DATAGRAMS_PER_TURN_MAX: usize = 64;
const PARTIAL_MULTICAST_WARNING: &str = "not all beacons can be heard: if another program holds the UDP port, choose another group with -m, the same for all";
/// Milliseconds that goodbyes may take to go out, and the last lines with them: after a signal all is over within two seconds.
const GOODBYE_TIMEOUT_MS: u64 = 1_300;
const SHUTDOWN_TIMEOUT_MS: u64 = 1_800;

/// The folders of the history that are open from the start, and what each holds.
pub type OpenedFolders = Vec<(FolderName, Vec<LogRange>)>;

/// Everything the loop is made of.
pub struct EventLoopParts {
    pub poll: Poll,
    pub clock: Clock,
    pub node: Node,
    pub store: Store,
    pub opened_folders: OpenedFolders,
    pub streams: TcpStreams,
    pub multicast: Multicast,
    pub resolved: ResolvedQueue,
    /// Looks up names, for `found`.
    pub resolve_hosts: Box<dyn Fn(Vec<Endpoint>)>,
    pub options: Options,
    pub session: Session,
    pub signals: Signals,
    pub ipc_server: Server,
    pub state: StateDir,
}

pub struct EventLoop {
    pub(super) poll: Poll,
    clock: Clock,
    pub(super) now: Now,
    pub(super) node: Node,
    pub(super) store: Store,
    opened_folders: OpenedFolders,
    pub(super) streams: TcpStreams,
    multicast: Multicast,
    resolved: ResolvedQueue,
    pub(super) resolve_hosts: Box<dyn Fn(Vec<Endpoint>)>,
    pub(super) options: Options,
    interface_watch: InterfaceWatch,
    signals: Signals,
    pub(super) session: Session,
    pub(super) ipc_server: Server,
    state: StateDir,
    /// Inputs that executed outputs led to.
    pending_inputs: VecDeque<Input<'static>>,
    save_barrier: SaveBarrier,
    /// Executed one a turn, so that a link that lags does not delay the others.
    pending_loads: VecDeque<LoadRequest>,
    /// Rooms that are not shown any more, and left when somebody holds what was said there.
    pub(super) rooms_to_leave: SortedSet<Room>,
    buffer: Vec<u8>,
}

/// # Errors
/// `AddrInUse`: the port is taken.
pub fn listen_tcp(port: u16, poll: &Poll) -> io::Result<TcpStreams> {
    TcpStreams::listen(port, poll.registry(), LISTENER_TOKEN, FIRST_STREAM_TOKEN)
}

/// # Errors
/// As [`Control::open`].
pub fn open_ipc_server(directory: Option<&Path>, poll: &Poll) -> Result<Server, Failure> {
    Server::open(directory, poll.registry(), IPC_TOKENS)
}

pub fn create_multicast(group: Option<std::net::SocketAddrV4>) -> Multicast {
    Multicast::new(group, MULTICAST_TOKENS)
}

impl EventLoop {
    /// # Errors
    /// The system refuses signals or a socket.
    pub fn new(parts: EventLoopParts) -> io::Result<EventLoop> {
        let registry = parts.poll.registry();
        let now = parts.clock.now();
        let only = parts.options.interfaces.clone();
        let surroundings = InterfaceWatch::new(registry, NETLINK_TOKEN, only, now.time)?;
        Ok(EventLoop {
            poll: parts.poll,
            clock: parts.clock,
            now,
            node: parts.node,
            store: parts.store,
            opened_folders: parts.opened_folders,
            streams: parts.streams,
            multicast: parts.multicast,
            resolved: parts.resolved,
            resolve_hosts: parts.resolve_hosts,
            options: parts.options,
            interface_watch: surroundings,
            signals: parts.signals,
            session: parts.session,
            ipc_server: parts.ipc_server,
            state: parts.state,
            pending_inputs: VecDeque::new(),
            save_barrier: SaveBarrier::default(),
            pending_loads: VecDeque::new(),
            rooms_to_leave: SortedSet::new(),
            buffer: Vec::new(),
        })
    }

    /// Runs until the session is over. Gives the exit status.
    ///
    /// # Errors
    /// The history or the poll fails in a way that leaves nothing to do.
    pub fn run(mut self) -> io::Result<ExitStatus> {
        for (folder, ranges) in std::mem::take(&mut self.opened_folders) {
            let room = folder.room();
            let shown = room.is_none_or(|room| self.options.rooms.contains(&room));
            self.register_folder(folder, ranges, shown);
        }
        self.refresh_interfaces();
        self.session.announce_ready(
            self.streams.port()?,
            &self.node.own_peer(),
            self.node.current_room(),
        );
        let mut events = Events::with_capacity(256);
        if self.session.exit_policy.has_ended() {
            // What another program left to be said is said first.
            self.handle_user_input();
        }
        let ended = self.run_turns(&mut events);
        self.shut_down(&mut events, ended.is_ok())?;
        ended
    }

    fn run_turns(&mut self, events: &mut Events) -> io::Result<ExitStatus> {
        loop {
            self.end_turn()?;
            let (met, stored) = (self.node.link_count() > 0, self.node.can_accept());
            let stuck = !met && self.store.is_full();
            if let Some(sentence) = self
                .session
                .exit_policy
                .update_blocked(self.now.time, stuck)
            {
                self.session.warn(sentence);
            }
            let delivery = || self.node.delivery();
            if let Some(status) = self
                .session
                .poll_exit_status(self.now, met, stored, delivery)
            {
                return Ok(status);
            }
            self.wait_for_events(events)?;
            self.handle_events(events)?;
        }
    }

    /// More may be said.
    pub(super) fn can_accept(&mut self) -> bool {
        self.node.can_accept() && !self.store.is_full()
    }

    fn wait_for_events(&mut self, events: &mut Events) -> io::Result<()> {
        let takes = self.can_accept();
        let busy = self.streams.has_readable()
            || self.multicast.has_readable()
            || !self.pending_loads.is_empty()
            || self.session.has_input(takes)
            || self.ipc_server.has_work(takes);
        let deadlines = [
            self.node.next_timeout(),
            self.session.deadline(),
            self.ipc_server.deadline(),
            Some(self.interface_watch.deadline()),
        ];
        let least = deadlines
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(self.interface_watch.deadline());
        let timeout = if busy {
            0
        } else {
            least.ms_since(self.now.time)
        };
        self.poll_events(events, timeout)
    }

    /// `timeout` in milliseconds. A signal ends it early.
    fn poll_events(&mut self, events: &mut Events, timeout: u64) -> io::Result<()> {
        match self.poll.poll(events, Some(Duration::from_millis(timeout))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
            done => done?,
        }
        self.now = self.clock.now();
        Ok(())
    }

    fn handle_events(&mut self, events: &Events) -> io::Result<()> {
        let mut changes = Vec::new();
        for event in events {
            match event.token() {
                WAKE_TOKEN => {}
                SIGNALS_TOKEN => self.handle_signals(),
                LISTENER_TOKEN => {
                    let surroundings = &self.interface_watch;
                    let welcome = |own: SocketAddr| surroundings.can_accept_on(own.ip());
                    self.streams
                        .accept(self.poll.registry(), welcome, &mut changes);
                }
                NETLINK_TOKEN => self.interface_watch.handle_netlink_event(self.now.time),
                token if self.ipc_server.owns_token(token) => self.ipc_server.handle_event(event),
                token if self.multicast.owns_token(token) => self.multicast.mark_readable(token),
                _ => self.streams.handle_event(event, &mut changes),
            }
        }
        for change in changes {
            self.session.stderr.debug(|| format!("{change:?}"));
            match change {
                StreamEvent::Accepted(stream, address) => {
                    self.handle_input(Input::Accepted { stream, address })
                }
                StreamEvent::Connected(stream) => self.handle_input(Input::Connected { stream }),
                StreamEvent::Writable(stream) => self.handle_input(Input::Writable { stream }),
                StreamEvent::Closed(stream) => self.handle_input(Input::Closed { stream }),
            }
        }
        self.read_datagrams();
        self.read_streams();
        for _ in 0..self.pending_loads.len() {
            if let Some(load) = self.pending_loads.pop_front() {
                self.load_batches(load);
            }
        }
        for found in self.resolved.take() {
            self.handle_input(Input::Candidate {
                address: found.address,
                peer: found.peer,
                found_via: FoundVia::Static,
            });
        }
        self.handle_ipc_requests();
        self.handle_user_input();
        if self.interface_watch.deadline() <= self.now.time {
            self.refresh_interfaces();
        }
        // The core's time is that of its last input.
        let deadlines = [self.node.next_timeout(), self.ipc_server.deadline()];
        if deadlines
            .into_iter()
            .flatten()
            .any(|at| at <= self.now.time)
        {
            self.handle_input(Input::Timeout);
        }
        Ok(())
    }

    fn end_turn(&mut self) -> io::Result<()> {
        self.leave_drained_rooms();
        // A disk that is full stops nothing that is already there; saving will tell.
        let dropped = self.store.enforce_limits(&self.node).unwrap_or_default();
        for (log, low) in dropped {
            self.session.transcript.record_evicted(&log, low);
            self.handle_input(Input::Evicted { log, low });
        }
        if self.store.take_sync_failed() {
            self.session
                .warn("the disk refuses what it was given: a power cut would take lines");
        }
        self.ipc_server.end_turn(&self.store, &self.node);
        self.session.end_turn(&mut self.store)
    }

    fn handle_signals(&mut self) {
        for signal in self.signals.take_pending() {
            if self.session.handle_signal(signal) {
                self.reload_options();
            }
        }
    }

    /// Options and known peers stand differently perhaps. Those that cannot be read stay as they were.
    fn reload_options(&mut self) {
        let mut warnings = Vec::new();
        match options::from_process() {
            Ok(options) => {
                let (commands, names) = reload::diff_options(&self.options, &options);
                self.options.username = options.username;
                self.options.rooms = options.rooms;
                self.options.static_peers = options.static_peers;
                self.session.queue_commands(commands);
                (self.resolve_hosts)(names);
            }
            Err(failure) => warnings.push(failure.message),
        }
        if self.state.directory().is_some() {
            match self.state.read_known_peers(&mut warnings) {
                Ok(known) => self.handle_input(Input::KnownPeers(known)),
                Err(failure) => warnings.push(failure.message),
            }
        }
        for warning in warnings {
            self.session.warn(&warning);
        }
    }

    fn read_datagrams(&mut self) {
        let mut buffer = [0; 1500];
        for _ in 0..DATAGRAMS_PER_TURN_MAX {
            let Some(received) = self.multicast.receive(&mut buffer) else {
                break;
            };
            let bytes = buffer.get(..received.length).unwrap_or_default();
            self.handle_input(Input::Datagram {
                interface: received.interface_index,
                source: received.source,
                bytes,
            });
        }
    }

    fn read_streams(&mut self) {
        for stream in self.streams.take_readable() {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize(READ_BUDGET_BYTES, 0);
            match self.streams.read(stream, &mut buffer) {
                Ok(0) => {}
                Ok(n) => self.handle_input(Input::Bytes {
                    stream,
                    bytes: buffer.get(..n).unwrap_or_default(),
                }),
                Err(_) => self.handle_input(Input::Closed { stream }),
            }
            self.buffer = buffer;
        }
    }

    /// Lines and commands of the person or script. A room to be joined is opened first.
    fn handle_user_input(&mut self) {
        let takes = self.can_accept();
        self.session.read_input(self.now, takes);
        while let Some(command) = self.session.next_command(self.now.time) {
            if let Command::Join(room) = &command {
                let room = room.clone();
                self.open_room_or_notify(&room, true);
            }
            let moves = matches!(command, Command::Join(_) | Command::Part(_));
            match command {
                Command::Part(room) => self.part_room(room),
                command => self.handle_input(Input::Command(command)),
            }
            if moves {
                self.move_to_shown_room();
                self.session.set_current_room(self.node.current_room());
            }
        }
        self.session
            .poll_history_query(self.now, &self.store, self.node.current_room());
    }

    fn refresh_interfaces(&mut self) {
        let registry = self.poll.registry();
        let seen = self
            .interface_watch
            .refresh(self.now.time, registry, &mut self.multicast);
        if seen.is_multicast_failing {
            self.session.warn(PARTIAL_MULTICAST_WARNING);
        }
        if let Some(usable) = seen.changed_interfaces {
            self.session
                .stderr
                .debug(|| format!("interfaces: {}", interface_names(&usable)));
            self.handle_input(Input::InterfacesChanged(usable));
        }
    }

    /// Goodbye: to the peers, to the reader of stdout, and, after a run that went `well`, to the disk.
    fn shut_down(mut self, events: &mut Events, well: bool) -> io::Result<()> {
        self.ipc_server.close();
        self.handle_input(Input::Command(Command::Leave));
        let (until, last) = (
            self.now.time + GOODBYE_TIMEOUT_MS,
            self.now.time + SHUTDOWN_TIMEOUT_MS,
        );
        while self.streams.has_unsent() && self.now.time < until {
            self.poll_events(events, until.ms_since(self.now.time))?;
            let mut changes = Vec::new();
            for event in events
                .iter()
                .filter(|event| event.token().0 >= FIRST_STREAM_TOKEN)
            {
                self.streams.handle_event(event, &mut changes);
            }
            for stream in self.streams.take_readable() {
                let mut buffer = std::mem::take(&mut self.buffer);
                // A stream that ended is gone after this, and what it says is of no more interest.
                let _ = self.streams.read(stream, &mut buffer);
                self.buffer = buffer;
            }
        }
        let (node, datagrams) = (self.node.counters(), self.multicast.counters());
        self.session
            .stderr
            .debug(|| format!("{node:?}, datagrams: {datagrams:?}"));
        self.session
            .close(&mut self.store, last.ms_since(self.now.time));
        // Without the mark of a clean end the next run goes on under new numbers: safe, whatever the disk does.
        if well && self.store.close(&self.node).is_ok() {
            let _ = self.state.write_clean_marker(&self.node.resume_state());
        }
        Ok(())
    }

    /// One input, and everything that follows from it.
    pub(super) fn handle_input(&mut self, input: Input<'_>) {
        self.node.handle(self.now, input);
        self.drain_outputs();
        while let Some(input) = self.pending_inputs.pop_front() {
            self.node.handle(self.now, input);
            self.drain_outputs();
        }
    }

    fn drain_outputs(&mut self) {
        while let Some(output) = self.node.poll_output() {
            if let Some(output) = self.save_barrier.admit(output) {
                self.execute_output(output);
            }
        }
        let streams = &mut self.streams;
        self.save_barrier
            .finish(&mut self.pending_inputs, |stream| streams.abort(stream));
    }

    fn execute_output(&mut self, output: Output) {
        match output {
            Output::SendBeacon { bytes } => {
                self.multicast.send(&bytes);
            }
            Output::Dial { stream, address } => {
                self.session
                    .stderr
                    .debug(|| format!("dial {address}: {stream:?}"));
                let mut changes = Vec::new();
                self.streams
                    .dial(self.poll.registry(), stream, address, &mut changes);
                if !changes.is_empty() {
                    self.pending_inputs.push_back(Input::Closed { stream });
                }
            }
            Output::Write { stream, bytes } => {
                if self.streams.write(stream, &bytes) {
                    self.pending_inputs.push_back(Input::Blocked { stream });
                }
            }
            Output::Close { stream } => {
                self.session.stderr.debug(|| format!("close {stream:?}"));
                self.streams.close(stream)
            }
            Output::Save { batch, local } => {
                if let Err(error) = self.store.save(&batch, local) {
                    self.session.stderr.debug(|| format!("save: {error}"));
                    self.save_barrier.record_failure(batch);
                }
            }
            Output::Load(request) => self.pending_loads.push_back(request),
            Output::SaveKnownPeer(known) => {
                self.session
                    .renderer
                    .record_known_name(known.id, &known.nick);
                self.ipc_server.send_peer_nick(&known);
                if self.state.append_known_peer(&known).is_err() {
                    self.session.warn(
                        "known_peers cannot be written: who was met today will be new tomorrow",
                    );
                }
            }
            Output::SaveReceipts(receipts) => {
                // Without the note the next run has carried what its readers have already: a waste, and no harm.
                let _ = self.state.write_receipts(&receipts);
            }
            Output::Notice(notice) => self.notify(notice),
        }
    }

    pub(super) fn notify(&mut self, notice: Notice) {
        if let Some(notice) = self.ipc_server.route_notice(notice, &self.store) {
            self.session.handle_notice(notice, &self.store);
        }
    }
}

fn interface_names(interfaces: &[Interface]) -> String {
    let names: Vec<&str> = interfaces.iter().map(|i| i.name.as_str()).collect();
    names.join(" ")
}
