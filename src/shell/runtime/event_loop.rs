//! The one loop: polls sockets, threads and signals, feeds the core, and carries out what it wants.
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};

use crate::base::batch::{Batch, LogId};
use crate::base::event::{Command, Found, Input, Interface, Notice, Output, Position, StreamId};
use crate::base::name::{Folder, Room};
use crate::base::range::Range;
use crate::base::table::Set;
use crate::base::time::Now;
use crate::node::node::Node;
use crate::shell::config::failure::Failure;
use crate::shell::config::options;
use crate::shell::config::options::Options;
use crate::shell::config::reload;
use crate::shell::ipc::server::Control;
use crate::shell::net::interface_watch::Surroundings;
use crate::shell::net::multicast::Datagrams;
use crate::shell::net::resolver::{Finds, Name};
use crate::shell::net::tcp::{Change, READ_BYTES, Streams};
use crate::shell::os::clock::Clock;
use crate::shell::os::signals::Signals;
use crate::shell::session::session::Session;
use crate::shell::state::state_dir::State;
use crate::shell::store::store::Store;

const WAKE: Token = Token(0);
pub const SIGNALS: Token = Token(1);
const LISTENER: Token = Token(2);
const NETLINK: Token = Token(3);
const CONTROL: std::ops::Range<usize> = 16..64;
const DATAGRAMS: std::ops::Range<usize> = 64..1024;
const STREAMS: usize = 1024;

/// Datagrams taken in one turn: a flood must not starve the links.
const DATAGRAMS_A_TURN: usize = 64;
const DEAF: &str = "not all beacons can be heard: if another program holds the UDP port, choose another group with -m, the same for all";
/// Milliseconds that goodbyes may take to go out, and the last lines with them: after a signal all is over within two seconds.
const LINGER: u64 = 1_300;
const LAST: u64 = 1_800;

/// What carrying out an output led to; the core hears of it when its tray is empty.
enum Echo {
    Clogged(StreamId),
    Closed(StreamId),
    SaveFailed(Vec<Arc<Batch>>),
}

/// A read of the store that the core asked for: done one a turn, so that a link that lags does not hold up the others.
pub(super) struct Load {
    pub(super) stream: StreamId,
    pub(super) log: LogId,
    pub(super) from: u64,
    pub(super) at: Option<Position>,
    pub(super) budget: usize,
}

/// The folders of the history that are open from the start, and what each holds.
pub type Held = Vec<(Folder, Vec<Range>)>;

/// Everything the loop is made of.
pub struct Parts {
    pub poll: Poll,
    pub clock: Clock,
    pub node: Node,
    pub store: Store,
    pub held: Held,
    pub streams: Streams,
    pub datagrams: Datagrams,
    pub found: Finds,
    /// Looks up names, for `found`.
    pub look_up: Box<dyn Fn(Vec<Name>)>,
    pub options: Options,
    pub session: Session,
    pub signals: Signals,
    pub control: Control,
    pub state: State,
}

pub struct EventLoop {
    pub(super) poll: Poll,
    clock: Clock,
    pub(super) now: Now,
    pub(super) node: Node,
    pub(super) store: Store,
    held: Held,
    pub(super) streams: Streams,
    datagrams: Datagrams,
    found: Finds,
    pub(super) look_up: Box<dyn Fn(Vec<Name>)>,
    pub(super) options: Options,
    surroundings: Surroundings,
    signals: Signals,
    pub(super) session: Session,
    pub(super) control: Control,
    state: State,
    echoes: VecDeque<Echo>,
    loads: VecDeque<Load>,
    /// Streams of which a write was dropped behind a failed save, and that save's batches, in this drain.
    failed: Vec<Arc<Batch>>,
    broken: Set<StreamId>,
    /// Rooms that are not shown any more, and left when somebody holds what was said there.
    pub(super) leaving: Set<Room>,
    buffer: Vec<u8>,
}

/// The poll and what other threads wake it with.
///
/// # Errors
/// The system has no more files.
pub fn poll() -> io::Result<(Poll, Arc<Waker>)> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
    Ok((poll, waker))
}

/// # Errors
/// `AddrInUse`: the port is taken.
pub fn listen(port: u16, poll: &Poll) -> io::Result<Streams> {
    Streams::listen(port, poll.registry(), LISTENER, STREAMS)
}

/// # Errors
/// As [`Control::open`].
pub fn control(directory: Option<&Path>, poll: &Poll) -> Result<Control, Failure> {
    Control::open(directory, poll.registry(), CONTROL)
}

