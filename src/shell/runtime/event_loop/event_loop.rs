//! The event loop. Polls sockets, helper threads and signals, and dispatches their events. It
//! makes no decisions itself.
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll};

use crate::base::error_code::{ErrorCode, Refusal};
use crate::base::event::input::Input;
use crate::base::event::load::LoadRequest;
use crate::base::event::notice::{Notice, ResolvedRecipient};
use crate::base::identity::NetworkTag;
use crate::base::name::{FolderName, Room};
use crate::base::range::LogRanges;
use crate::base::table::SortedSet;
use crate::base::time::{Now, Time};
use crate::node::node::Node;
use crate::node::save_barrier::SaveBarrier;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::options::Options;
use crate::shell::ipc::server::Server;
use crate::shell::net::finders::finders::Finders;
use crate::shell::net::interface_watch::InterfaceWatch;
use crate::shell::net::lsnp::LsnpSockets;
use crate::shell::net::multicast::Multicast;
use crate::shell::net::resolver::{Resolution, Resolver};
use crate::shell::net::tcp::TcpStreams;
use crate::shell::os::clock::Clock;
use crate::shell::os::poll::{SIGNALS_TOKEN, STDIN_TOKEN, STDOUT_TOKEN, WAKE_TOKEN};
use crate::shell::os::signals::Signals;
use crate::shell::runtime::folder_audits::FolderAudits;
use crate::shell::runtime::poll_sources::{LISTENER_TOKEN, NETLINK_TOKEN};
use crate::shell::runtime::port_mapping::PortMapping;
use crate::shell::session::frontend::frontend::Frontend;
use crate::shell::session::session::Session;
use crate::shell::state::state_dir::StateDir;
use crate::shell::store::eviction::EvictedLog;
use crate::shell::store::store::Store;

/// The folders opened at the start of a run. The ranges tell which lines of each log the folder
/// contains.
pub type OpenedFolders = Vec<(FolderName, LogRanges)>;

/// Identifies a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKey {
    /// The session of this process.
    Local,
    /// The session of the client with this key.
    Client(usize),
}

/// The answer of the core to a search for a recipient.
pub struct ResolvedSearch {
    pub(super) id: u64,
    pub(super) result: Result<ResolvedRecipient, Refusal>,
}

/// How long a `sync` that has succeeded stays for other ones, at most, in milliseconds.
const LINGER_MAX_MS: u64 = 2_000;

/// The arguments of [`EventLoop::new`].
pub struct EventLoopParts {
    /// The poll. The caller has registered the waker and the signals with it.
    pub poll: Poll,
    /// The clock that gives the core its time.
    pub clock: Clock,
    /// Wakes the poll from a helper thread.
    pub wake: Arc<dyn Fn() + Send + Sync>,
    /// The core.
    pub node: Node,
    /// The store: on disk, or in memory with --ephemeral.
    pub store: Store,
    /// The folders opened at the start. The core does not know of these folders yet.
    pub opened_folders: OpenedFolders,
    /// The TCP listener and streams.
    pub streams: TcpStreams,
    /// The sockets of the beacons.
    pub multicast: Multicast,
    /// The sockets of LSNP. `None`: this run does not speak it.
    pub lsnp: Option<LsnpSockets>,
    /// The static endpoints.
    pub resolver: Resolver,
    /// The finders. They have not started yet.
    pub finders: Finders,
    /// The port mapping of `--nat`.
    pub port_mapping: PortMapping,
    /// The options of the run.
    pub options: Options,
    /// The user's session.
    pub session: Session,
    /// The user's side of that session.
    pub frontend: Frontend,
    /// The signals that the process receives.
    pub signals: Signals,
    /// The server of `control.sock`.
    pub ipc_server: Server,
    /// The state directory. With --ephemeral there is no directory, and nothing is read or written.
    pub state: StateDir,
    /// The network of this run.
    pub network: NetworkTag,
}

