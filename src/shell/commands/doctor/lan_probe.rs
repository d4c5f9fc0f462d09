//! Runs the core for a while with a key of its own, as `p2pchat peers --ephemeral` does. Records
//! what is sent and received. It joins no room and stores nothing.
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use mio::{Events, Poll};

use crate::base::event::command::Command;
use crate::base::event::input::Input;
use crate::base::event::load::{LoadReply, LoadedLog};
use crate::base::event::output::Output;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::Nick;
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::node::config::NodeConfig;
use crate::node::link::HearsUs;
use crate::node::node::Node;
use crate::node::save_barrier::SaveBarrier;
use crate::shell::commands::doctor::lan_report::{LanReport, LinkedPeer};
use crate::shell::config::failure::Failure;
use crate::shell::config::options::Options;
use crate::shell::net::interface_watch::InterfaceWatch;
use crate::shell::net::multicast::{DATAGRAM_MAX_BYTES, Multicast};
use crate::shell::net::read_budget::READ_BUDGET_BYTES;
use crate::shell::net::tcp::{StreamEvent, TcpStreams, WriteOutcome};
use crate::shell::os::clock::Clock;
use crate::shell::os::poll::create_poll;
use crate::shell::runtime::poll_sources::{
    LISTENER_TOKEN, NETLINK_TOKEN, create_multicast, listen_tcp,
};
use crate::shell::state::identity_file::{generate_identity, random_bytes};
use crate::shell::state::network_keys::network_tag;
use crate::wire::secret::NetworkKeys;

/// The name of the probe. It is nobody's, so that no name seems to change its key.
const PROBE_NICK: &str = "doctor";
/// Longest time to look up the name of a host.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the goodbye may take, in milliseconds.
const GOODBYE_MS: u64 = 300;
/// How long the linked peers may take to say whether they hear us, in milliseconds.
const ANSWERS_MS: u64 = 1000;

/// Longest time for a link without -W, in milliseconds.
const LINK_TIMEOUT_MS: u64 = 5_000;

/// A static peer with its addresses.
pub struct ResolvedStatic {
    /// Host and port, as the user gave them.
    pub endpoint: String,
    /// The key that the user expects there.
    pub peer: Option<PeerId>,
    /// The addresses.
    pub addresses: Vec<SocketAddr>,
}

/// Makes a link with the peer at these addresses, whatever its key. `endpoint` names it.
///
/// # Errors
/// Exit status 1: the system refuses a socket or random bytes, or the poll fails.
pub fn probe_link(
    options: &Options,
    keys: Option<&NetworkKeys>,
    endpoint: &str,
    addresses: &[SocketAddr],
) -> Result<Option<LinkedPeer>, Failure> {
    let mut quiet = options.clone();
    quiet.multicast = None;
    let target = ResolvedStatic {
        endpoint: endpoint.to_owned(),
        peer: None,
        addresses: addresses.to_vec(),
    };
    let probe = LanProbe::new(&quiet, keys, None)?;
    probe.run_until_linked(options.wait_ms.unwrap_or(LINK_TIMEOUT_MS), target)
}

/// A running probe.
pub struct LanProbe {
    poll: Poll,
    clock: Clock,
    node: Node,
    streams: TcpStreams,
    multicast: Multicast,
    watch: InterfaceWatch,
    save_barrier: SaveBarrier,
    pending_inputs: VecDeque<Input<'static>>,
    report: LanReport,
}

impl LanProbe {
    /// Prepares a probe. `running`: the id of the program that runs in the directory.
    ///
    /// # Errors
    /// Exit status 1: the system refuses a socket or random bytes.
    pub fn new(
        options: &Options,
        keys: Option<&NetworkKeys>,
        running: Option<PeerId>,
    ) -> Result<LanProbe, Failure> {
        let failed = |error: io::Error| Failure::io("the network cannot be watched", &error);
        let (poll, _waker) = create_poll().map_err(failed)?;
        let streams = listen_tcp(0, &poll).map_err(failed)?;
        let mut clock = Clock::start();
        let now = clock.now();
        let identity = generate_identity()?;
        let own_ids = [Some(identity.id()), running].into_iter().flatten();
        let network = network_tag(keys);
        let beacon_key = keys.map(|keys| *keys.beacon_key());
        let report = LanReport {
            network,
            beacon_key,
            own_ids: own_ids.collect(),
            counts_own_host: false,
            interfaces: Vec::new(),
            methods: SortedMap::new(),
            heard: SortedMap::new(),
            linked: SortedMap::new(),
            others: SortedSet::new(),
            accepted: 0,
        };
        let config = NodeConfig {
            identity,
            network,
            psk: keys.map(|keys| *keys.psk()),
            beacon_key,
            nick: Nick::new_or_placeholder(PROBE_NICK),
            port: streams.port().map_err(failed)?,
            seed: random_bytes()?,
            transient: true,
            is_ephemeral: true,
            beacons_enabled: options.multicast.is_some(),
            timing: options.timing,
            lsnp: None,
            speaks_go: false,
            uses_grapes: false,
            profile: String::new(),
            known_peers: Vec::new(),
            receipts: String::new(),
            addresses: String::new(),
            resume: None,
        };
        let allowed = options.interfaces.clone();
        let watch = InterfaceWatch::new(poll.registry(), NETLINK_TOKEN, allowed, now.time);
        Ok(LanProbe {
            watch: watch.map_err(failed)?,
            poll,
            node: Node::new(config, now),
            clock,
            streams,
            multicast: create_multicast(options.multicast),
            save_barrier: SaveBarrier::default(),
            pending_inputs: VecDeque::new(),
            report,
        })
    }