pub fn datagrams(group: Option<std::net::SocketAddrV4>) -> Datagrams {
    Datagrams::new(group, DATAGRAMS)
}

impl EventLoop {
    /// # Errors
    /// The system refuses signals or a socket.
    pub fn new(parts: Parts) -> io::Result<EventLoop> {
        let registry = parts.poll.registry();
        let now = parts.clock.now();
        let only = parts.options.interfaces.clone();
        let surroundings = Surroundings::new(registry, NETLINK, only, now.time)?;
        Ok(EventLoop {
            poll: parts.poll,
            clock: parts.clock,
            now,
            node: parts.node,
            store: parts.store,
            held: parts.held,
            streams: parts.streams,
            datagrams: parts.datagrams,
            found: parts.found,
            look_up: parts.look_up,
            options: parts.options,
            surroundings,
            signals: parts.signals,
            session: parts.session,
            control: parts.control,
            state: parts.state,
            echoes: VecDeque::new(),
            loads: VecDeque::new(),
            failed: Vec::new(),
            broken: Set::new(),
            leaving: Set::new(),
            buffer: Vec::new(),
        })
    }

    /// Runs until the session is over. Gives the exit status.
    ///
    /// # Errors
    /// The history or the poll fails in a way that leaves nothing to do.
    pub fn run(mut self) -> io::Result<u8> {
        for (folder, ranges) in std::mem::take(&mut self.held) {
            let room = folder.room();
            let shown = room.is_none_or(|room| self.options.rooms.contains(&room));
            self.opened(folder, ranges, shown);
        }
        self.look_at_interfaces();
        self.session
            .ready(self.streams.port()?, &self.node.me(), self.node.spoken());
        let mut events = Events::with_capacity(256);
        if self.session.goal.ended() {
            // What another program left to be said is said first.
            self.input();
        }
        let ended = self.turns(&mut events);
        self.leave(&mut events, ended.is_ok())?;
        ended
    }

    fn turns(&mut self, events: &mut Events) -> io::Result<u8> {
        loop {
            self.end_turn()?;
            let (met, stored) = (self.node.linked() > 0, self.node.accepting());
            let stuck = !met && self.store.full();
            if let Some(sentence) = self.session.goal.stuck(self.now.time, stuck) {
                self.session.complain(sentence);
            }
            let delivery = || self.node.delivery();
            if let Some(status) = self.session.over(self.now, met, stored, delivery) {
                return Ok(status);
            }
            self.wait(events)?;
            self.turn(events)?;
        }
    }

    /// More may be said.
    pub(super) fn takes(&mut self) -> bool {
        self.node.accepting() && !self.store.full()
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let takes = self.takes();
        let busy = self.streams.has_readable()
            || self.datagrams.pending()
            || !self.loads.is_empty()
            || self.session.busy(takes)
            || self.control.busy(takes);
        let deadlines = [
            self.node.next_timeout(),
            self.session.deadline(),
            self.control.deadline(),
            Some(self.surroundings.due()),
        ];
        let least = deadlines
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(self.surroundings.due());
        let timeout = if busy { 0 } else { least.since(self.now.time) };
        self.sleep(events, timeout)
    }

    /// `timeout` in milliseconds. A signal ends it early.
    fn sleep(&mut self, events: &mut Events, timeout: u64) -> io::Result<()> {
        match self.poll.poll(events, Some(Duration::from_millis(timeout))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
            done => done?,
        }
        self.now = self.clock.now();
        Ok(())
    }

    fn turn(&mut self, events: &Events) -> io::Result<()> {
        let mut changes = Vec::new();
        for event in events {
            match event.token() {
                WAKE => {}
                SIGNALS => self.signal(),
                LISTENER => {
                    let surroundings = &self.surroundings;
                    let welcome = |own: SocketAddr| surroundings.welcomes(own.ip());
                    self.streams
                        .accept(self.poll.registry(), welcome, &mut changes);
                }
                NETLINK => self.surroundings.told(self.now.time),
                token if self.control.owns(token) => self.control.event(event),
                token if self.datagrams.owns(token) => self.datagrams.ready(token),
                _ => self.streams.event(event, &mut changes),
            }
        }
        for change in changes {
            self.session.diagnostics.debug(|| format!("{change:?}"));
            match change {
                Change::Accepted(stream, address) => self.feed(Input::Accepted { stream, address }),
                Change::Connected(stream) => self.feed(Input::Connected { stream }),
                Change::Drained(stream) => self.feed(Input::Drained { stream }),
                Change::Closed(stream) => self.feed(Input::Closed { stream }),
            }
        }
        self.read_datagrams();
        self.read_streams();
        for _ in 0..self.loads.len() {
            if let Some(load) = self.loads.pop_front() {
                self.load(load);
            }
        }
        for found in self.found.take() {
            self.feed(Input::Sighting {
                address: found.address,
                peer: found.peer,
                found: Found::Given,
            });
        }
        self.serve();
        self.input();
        if self.surroundings.due() <= self.now.time {
            self.look_at_interfaces();
        }
        // The core's time is that of its last input.
        let deadlines = [self.node.next_timeout(), self.control.deadline()];
        if deadlines
            .into_iter()
            .flatten()
            .any(|at| at <= self.now.time)
        {
            self.feed(Input::Wake);
        }
        Ok(())
    }