/// A run that is not attached to another program. Passes inputs to the core one by one, and
/// executes the core's outputs.
pub struct EventLoop {
    pub(super) poll: Poll,
    pub(super) clock: Clock,
    /// The time when the last poll returned. It stays the same for the whole turn.
    pub(super) now: Now,
    pub(super) node: Node,
    pub(super) store: Store,
    pub(super) opened_folders: OpenedFolders,
    pub(super) streams: TcpStreams,
    pub(super) multicast: Multicast,
    pub(super) lsnp: Option<LsnpSockets>,
    pub(super) resolver: Resolver,
    pub(super) finders: Finders,
    pub(super) port_mapping: PortMapping,
    pub(super) options: Options,
    pub(super) interface_watch: InterfaceWatch,
    pub(super) signals: Signals,
    pub(super) session: Session,
    pub(super) frontend: Frontend,
    pub(super) ipc_server: Server,
    pub(super) state: StateDir,
    pub(super) network: NetworkTag,
    /// Inputs that arise while outputs are executed. The core gets these inputs before all others.
    pub(super) pending_inputs: VecDeque<Input<'static>>,
    /// The session whose request is in execution. Answers of the core go to it.
    pub(super) current_session: Option<SessionKey>,
    /// The searches for recipients that the core has answered.
    pub(super) resolved_searches: VecDeque<ResolvedSearch>,
    /// The id of the newest search for a recipient.
    pub(super) last_search_id: u64,
    /// When a session must next check the delivery of its lines. `None`: no check is due.
    pub(super) recheck_at: Option<Time>,
    pub(super) save_barrier: SaveBarrier,
    /// Reads of the store that the core has requested. They wait for the next turn, so that one
    /// lagging link does not delay other links.
    pub(super) pending_loads: VecDeque<LoadRequest>,
    /// Until when these reads wait, because no file descriptor was left for a read. Transcripts
    /// that could not read try again then. `None`: the next turn executes them.
    pub(super) loads_paused_until: Option<Time>,
    /// Rooms that a session has left, but the core has not. The core stays in such a room until
    /// at least one peer has acknowledged each line that this run published there.
    pub(super) rooms_to_leave: SortedSet<Room>,
    /// When a `sync` that has succeeded ends at the latest. `None`: it has not succeeded yet.
    lingers_until: Option<Time>,
    /// Compares the folders with what they should store.
    pub(super) audits: FolderAudits,
    /// Whether the user was warned that the store cannot keep its limits.
    is_limit_error_reported: bool,
    /// When a sync of the history begins in the background. `None`: nothing waits for one.
    sync_at: Option<Time>,
    /// The deadline for which the last poll waited. Reached, it starts a turn of the core's timers.
    wakes_at: Time,
    /// The buffer for reading from any stream.
    pub(super) read_buffer: Vec<u8>,
}

impl EventLoop {
    /// Combines the parts into an event loop, and begins to watch the network interfaces.
    ///
    /// # Errors
    /// The system refuses the netlink socket.
    pub fn new(mut parts: EventLoopParts) -> io::Result<EventLoop> {
        let registry = parts.poll.registry();
        let now = parts.clock.now();
        let allowed = parts.options.interfaces.clone();
        let interface_watch = InterfaceWatch::new(registry, NETLINK_TOKEN, allowed, now.time)?;
        Ok(EventLoop {
            poll: parts.poll,
            clock: parts.clock,
            now,
            node: parts.node,
            store: parts.store,
            opened_folders: parts.opened_folders,
            streams: parts.streams,
            multicast: parts.multicast,
            lsnp: parts.lsnp,
            resolver: parts.resolver,
            finders: parts.finders,
            port_mapping: parts.port_mapping,
            options: parts.options,
            interface_watch,
            signals: parts.signals,
            session: parts.session,
            frontend: parts.frontend,
            current_session: None,
            resolved_searches: VecDeque::new(),
            last_search_id: 0,
            recheck_at: None,
            ipc_server: parts.ipc_server,
            state: parts.state,
            network: parts.network,
            pending_inputs: VecDeque::new(),
            save_barrier: SaveBarrier::default(),
            pending_loads: VecDeque::new(),
            loads_paused_until: None,
            rooms_to_leave: SortedSet::new(),
            lingers_until: None,
            audits: FolderAudits::new(parts.wake),
            is_limit_error_reported: false,
            sync_at: None,
            wakes_at: now.time,
            read_buffer: Vec::new(),
        })
    }

    /// Runs until the session is over. Returns the exit status.
    ///
    /// # Errors
    /// The poll fails, or the listener has no port.
    pub fn run(mut self) -> io::Result<ExitStatus> {
        self.frontend.begin_turn(self.now);
        for (folder, ranges) in std::mem::take(&mut self.opened_folders) {
            self.register_folder(folder, ranges);
        }
        self.refresh_interfaces();
        let ready = self.ready();
        self.frontend.begin(&ready);
        self.finders.start_due(self.now.time, 0);
        let mut events = Events::with_capacity(256);
        // Requests that a former program has not answered are executed even if the run has ended.
        self.handle_requests();
        let ended = self.run_turns(&mut events);
        self.shut_down(&mut events, ended.is_ok())?;
        ended
    }