    /// The TCP port at which the probe listens.
    ///
    /// # Errors
    /// The kernel does not know it.
    pub fn port(&self) -> io::Result<u16> {
        self.streams.port()
    }

    /// Runs for so many milliseconds, and then leaves. Dials the static peers.
    ///
    /// # Errors
    /// Exit status 1: the poll fails.
    pub fn run(self, wait_ms: u64, peers: &[ResolvedStatic]) -> Result<LanReport, Failure> {
        self.run_while(wait_ms, peers, |_| true)
    }

    /// Dials a peer, which may be on this host, until a link is made, or for so many milliseconds.
    ///
    /// # Errors
    /// Exit status 1: the poll fails.
    pub fn run_until_linked(
        mut self,
        wait_ms: u64,
        peer: ResolvedStatic,
    ) -> Result<Option<LinkedPeer>, Failure> {
        self.report.counts_own_host = true;
        let report = self.run_while(wait_ms, &[peer], |report| report.linked.is_empty())?;
        Ok(report.linked.into_values().next())
    }

    fn run_while(
        mut self,
        wait_ms: u64,
        static_peers: &[ResolvedStatic],
        goes_on: impl Fn(&LanReport) -> bool,
    ) -> Result<LanReport, Failure> {
        let failed = |error: io::Error| Failure::io("the network cannot be watched", &error);
        let deadline = self.clock.now().time + wait_ms;
        self.refresh_interfaces();
        for known in static_peers {
            self.handle(Input::EndpointResolved {
                endpoint: known.endpoint.clone(),
                addresses: known.addresses.clone(),
                peer: known.peer,
                is_requested: true,
            });
        }
        let mut events = Events::with_capacity(256);
        while self.clock.now().time < deadline && goes_on(&self.report) {
            self.turn(&mut events, deadline).map_err(failed)?;
            self.record_links();
        }
        self.handle(Input::Command(Command::AskHeard));
        let end = self.clock.now().time + ANSWERS_MS;
        while self
            .node
            .links()
            .any(|(link, _)| link.hears_us == HearsUs::Asked)
            && self.clock.now().time < end
        {
            self.turn(&mut events, end).map_err(failed)?;
        }
        self.record_links();
        self.handle(Input::Command(Command::Leave));
        let end = self.clock.now().time + GOODBYE_MS;
        while self.streams.has_unsent() && self.clock.now().time < end {
            self.turn(&mut events, end).map_err(failed)?;
        }
        Ok(self.report)
    }

