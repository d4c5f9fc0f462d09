//! `p2pchat invite`: prints a code, and gives the secret of the network to the first who knows it.
//!
//! The command listens on a port of its own, so it works beside a program that runs in the same
//! directory, and without one.
use std::cmp::Reverse;
use std::net::SocketAddr;
use std::time::Duration;

use mio::{Events, Poll};

use crate::base::event::peer::Peer;
use crate::base::event::stream_id::StreamId;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::standing::source_of;
use crate::shell::commands::bound_peer;
use crate::shell::commands::print::print_text;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::config::options::Options;
use crate::shell::config::values::Verbosity;
use crate::shell::ipc::attach::probe_running;
use crate::shell::net::interface_watch::InterfaceWatch;
use crate::shell::net::multicast::{DATAGRAM_MAX_BYTES, Multicast};
use crate::shell::net::own_code::connection_code;
use crate::shell::net::tcp::{StreamEvent, TcpStreams};
use crate::shell::os::clock::Clock;
use crate::shell::os::poll::create_poll;
use crate::shell::runtime::poll_sources::{
    LISTENER_TOKEN, NETLINK_TOKEN, create_multicast, open_listener,
};
use crate::shell::state::identity_file::random_bytes;
use crate::shell::state::secret_file::read_content;
use crate::shell::state::state_dir::load_own_identity;
use crate::shell::stdio::stderr::{print_sentence, print_warnings};
use crate::wire::code::DEFAULT_PORT;
use crate::wire::invite::{InviteError, InviteMessage, InviteStream};
use crate::wire::invite_code::{InviteBeacon, InviteCode};
use crate::wire::noise::Role;
use crate::wire::secret::{NetworkKeys, zeroize};

/// How long a code is good if -W does not say so, in milliseconds: 10 minutes.
const INVITE_WAIT_MS: u64 = 600_000;
/// Number of wrong guesses after which a code is void.
const WRONG_GUESSES_MAX: u32 = 3;
/// Milliseconds between two announcements on the LAN.
const ANNOUNCE_INTERVAL_MS: u64 = 1_000;
/// Milliseconds that a newcomer has from the connection to its last message.
const EXCHANGE_TIMEOUT_MS: u64 = 10_000;
/// Maximum number of streams. A new one replaces the oldest of the source with the most.
const INVITE_STREAMS_MAX: usize = 16;