    fn run_turns(&mut self, events: &mut Events) -> io::Result<ExitStatus> {
        loop {
            self.end_turn();
            if let Some(status) = self.poll_exit_status() {
                return Ok(status);
            }
            self.wait_for_events(events)?;
            self.handle_events(events);
        }
    }

    /// Returns the exit status if the run is over.
    fn poll_exit_status(&mut self) -> Option<ExitStatus> {
        if self.frontend.needs_delivery() {
            self.frontend
                .set_delivery(self.session.delivery(&self.node));
        }
        let status = self.frontend.poll_exit_status(self.now);
        if self.frontend.is_ending() {
            self.session.stop();
        }
        status.filter(|status| !self.lingers(*status))
    }

    /// Whether a `sync` that has succeeded stays, so that another one that meets it can succeed,
    /// too.
    fn lingers(&mut self, status: ExitStatus) -> bool {
        if status != ExitStatus::Success || !self.frontend.exit_policy.mode.is_sync() {
            return false;
        }
        let now = self.now.time;
        let latest = *self.lingers_until.get_or_insert(now + LINGER_MAX_MS);
        let until = self
            .node
            .sync_lingers_until()
            .map(|until| until.min(latest));
        self.recheck_at = until.or(self.recheck_at);
        until.is_some_and(|until| until > now)
    }

    /// Whether lines can be published and stored now.
    pub(super) fn can_accept(&mut self) -> bool {
        self.node.can_accept() && !self.store.is_full()
    }

    /// When the loop must act, even if no event comes.
    fn next_deadline(&self) -> Time {
        let deadlines = [
            self.node.next_timeout(),
            self.frontend.next_turn_at(),
            self.recheck_at,
            self.streams.accept_at(),
            self.ipc_server.deadline(),
            self.audits.deadline(),
            self.loads_paused_until,
            self.multicast.rests_until(),
            self.finders.deadline(),
            self.sync_at,
        ];
        let interfaces = self.interface_watch.deadline();
        deadlines.into_iter().flatten().fold(interfaces, Time::min)
    }

    fn wait_for_events(&mut self, events: &mut Events) -> io::Result<()> {
        let can_accept = self.can_accept();
        let backpressure = self.node.backpressure(self.now.time);
        let has_work = self.streams.has_waiting(self.now.time)
            || self.streams.has_readable()
            || self.multicast.has_readable()
            || self.lsnp.as_ref().is_some_and(LsnpSockets::has_readable)
            || !self.pending_loads.is_empty() && self.loads_paused_until.is_none()
            || self.frontend.has_input(can_accept, backpressure)
            || self.session.has_work(true, &self.frontend)
            || self.ipc_server.has_work(self.now.time, can_accept);
        self.wakes_at = self.next_deadline();
        let timeout_ms = match has_work {
            true => 0,
            false => self.wakes_at.ms_since(self.now.time),
        };
        self.poll_events(events, timeout_ms)?;
        self.frontend.begin_turn(self.now);
        Ok(())
    }