    fn end_turn(&mut self) -> io::Result<()> {
        self.leave_rooms();
        // A disk that is full stops nothing that is already there; saving will tell.
        let dropped = self.store.end_turn(&self.node).unwrap_or_default();
        for (log, low) in dropped {
            self.session.transcript.dropped(&log, low);
            self.feed(Input::Dropped { log, low });
        }
        if self.store.take_sync_failed() {
            self.session
                .complain("the disk refuses what it was given: a power cut would take lines");
        }
        self.control.end_turn(&self.store, &self.node);
        self.session.end_turn(&mut self.store)
    }

    fn signal(&mut self) {
        for signal in self.signals.pending() {
            if self.session.signal(signal) {
                self.reread();
            }
        }
    }

    /// Options and known peers stand differently perhaps. Those that cannot be read stay as they were.
    fn reread(&mut self) {
        let mut warnings = Vec::new();
        match options::of_process() {
            Ok(options) => {
                let (commands, names) = reload::changes(&self.options, &options);
                self.options.username = options.username;
                self.options.rooms = options.rooms;
                self.options.peers = options.peers;
                self.session.ask(commands);
                (self.look_up)(names);
            }
            Err(failure) => warnings.push(failure.sentence),
        }
        if self.state.directory().is_some() {
            match self.state.known_peers(&mut warnings) {
                Ok(known) => self.feed(Input::Known(known)),
                Err(failure) => warnings.push(failure.sentence),
            }
        }
        for warning in warnings {
            self.session.complain(&warning);
        }
    }

    fn read_datagrams(&mut self) {
        let mut buffer = [0; 1500];
        for _ in 0..DATAGRAMS_A_TURN {
            let Some(received) = self.datagrams.receive(&mut buffer) else {
                break;
            };
            let bytes = buffer.get(..received.length).unwrap_or_default();
            self.feed(Input::Datagram {
                interface: received.interface,
                source: received.source,
                bytes,
            });
        }
    }

    fn read_streams(&mut self) {
        for stream in self.streams.take_readable() {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize(READ_BYTES, 0);
            match self.streams.read(stream, &mut buffer) {
                Ok(0) => {}
                Ok(n) => self.feed(Input::Bytes {
                    stream,
                    bytes: buffer.get(..n).unwrap_or_default(),
                }),
                Err(_) => self.feed(Input::Closed { stream }),
            }
            self.buffer = buffer;
        }
    }

    /// Lines and commands of the person or script. A room to be joined is opened first.
    fn input(&mut self) {
        let takes = self.takes();
        self.session.take_in(self.now, takes);
        while let Some(command) = self.session.next_command(self.now.time) {
            if let Command::Join(room) = &command {
                let room = room.clone();
                self.try_open(&room, true);
            }
            let moves = matches!(command, Command::Join(_) | Command::Part(_));
            match command {
                Command::Part(room) => self.part(room),
                command => self.feed(Input::Command(command)),
            }
            if moves {
                self.speak_where_shown();
                self.session.speak_in(self.node.spoken());
            }
        }
        self.session
            .look_back(self.now, &self.store, self.node.spoken());
    }

    fn look_at_interfaces(&mut self) {
        let registry = self.poll.registry();
        let seen = self
            .surroundings
            .look(self.now.time, registry, &mut self.datagrams);
        if seen.deaf {
            self.session.complain(DEAF);
        }
        if let Some(usable) = seen.changed {
            self.session
                .diagnostics
                .debug(|| format!("interfaces: {}", names(&usable)));
            self.feed(Input::Interfaces(usable));
        }
    }