/// Prints a code and waits for the newcomer. Returns the exit status: 0 once the newcomer has
/// stored the secret, 69 if none came in time, 75 if it did not confirm, 1 if the code was guessed
/// wrong too often.
///
/// # Errors
/// Exit status 2: there is no secret to give. 78: the secret file or the directory is unusable. 1:
/// the system refuses a socket.
pub fn run_invite(options: &Options) -> Result<ExitStatus, Failure> {
    let Some(path) = &options.secret_file else {
        return Err(Failure::usage(
            "invite gives the secret of a closed network: name it with --secret-file FILE; in the \
             open network everybody is in",
        ));
    };
    let mut warnings = Vec::new();
    let mut secret = read_content(path, &mut warnings)?;
    let keys = NetworkKeys::derive(&secret)
        .map_err(|error| Failure::config(format!("secret file {}: {error}", path.display())))?;
    let identity = load_own_identity(options, &mut warnings)?;
    let mut own = Peer {
        id: identity.id(),
        nick: options.username.clone(),
    };
    if let Some(directory) = &options.directory
        && let Some(ready) = probe_running(directory, "its name may differ")?
    {
        if ready.network != keys.network() {
            return Err(Failure::usage(
                "the p2pchat that runs in this directory is in another network than --secret-file",
            ));
        }
        own.nick = ready.me.nick;
    }
    if options.verbosity > Verbosity::Quiet {
        print_warnings(&warnings);
    }
    let (poll, _waker) =
        create_poll().map_err(|error| Failure::io("the event loop cannot be created", &error))?;
    let mut clock = Clock::start();
    let now = clock.now().time;
    let code = InviteCode::new(&random_bytes()?);
    let [a, b, c, d, ..] = random_bytes()?;
    let streams = open_listener(options.port, DEFAULT_PORT, &poll)?;
    let port = streams
        .port()
        .map_err(|error| Failure::io("the listening port is unknown", &error))?;
    let printed = print_code(options, own.clone(), &code, port)?;
    if printed != ExitStatus::Success {
        return Ok(printed);
    }
    if options.port.is_none() && port != DEFAULT_PORT && options.verbosity > Verbosity::Quiet {
        print_sentence(&format!(
            "the newcomer connects to port {port}: behind a firewall, choose an open one with -p"
        ));
    }
    let interfaces = options.interfaces.clone();
    let watch = InterfaceWatch::new(poll.registry(), NETLINK_TOKEN, interfaces, now)
        .map_err(|error| Failure::io("the interfaces cannot be watched", &error))?;
    let line_end = if secret.ends_with(b"\r\n") { 2 } else { 1 };
    let has_line_end = secret.ends_with(b"\n");
    let length = secret.len() - if has_line_end { line_end } else { 0 };
    let own_copy = secret[..length].to_vec();
    zeroize(&mut secret);
    let invite = Invite {
        poll,
        watch,
        multicast: create_multicast(options.multicast),
        connections: SortedMap::new(),
        announcement: InviteBeacon {
            nameplate: code.nameplate(),
            port,
            nonce: Some(u32::from_be_bytes([a, b, c, d])),
        }
        .encode(),
        announce_at: now,
        deadline: now + options.wait_ms.unwrap_or(INVITE_WAIT_MS),
        noise_secret: identity.noise_secret(),
        own,
        secret: own_copy,
        code,
        streams,
        given_to: None,
        wrong_guesses: 0,
        is_quiet: options.verbosity <= Verbosity::Quiet,
    };
    let (status, newcomer) = invite.run(&mut clock)?;
    let Some(newcomer) = newcomer else {
        return Ok(status);
    };
    let wall = clock.now().wall;
    if let Some(warning) = bound_peer::bind(options.directory.as_deref(), &newcomer, wall) {
        print_sentence(&warning);
    }
    print_text(&format!("joined: {newcomer} {}\n", newcomer.id))
}

/// Prints the code, and its long form for a newcomer that multicast does not reach.
fn print_code(
    options: &Options,
    own: Peer,
    code: &InviteCode,
    port: u16,
) -> Result<ExitStatus, Failure> {
    let addresses = connection_code(own.id, &options.interfaces, port, None)
        .map_err(|error| Failure::io("the interfaces cannot be listed", &error))?
        .addresses;
    let mut text = format!("invite code: {code}\n");
    if !addresses.is_empty() {
        let list: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        text += &format!("beyond this LAN: {code}@{}\n", list.join(","));
    }
    print_text(&text)
}

/// A stream to somebody who may be the newcomer.
struct Connection {
    stream: InviteStream,
    address: SocketAddr,
    deadline: Time,
}

/// An invite that waits for its newcomer.
struct Invite {
    poll: Poll,
    streams: TcpStreams,
    multicast: Multicast,
    watch: InterfaceWatch,
    connections: SortedMap<StreamId, Connection>,
    announcement: Vec<u8>,
    announce_at: Time,
    deadline: Time,
    code: InviteCode,
    own: Peer,
    noise_secret: [u8; 32],
    secret: Vec<u8>,
    /// The stream and the peer that got the secret. The code is used up.
    given_to: Option<(StreamId, Peer)>,
    wrong_guesses: u32,
    is_quiet: bool,
}

/// The status with which an invite ends, and the newcomer that has confirmed.
type InviteEnd = (ExitStatus, Option<Peer>);