    /// Waits for events until the deadline at the latest, and handles them.
    fn turn(&mut self, events: &mut Events, deadline: Time) -> io::Result<()> {
        let now = self.clock.now().time;
        let has_work = self.streams.has_waiting(now)
            || self.streams.has_readable()
            || self.multicast.has_readable();
        let timers = [
            self.node.next_timeout(),
            self.streams.accept_at(),
            Some(self.watch.deadline()),
        ];
        let wakes_at = timers.into_iter().flatten().fold(deadline, Time::min);
        let timeout_ms = if has_work { 0 } else { wakes_at.ms_since(now) };
        let timeout = Some(Duration::from_millis(timeout_ms));
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
            polled => polled?,
        }
        let mut changes = Vec::new();
        for event in events.iter() {
            match event.token() {
                LISTENER_TOKEN => self.streams.mark_waiting(),
                NETLINK_TOKEN => self.watch.handle_netlink_event(now),
                token if self.multicast.owns_token(token) => self.multicast.mark_readable(token),
                _ => self.streams.handle_event(event, &mut changes),
            }
        }
        let watch = &self.watch;
        let can_accept = |own: SocketAddr| watch.can_accept_on(own.ip());
        self.streams
            .accept(self.poll.registry(), now, can_accept, &mut changes);
        for change in changes {
            self.handle_change(change);
        }
        self.read_streams();
        self.read_datagrams();
        let now = self.clock.now().time;
        if self.watch.deadline() <= now {
            self.refresh_interfaces();
        }
        if self.node.next_timeout().is_some_and(|at| at <= now) {
            self.handle(Input::Timeout);
        }
        Ok(())
    }

    fn handle_change(&mut self, change: StreamEvent) {
        let input = match change {
            StreamEvent::Accepted(stream, address) => {
                self.report.accepted += u64::from(self.report.is_of_other_host(address.ip()));
                Input::Accepted { stream, address }
            }
            StreamEvent::Connected(stream) => Input::Connected { stream },
            StreamEvent::Writable(stream) => Input::Writable { stream },
            StreamEvent::Closed(stream) => Input::Closed { stream },
        };
        self.handle(input);
    }

    fn read_streams(&mut self) {
        let mut buffer = vec![0; READ_BUDGET_BYTES];
        for stream in self.streams.take_readable() {
            match self.streams.read(stream, &mut buffer) {
                Ok(0) => {}
                Ok(length) => self.handle(Input::Bytes {
                    stream,
                    bytes: buffer.get(..length).unwrap_or_default(),
                }),
                Err(_) => self.handle(Input::Closed { stream }),
            }
        }
    }

    fn read_datagrams(&mut self) {
        let mut buffer = [0; DATAGRAM_MAX_BYTES];
        self.multicast.begin_turn();
        while let Some(received) = self.multicast.receive(&mut buffer) {
            let bytes = buffer.get(..received.length).unwrap_or_default();
            self.report.record_received(&received, bytes);
            self.handle(Input::Datagram {
                interface: received.interface_index,
                source: received.source,
                bytes,
            });
        }
    }

    fn refresh_interfaces(&mut self) {
        let (now, registry) = (self.clock.now().time, self.poll.registry());
        let update = self.watch.refresh(now, registry, &mut self.multicast);
        if let Some(interfaces) = update.changed_interfaces {
            self.report.interfaces.clone_from(&interfaces);
            self.handle(Input::InterfacesChanged(interfaces));
        }
    }

    fn record_links(&mut self) {
        let wall = self.clock.now().wall;
        for (link, clock) in self.node.links() {
            let (peer, address) = (&link.peer, link.address);
            if !self.report.is_of_other_host(address.ip()) || self.report.own_ids.contains(&peer.id)
            {
                continue;
            }
            let linked = self
                .report
                .linked
                .get_or_insert_with(peer.id, || LinkedPeer {
                    peer: peer.clone(),
                    address,
                    clock_ahead_ms: clock.map(|clock| clock.0.saturating_sub(wall.0)),
                    hears_us: HearsUs::NotAsked,
                });
            linked.hears_us = link.hears_us;
        }
    }

    /// Passes an input to the core, and then those that its outputs cause.
    fn handle(&mut self, input: Input<'_>) {
        self.handle_one(input);
        while let Some(input) = self.pending_inputs.pop_front() {
            self.handle_one(input);
        }
    }

    fn handle_one(&mut self, input: Input<'_>) {
        self.node.handle(self.clock.now(), input);
        while let Some(output) = self.node.poll_output() {
            if let Some(output) = self.save_barrier.admit(output) {
                self.execute(output);
            }
        }
        let streams = &mut self.streams;
        let abort = |stream: StreamId| streams.abort(stream);
        self.save_barrier.finish(&mut self.pending_inputs, abort);
    }

    fn execute(&mut self, output: Output) {
        match output {
            Output::SendBeacon { interface, bytes } => {
                let report = &mut self.report;
                self.multicast
                    .send_and_report(interface, &bytes, |index, method, result| {
                        let refusal = result.as_ref().err().map(ToString::to_string);
                        report.record_sent(index, method, refusal);
                    });
            }
            Output::Dial {
                stream,
                address,
                interface,
            } => {
                let device = interface.and_then(|index| self.multicast.interface_name(index));
                let mut changes = Vec::new();
                let registry = self.poll.registry();
                self.streams
                    .dial(registry, stream, address, device, &mut changes);
                if !changes.is_empty() {
                    self.pending_inputs.push_back(Input::Closed { stream });
                }
            }
            Output::Write { stream, bytes } => {
                if self.streams.write(stream, &bytes) == WriteOutcome::Blocked {
                    self.pending_inputs.push_back(Input::Blocked { stream });
                }
            }
            Output::Close { stream } => self.streams.close(stream),
            // A probe holds no lines, so it acknowledges none.
            Output::Save { batch, .. } => self.save_barrier.record_failure(batch),
            Output::Load(request) => {
                let cursors = request.cursors.into_iter();
                let logs = cursors.map(|cursor| LoadedLog {
                    cursor,
                    batches: Some(Vec::new()),
                });
                self.pending_inputs.push_back(Input::Loaded(LoadReply {
                    purpose: request.purpose,
                    logs: logs.collect(),
                }));
            }
            Output::Resolve { .. }
            | Output::Lsnp(_)
            | Output::SetServices(_)
            | Output::SaveKnownPeer(_)
            | Output::SaveReceipts(_)
            | Output::SaveAddresses(_)
            | Output::SaveProfile(_)
            | Output::Notice(_) => {}
        }
    }
}