    /// Waits for events, at most `timeout_ms` milliseconds. A signal ends the wait early.
    pub(super) fn poll_events(&mut self, events: &mut Events, timeout_ms: u64) -> io::Result<()> {
        let timeout = Duration::from_millis(timeout_ms);
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
            polled => polled?,
        }
        self.now = self.clock.now();
        Ok(())
    }

    fn handle_events(&mut self, events: &Events) {
        let mut stream_events = Vec::new();
        for event in events {
            match event.token() {
                WAKE_TOKEN => {}
                SIGNALS_TOKEN => self.handle_signals(),
                STDIN_TOKEN => self.frontend.handle_stdin_event(),
                STDOUT_TOKEN => self.frontend.handle_stdout_event(event),
                LISTENER_TOKEN => self.streams.mark_waiting(),
                NETLINK_TOKEN => self.interface_watch.handle_netlink_event(self.now.time),
                token if self.ipc_server.owns_token(token) => self.ipc_server.handle_event(event),
                token if self.multicast.owns_token(token) => self.multicast.mark_readable(token),
                token if self.owns_lsnp_token(token) => self.mark_lsnp_readable(token),
                _ => self.streams.handle_event(event, &mut stream_events),
            }
        }
        if self.streams.has_waiting(self.now.time) {
            self.accept_streams(&mut stream_events);
        }
        self.handle_stream_events(stream_events);
        self.read_datagrams();
        self.read_lsnp();
        self.read_streams();
        self.load_pending();
        self.handle_resolutions();
        self.handle_findings();
        self.handle_mapping_news();
        self.handle_requests();
        if self.interface_watch.deadline() <= self.now.time {
            self.refresh_interfaces();
        }
        // What has arrived comes before the deadlines. On a busy machine a turn may be late, and
        // the answer that a deadline waits for is among its events.
        if self.wakes_at <= self.now.time {
            self.handle_input(Input::Timeout);
        }
    }

    /// Passes the addresses of static endpoints to the core. Warns of a name that cannot be
    /// resolved.
    fn handle_resolutions(&mut self) {
        for Resolution {
            endpoint,
            addresses,
            is_requested,
        } in self.resolver.take_resolutions()
        {
            match addresses {
                Ok(addresses) => self.handle_input(Input::EndpointResolved {
                    endpoint: endpoint.to_string(),
                    addresses,
                    peer: endpoint.peer,
                    is_requested,
                }),
                Err(error) => {
                    let what = match endpoint.peer_without_host() {
                        Some(_) => "the addresses are not found",
                        None => "the name cannot be resolved",
                    };
                    self.notify(Notice::Error {
                        code: ErrorCode::Unreachable,
                        content: format!("--peer {endpoint}: {what} ({error}): it is tried again"),
                    });
                }
            }
        }
    }

    /// Ends a turn. Evicts lines beyond the store's limits, sends responses to clients, and prints
    /// the session's output.
    fn end_turn(&mut self) {
        self.handle_resolved();
        self.leave_drained_rooms();
        if let Some(now) = self.clock.take_step(self.now) {
            self.store.correct_readers(&now);
        }
        self.enforce_limits();
        self.run_audits();
        if let Some(address) = self.streams.update_segment_limit() {
            self.frontend.warn(&format!(
                "large packets to {address} get lost: only small ones are sent there now; check \
                 the MTU of the path"
            ));
        }
        if self.streams.take_shortage() {
            self.frontend.warn(
                "a connection was refused, because no more files may be open: raise the limit, as \
                 in `ulimit -n 256`",
            );
        }
        self.begin_due_sync();
        self.end_session_turns();
    }

    /// Begins a sync of the history in the background, if one is due. Warns if one has failed.
    fn begin_due_sync(&mut self) {
        let Some(fsync) = self.store.fsync() else {
            return;
        };
        fsync.begin_due();
        let due_in_ms = fsync.due_in().map(|due_in| due_in.as_millis() as u64 + 1);
        self.sync_at = due_in_ms.map(|ms| self.now.time + ms);
        if fsync.take_failed() {
            self.frontend.warn(
                "the history cannot be synced to its disk: a power cut may lose lines; check the \
                 disk",
            );
        }
    }

    /// Evicts lines beyond the store's limits. Tells the core and the sessions which logs have lost
    /// lines.
    fn enforce_limits(&mut self) {
        let evicted = match self.store.enforce_limits(&self.node) {
            Ok(evicted) => evicted,
            Err(error) => return self.warn_of_limits(&error),
        };
        for EvictedLog { log, first_kept } in evicted {
            self.record_evicted(&log, first_kept);
            self.handle_input(Input::Evicted {
                log,
                low: first_kept,
            });
        }
    }

    /// Warns that the store cannot keep its limits. Warns only once, because the store tries again
    /// and again. Does not warn of a full disk, which the next save reports.
    fn warn_of_limits(&mut self, error: &io::Error) {
        let is_full = matches!(
            error.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded
        );
        if !is_full && !std::mem::replace(&mut self.is_limit_error_reported, true) {
            self.frontend.warn(&format!(
                "the history cannot be kept within its limits: {error}; check its disk"
            ));
        }
    }

    /// Passes one input to the core, and executes the outputs that follow. Also passes the inputs
    /// that arise meanwhile.
    pub(super) fn handle_input(&mut self, input: Input<'_>) {
        self.node.handle(self.now, input);
        self.drain_outputs();
        while let Some(input) = self.pending_inputs.pop_front() {
            self.node.handle(self.now, input);
            self.drain_outputs();
        }
    }
}