impl Invite {
    fn run(mut self, clock: &mut Clock) -> Result<InviteEnd, Failure> {
        let mut events = Events::with_capacity(64);
        loop {
            let now = clock.now().time;
            if let Some(end) = self.handle_time(now) {
                return Ok(end);
            }
            let has_work = self.streams.has_waiting(now) || self.streams.has_readable();
            let timeout_ms = match has_work {
                true => 0,
                false => self.next_deadline().ms_since(now),
            };
            let polled = self
                .poll
                .poll(&mut events, Some(Duration::from_millis(timeout_ms)));
            if let Err(error) = polled
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                return Err(Failure::io("the invite ended early", &error));
            }
            let now = clock.now().time;
            let mut changes = Vec::new();
            for event in &events {
                match event.token() {
                    LISTENER_TOKEN => self.streams.mark_waiting(),
                    NETLINK_TOKEN => self.watch.handle_netlink_event(now),
                    token if self.multicast.owns_token(token) => {
                        self.multicast.mark_readable(token);
                    }
                    _ => self.streams.handle_event(event, &mut changes),
                }
            }
            if self.streams.has_waiting(now) {
                let (registry, watch) = (self.poll.registry(), &self.watch);
                let can_accept = |own: SocketAddr| watch.can_accept_on(own.ip());
                self.streams.accept(registry, now, can_accept, &mut changes);
            }
            self.drop_datagrams();
            if let Some(end) = self.handle_changes(changes, now)? {
                return Ok(end);
            }
            if let Some(end) = self.read_streams() {
                return Ok(end);
            }
        }
    }

    fn next_deadline(&self) -> Time {
        let exchanges = self.connections.values().map(|it| it.deadline);
        // Who has got the secret may still confirm it after the last moment.
        let end = self.given_to.is_none().then_some(self.deadline);
        let deadline = self.announce_at.min(self.watch.deadline());
        let accept = self.streams.accept_at();
        exchanges.chain(end).chain(accept).fold(deadline, Time::min)
    }

    /// Announces the invite, and ends what has taken too long.
    fn handle_time(&mut self, now: Time) -> Option<InviteEnd> {
        if self.watch.deadline() <= now {
            let registry = self.poll.registry();
            self.watch.refresh(now, registry, &mut self.multicast);
            self.announce_at = now;
        }
        if self.announce_at <= now {
            self.announce_at = now + ANNOUNCE_INTERVAL_MS;
            self.multicast.send(None, &self.announcement);
        }
        let late = self.connections.iter().filter(|(_, it)| it.deadline <= now);
        let late: Vec<StreamId> = late.map(|(stream, _)| *stream).collect();
        for stream in late {
            if let Some(end) = self.close(stream) {
                return Some(end);
            }
        }
        if self.deadline <= now && self.given_to.is_none() {
            self.warn("nobody came with the code, which is void now");
            return Some((ExitStatus::NoPeer, None));
        }
        None
    }

    /// Drops what others announce. The sockets only serve to send.
    fn drop_datagrams(&mut self) {
        let mut buffer = [0; DATAGRAM_MAX_BYTES];
        self.multicast.begin_turn();
        while self.multicast.receive(&mut buffer).is_some() {}
    }

    fn handle_changes(
        &mut self,
        changes: Vec<StreamEvent>,
        now: Time,
    ) -> Result<Option<InviteEnd>, Failure> {
        for change in changes {
            match change {
                StreamEvent::Accepted(stream, address) => self.accept(stream, address, now)?,
                StreamEvent::Closed(stream) => {
                    if let Some(end) = self.close(stream) {
                        return Ok(Some(end));
                    }
                }
                StreamEvent::Connected(_) | StreamEvent::Writable(_) => {}
            }
        }
        Ok(None)
    }

    fn accept(&mut self, id: StreamId, address: SocketAddr, now: Time) -> Result<(), Failure> {
        let (role, seed) = (Role::Responder, random_bytes()?);
        let mut out = Vec::new();
        let stream = InviteStream::new(role, &self.code, self.noise_secret, seed, &mut out);
        if self.connections.len() >= INVITE_STREAMS_MAX
            && let Some(evicted) = self.select_evicted()
        {
            self.close(evicted);
        }
        let deadline = now + EXCHANGE_TIMEOUT_MS;
        self.connections.insert(
            id,
            Connection {
                stream,
                address,
                deadline,
            },
        );
        Ok(())
    }

    /// The oldest stream of the source that has most of them, except the one with the secret.
    fn select_evicted(&self) -> Option<StreamId> {
        let given_to = self.given_to.as_ref().map(|(stream, _)| *stream);
        let open = self.connections.iter();
        let open = open.filter(|(stream, _)| Some(**stream) != given_to);
        let source = |it: &Connection| source_of(it.address.ip());
        let count = |of| open.clone().filter(|(_, it)| source(it) == of).count();
        let ranked = open
            .clone()
            .map(|(stream, it)| (count(source(it)), Reverse(*stream)));
        ranked.max().map(|(_, Reverse(stream))| stream)
    }

    fn read_streams(&mut self) -> Option<InviteEnd> {
        let mut buffer = [0; 4096];
        for stream in self.streams.take_readable().iter().copied() {
            let end = match self.streams.read(stream, &mut buffer) {
                Ok(n) => self.handle_bytes(stream, &buffer[..n]),
                Err(_) => self.close(stream),
            };
            if end.is_some() {
                return end;
            }
        }
        None
    }

    fn handle_bytes(&mut self, id: StreamId, bytes: &[u8]) -> Option<InviteEnd> {
        let connection = self.connections.get_mut(&id)?;
        let (mut out, mut messages) = (Vec::new(), Vec::new());
        let fed = connection.stream.feed(bytes, &mut out, &mut messages);
        self.streams.write(id, &out);
        if fed == Err(InviteError::WrongCode) {
            let address = connection.address.ip();
            self.close(id);
            return self.count_guess(&address.to_string());
        }
        for message in messages {
            match (message, &self.given_to) {
                (InviteMessage::Join(newcomer), None) if newcomer.id != self.own.id => {
                    let connection = self.connections.get_mut(&id)?;
                    let message = InviteMessage::Secret {
                        inviter: self.own.clone(),
                        secret: std::mem::take(&mut self.secret),
                    };
                    let mut out = Vec::new();
                    if connection.stream.send(&message, &mut out).is_ok() {
                        self.streams.write(id, &out);
                    }
                    self.given_to = Some((id, newcomer));
                }
                (InviteMessage::Joined, Some((given_to, newcomer))) if *given_to == id => {
                    return Some((ExitStatus::Success, Some(newcomer.clone())));
                }
                _ => return self.close(id),
            }
        }
        match fed {
            Ok(()) => None,
            Err(_) => self.close(id),
        }
    }

    /// Counts a wrong guess. Ends the invite if that was one too many. Once the newcomer got the
    /// secret there is nothing left to guess, so only its confirmation is awaited.
    fn count_guess(&mut self, address: &str) -> Option<InviteEnd> {
        if self.given_to.is_some() {
            return None;
        }
        self.wrong_guesses += 1;
        let left = WRONG_GUESSES_MAX - self.wrong_guesses;
        if left > 0 {
            self.warn(&format!(
                "somebody at {address} came with a wrong code; {left} more, and the code is void"
            ));
            return None;
        }
        self.warn(&format!(
            "somebody at {address} came with a wrong code, the third one: the code is void; invite \
             again, and tell the code to the newcomer alone"
        ));
        Some((ExitStatus::GeneralError, None))
    }

    /// Closes a stream. Ends the invite if the stream's peer got the secret.
    fn close(&mut self, stream: StreamId) -> Option<InviteEnd> {
        self.streams.close(stream);
        self.connections.remove(&stream);
        let (_, newcomer) = self.given_to.take_if(|(given_to, _)| *given_to == stream)?;
        self.warn(&format!(
            "{newcomer} got the secret, but did not say that it is stored there; it is not bound"
        ));
        Some((ExitStatus::PartialDelivery, None))
    }

    fn warn(&self, sentence: &str) {
        if !self.is_quiet {
            print_sentence(sentence);
        }
    }
}