    /// Goodbye: to the peers, to the reader of stdout, and, after a run that went `well`, to the disk.
    fn leave(mut self, events: &mut Events, well: bool) -> io::Result<()> {
        self.control.close();
        self.feed(Input::Command(Command::Leave));
        let (until, last) = (self.now.time + LINGER, self.now.time + LAST);
        while self.streams.has_rest() && self.now.time < until {
            self.sleep(events, until.since(self.now.time))?;
            let mut changes = Vec::new();
            for event in events.iter().filter(|event| event.token().0 >= STREAMS) {
                self.streams.event(event, &mut changes);
            }
            for stream in self.streams.take_readable() {
                let mut buffer = std::mem::take(&mut self.buffer);
                // A stream that ended is gone after this, and what it says is of no more interest.
                let _ = self.streams.read(stream, &mut buffer);
                self.buffer = buffer;
            }
        }
        let (node, datagrams) = (self.node.counters(), self.datagrams.counters());
        self.session
            .diagnostics
            .debug(|| format!("{node:?}, datagrams: {datagrams:?}"));
        self.session
            .close(&mut self.store, last.since(self.now.time));
        // Without the mark of a clean end the next run goes on under new numbers: safe, whatever the disk does.
        if well && self.store.close(&self.node).is_ok() {
            let _ = self.state.leave_clean(&self.node.resume());
        }
        Ok(())
    }

    /// One input, and everything that follows from it.
    pub(super) fn feed(&mut self, input: Input<'_>) {
        self.node.handle(self.now, input);
        self.drain();
        while let Some(echo) = self.echoes.pop_front() {
            let input = match echo {
                Echo::Clogged(stream) => Input::Clogged { stream },
                Echo::Closed(stream) => Input::Closed { stream },
                Echo::SaveFailed(batches) => Input::SaveFailed { batches },
            };
            self.node.handle(self.now, input);
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.node.poll_output() {
            self.carry_out(output);
        }
        if !self.failed.is_empty() {
            for stream in std::mem::take(&mut self.broken) {
                self.streams.abort(stream);
                self.echoes.push_back(Echo::Closed(stream));
            }
            self.echoes
                .push_back(Echo::SaveFailed(std::mem::take(&mut self.failed)));
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Beacon { bytes } => {
                self.datagrams.send(&bytes);
            }
            Output::Dial { stream, address } => {
                self.session
                    .diagnostics
                    .debug(|| format!("dial {address}: {stream:?}"));
                let mut changes = Vec::new();
                self.streams
                    .dial(self.poll.registry(), stream, address, &mut changes);
                if !changes.is_empty() {
                    self.echoes.push_back(Echo::Closed(stream));
                }
            }
            Output::Write { stream, bytes } => {
                if !self.failed.is_empty() {
                    self.broken.insert(stream);
                } else if self.streams.write(stream, &bytes) {
                    self.echoes.push_back(Echo::Clogged(stream));
                }
            }
            Output::Close { stream } => {
                self.session
                    .diagnostics
                    .debug(|| format!("close {stream:?}"));
                self.streams.close(stream)
            }
            Output::Save { batch, local } => {
                let saved = match self.failed.is_empty() {
                    true => self.store.save(&batch, local),
                    false => Err(ErrorKind::Other.into()),
                };
                if let Err(error) = saved {
                    self.session.diagnostics.debug(|| format!("save: {error}"));
                    self.failed.push(batch);
                }
            }
            Output::Load {
                stream,
                log,
                from,
                at,
                budget,
            } => self.loads.push_back(Load {
                stream,
                log,
                from,
                at,
                budget,
            }),
            Output::Remember(known) => {
                self.session.face.know(known.id, &known.nick);
                self.control.met(&known);
                if self.state.remember(&known).is_err() {
                    self.session.complain(
                        "known_peers cannot be written: who was met today will be new tomorrow",
                    );
                }
            }
            Output::Receipts(receipts) => {
                // Without the note the next run has carried what its readers have already: a waste, and no harm.
                let _ = self.state.note_receipts(&receipts);
            }
            Output::Notice(Notice::Chat(chat))
                if self
                    .failed
                    .iter()
                    .any(|batch| Arc::ptr_eq(batch, &chat.batch)) => {}
            Output::Notice(notice) => self.tell(notice),
        }
    }

    pub(super) fn tell(&mut self, notice: Notice) {
        if let Some(notice) = self.control.notice(notice, &self.store) {
            self.session.notice(notice, &self.store);
        }
    }
}

fn names(interfaces: &[Interface]) -> String {
    let names: Vec<&str> = interfaces.iter().map(|i| i.name.as_str()).collect();
    names.join(" ")
}
