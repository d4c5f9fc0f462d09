//! `p2pchat join CODE`: gets the secret of a network from the program that printed the code.
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use crate::base::event::peer::Peer;
use crate::base::interface::Interface;
use crate::base::table::SortedSet;
use crate::base::time::{Now, Time};
use crate::shell::commands::bound_peer;
use crate::shell::commands::print::print_text;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::{Failure, quote_truncated};
use crate::shell::config::options::Options;
use crate::shell::config::values::Verbosity;
use crate::shell::ipc::attach::probe_running;
use crate::shell::net::interface_watch::InterfaceWatch;
use crate::shell::net::multicast::{DATAGRAM_MAX_BYTES, Multicast};
use crate::shell::net::resolver::look_up_within;
use crate::shell::os::clock::Clock;
use crate::shell::os::poll::create_poll;
use crate::shell::runtime::poll_sources::{NETLINK_TOKEN, create_multicast};
use crate::shell::state::identity_file::random_bytes;
use crate::shell::state::secret_file;
use crate::shell::state::state_dir::load_own_identity;
use crate::shell::stdio::stderr::{print_sentence, print_warnings};
use crate::wire::code::Endpoint;
use crate::wire::invite::{InviteError, InviteMessage, InviteStream};
use crate::wire::invite_code::{InviteBeacon, InviteCode};
use crate::wire::noise::Role;
use crate::wire::secret::zeroize;

/// How long the inviter is looked for if -W does not say so, in milliseconds.
const JOIN_WAIT_MS: u64 = 30_000;
/// How long the inviter is looked for after another program did not know the code, in
/// milliseconds: two announcements.
const WAIT_AFTER_WRONG_CODE_MS: u64 = 2_000;
/// How long a code is looked for on the LAN before the user hears that nobody announces it, in
/// milliseconds: three announcements.
const WAIT_NOTE_AFTER_MS: u64 = 3_000;
/// Number of exchanges that may end after the other program could have tried to guess our code.
const GUESSES_MAX: usize = 3;
/// Longest line of stdin that may be a code, in bytes. The rest is not read.
const CODE_LINE_MAX_BYTES: u64 = 4096;
/// Time for the whole exchange with one inviter.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(8);
/// Time to look up one name, and for one connection. The long code may have addresses that do not
/// answer here.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time between two rounds over the given addresses.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Gets the secret, stores it, and binds the inviter. Returns the exit status: 0; 69 if no inviter
/// answered in time, 77 if one did and has another code.
///
/// # Errors
/// Exit status 2: there is no code, or nothing to find the inviter by. 78: the secret file exists,
/// or cannot be written. 1: the system refuses a socket.
pub fn run_join(options: &Options) -> Result<ExitStatus, Failure> {
    let text = match options.text.as_deref().unwrap_or_default() {
        b"-" => read_code()?,
        text => String::from_utf8_lossy(text).into_owned(),
    };
    if text.trim().is_empty() {
        return Err(Failure::usage(
            "join needs the code that `p2pchat invite` prints: p2pchat join 7-lusab-babad \
             --secret-file FILE",
        ));
    }
    let (code, endpoints) = InviteCode::parse_with_endpoints(&text)
        .map_err(|error| Failure::usage(format!("the code {} {error}", quote_truncated(&text))))?;
    let Some(path) = &options.secret_file else {
        return Err(Failure::usage(
            "join stores the network secret in a new file: name it with --secret-file FILE",
        ));
    };
    if endpoints.is_empty() && options.multicast.is_none() {
        return Err(Failure::usage(
            "with -m none the inviter is not found: use the long code, with its addresses",
        ));
    }
    // A code is used up even if the secret cannot be stored.
    secret_file::check_new(path)?;
    let mut warnings = Vec::new();
    let identity = load_own_identity(options, &mut warnings)?;
    if options.verbosity > Verbosity::Quiet {
        print_warnings(&warnings);
    }
    let mut own = Peer {
        id: identity.id(),
        nick: options.username.clone(),
    };
    if let Some(directory) = &options.directory
        && let Some(ready) = probe_running(directory, "its name may differ")?
    {
        own.nick = ready.me.nick;
    }
    let mut clock = Clock::start();
    let deadline = clock.now().time + options.wait_ms.unwrap_or(JOIN_WAIT_MS);
    let mut joining = Joining {
        code,
        own,
        noise_secret: identity.noise_secret(),
        path,
        directory: options.directory.as_deref(),
        refusals: SortedSet::new(),
        unanswered: None,
        guesses: 0,
        says_wait: options.verbosity > Verbosity::Quiet,
    };
    let inviter = match endpoints.is_empty() {
        true => joining.find_on_lan(options, &mut clock, deadline)?,
        false => joining.try_endpoints(&endpoints, &mut clock, deadline)?,
    };
    match inviter {
        Some(inviter) => print_text(&format!(
            "joined the network of {inviter}: its secret is in {}\n",
            path.display()
        )),
        None if joining.refusals.iter().next().is_some() => {
            print_sentence(
                "who answers for this invite has another code: check the code, or ask for a new one",
            );
            Ok(ExitStatus::KeyMismatch)
        }
        None => {
            match &joining.unanswered {
                Some((address, error)) => print_sentence(&format!(
                    "the code is announced at {address}, which cannot be connected to ({error}): \
                     there, open the port for TCP, or choose an open one with invite -p"
                )),
                None => print_sentence(
                    "no inviter answers: the code may be used or void, or its program is out of \
                     reach; the long code has its addresses",
                ),
            }
            Ok(ExitStatus::NoPeer)
        }
    }
}

/// Reads the code from the first line of stdin. Other users see the words of a command line.
fn read_code() -> Result<String, Failure> {
    if io::stdin().is_terminal() {
        print_sentence("which code?");
    }
    let mut line = Vec::new();
    let read = io::stdin()
        .lock()
        .take(CODE_LINE_MAX_BYTES)
        .read_until(b'\n', &mut line);
    read.map_err(|error| Failure::io("stdin cannot be read", &error))?;
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// What became of an exchange with a program that may be the inviter.
enum Attempt {
    /// The inviter gave the secret, which is stored.
    Joined(Peer),
    /// The program has another code.
    WrongCode,
    /// The program does not answer, or ends the exchange.
    Failed,
}

/// Who is tried once. An inviter has several addresses, and counts each stream with a wrong code as
/// a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Candidate {
    /// The invite that announces this number.
    Invite(u32),
    /// The program at this address, whose announcement has no number.
    Address(SocketAddr),
    /// The inviter that the long code leads to.
    OfLongCode,
}

struct Joining<'a> {
    code: InviteCode,
    own: Peer,
    noise_secret: [u8; 32],
    path: &'a Path,
    directory: Option<&'a Path>,
    /// Those that have another code. They are not tried again.
    refusals: SortedSet<Candidate>,
    /// An announced address at which the last attempt got no connection, and why.
    unanswered: Option<(SocketAddr, io::Error)>,
    /// Number of programs that may have guessed at our code, and did not prove that they know it.
    guesses: usize,
    /// Whether the user is still to hear that the inviter is awaited.
    says_wait: bool,
}

impl Joining<'_> {
    /// Tries the programs that announce the invite on the LAN.
    fn find_on_lan(
        &mut self,
        options: &Options,
        clock: &mut Clock,
        mut deadline: Time,
    ) -> Result<Option<Peer>, Failure> {
        let failed = |error: io::Error| Failure::io("the network cannot be watched", &error);
        let (mut poll, _waker) = create_poll().map_err(failed)?;
        let mut multicast = create_multicast(options.multicast);
        let allowed = options.interfaces.clone();
        let now = clock.now().time;
        let mut watch =
            InterfaceWatch::new(poll.registry(), NETLINK_TOKEN, allowed, now).map_err(failed)?;
        let (mut events, mut interfaces) = (Events::with_capacity(64), Vec::new());
        let note_at = now + WAIT_NOTE_AFTER_MS;
        loop {
            let now = clock.now().time;
            if note_at <= now {
                self.say_wait("nobody on this LAN announces the code", now, deadline);
            }
            if watch.deadline() <= now {
                let update = watch.refresh(now, poll.registry(), &mut multicast);
                interfaces = update.changed_interfaces.unwrap_or(interfaces);
            }
            for (candidate, address) in self.announced(&mut multicast, &interfaces) {
                match self.attempt(candidate, address, clock.now(), deadline)? {
                    Attempt::Joined(inviter) => return Ok(Some(inviter)),
                    Attempt::WrongCode => {
                        deadline = deadline.min(clock.now().time + WAIT_AFTER_WRONG_CODE_MS);
                    }
                    Attempt::Failed => {}
                }
            }
            if self.is_over(clock.now().time, deadline) {
                return Ok(None);
            }
            let timeout_ms = match multicast.has_readable() {
                true => 0,
                false => {
                    let note_at = Some(note_at).filter(|_| self.says_wait);
                    let times = [Some(deadline), Some(watch.deadline()), note_at];
                    times
                        .into_iter()
                        .flatten()
                        .min()
                        .map_or(0, |at| at.ms_since(now))
                }
            };
            wait(&mut poll, &mut events, timeout_ms).map_err(failed)?;
            for event in &events {
                match event.token() {
                    NETLINK_TOKEN => watch.handle_netlink_event(clock.now().time),
                    token => multicast.mark_readable(token),
                }
            }
        }
    }

    /// The addresses that announce the invite now, at most one for each read datagram.
    fn announced(
        &self,
        multicast: &mut Multicast,
        interfaces: &[Interface],
    ) -> SortedSet<(Candidate, SocketAddr)> {
        let mut buffer = [0; DATAGRAM_MAX_BYTES];
        let mut found = SortedSet::new();
        multicast.begin_turn();
        while let Some(datagram) = multicast.receive(&mut buffer) {
            let (index, mut address) = (datagram.interface_index, datagram.source);
            let mut on_link = interfaces.iter().filter(|it| it.index == index);
            if let Some(beacon) = InviteBeacon::parse(&buffer[..datagram.length])
                && beacon.nameplate == self.code.nameplate()
                && on_link.any(|it| it.is_on_link(address.ip()))
            {
                address.set_port(beacon.port);
                let by_address = Candidate::Address(address);
                found.insert((beacon.nonce.map_or(by_address, Candidate::Invite), address));
            }
        }
        found
    }

    /// Tries the addresses of the long code, again and again until the deadline.
    fn try_endpoints(
        &mut self,
        endpoints: &[Endpoint],
        clock: &mut Clock,
        deadline: Time,
    ) -> Result<Option<Peer>, Failure> {
        loop {
            for endpoint in endpoints {
                let left = Duration::from_millis(deadline.ms_since(clock.now().time));
                let resolved = look_up_within(endpoint, left.min(CONNECT_TIMEOUT));
                for address in resolved.into_iter().flatten() {
                    let attempt =
                        self.attempt(Candidate::OfLongCode, address, clock.now(), deadline)?;
                    match attempt {
                        Attempt::Joined(inviter) => return Ok(Some(inviter)),
                        Attempt::WrongCode => return Ok(None),
                        Attempt::Failed => {}
                    }
                }
            }
            if self.is_over(clock.now().time, deadline) {
                return Ok(None);
            }
            let now = clock.now().time;
            self.say_wait(
                "no inviter answers at the addresses of the code",
                now,
                deadline,
            );
            std::thread::sleep(RETRY_INTERVAL);
        }
    }

    /// Says once why nothing happens yet. A code that is used up has no inviter any more.
    fn say_wait(&mut self, why: &str, now: Time, deadline: Time) {
        if std::mem::take(&mut self.says_wait) && now < deadline {
            let seconds = deadline.ms_since(now).div_ceil(1000);
            print_sentence(&format!(
                "{why}: it may be used or void; trying for {seconds} s more, Ctrl-C ends it"
            ));
        }
    }

    fn is_over(&self, now: Time, deadline: Time) -> bool {
        deadline <= now || self.guesses >= GUESSES_MAX
    }

    /// Tries to get the secret from the candidate at an address, until the deadline at the latest.
    /// One that has refused the code is not asked again.
    ///
    /// # Errors
    /// Exit status 78: the secret file cannot be written.
    fn attempt(
        &mut self,
        candidate: Candidate,
        address: SocketAddr,
        now: Now,
        deadline: Time,
    ) -> Result<Attempt, Failure> {
        if self.refusals.contains(&candidate) || self.is_over(now.time, deadline) {
            return Ok(Attempt::Failed);
        }
        let left = Duration::from_millis(deadline.ms_since(now.time));
        let mut out = Vec::new();
        let (role, seed) = (Role::Initiator, random_bytes()?);
        let stream = InviteStream::new(role, &self.code, self.noise_secret, seed, &mut out);
        let mut exchange = Exchange {
            stream,
            has_tried_code: false,
            is_refused: false,
            until: Instant::now() + left.min(CONNECT_TIMEOUT + EXCHANGE_TIMEOUT),
        };
        let connected = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT.min(left));
        self.unanswered = None;
        let mut socket = match connected {
            Ok(socket) => socket,
            Err(error) => {
                let is_announced = candidate != Candidate::OfLongCode;
                self.unanswered = is_announced.then_some((address, error));
                return Ok(Attempt::Failed);
            }
        };
        let received = exchange.run(&mut socket, &self.own, out);
        let Ok((inviter, mut secret)) = received else {
            self.guesses += usize::from(exchange.has_tried_code);
            if !exchange.is_refused {
                return Ok(Attempt::Failed);
            }
            self.refusals.insert(candidate);
            return Ok(Attempt::WrongCode);
        };
        let created = secret_file::create(self.path, &secret);
        zeroize(&mut secret);
        created?;
        if let Some(warning) = bound_peer::bind(self.directory, &inviter, now.wall) {
            print_sentence(&warning);
        }
        let mut out = Vec::new();
        // The secret is ours. If this fails, only the inviter does not bind us.
        if exchange
            .stream
            .send(&InviteMessage::Joined, &mut out)
            .is_ok()
        {
            let _ = socket.write_all(&out);
        }
        Ok(Attempt::Joined(inviter))
    }
}

/// The exchange with one program.
struct Exchange {
    stream: InviteStream,
    /// The program got a message that shows whether it knows our code, and did not prove that it
    /// does.
    has_tried_code: bool,
    /// The program said that it has another code.
    is_refused: bool,
    until: Instant,
}

impl Exchange {
    /// Runs until the inviter has given the secret.
    fn run(
        &mut self,
        socket: &mut TcpStream,
        own: &Peer,
        mut out: Vec<u8>,
    ) -> io::Result<(Peer, Vec<u8>)> {
        let invalid = |_| io::Error::from(io::ErrorKind::InvalidData);
        let (mut buffer, mut messages) = ([0; 4096], Vec::new());
        loop {
            socket.write_all(&out)?;
            out.clear();
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            socket.set_read_timeout(Some(left))?;
            let n = match socket.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => n,
            };
            let was_open = self.stream.is_open();
            let fed = self.stream.feed(&buffer[..n], &mut out, &mut messages);
            self.has_tried_code |= !out.is_empty();
            self.has_tried_code &= !self.stream.is_open();
            self.is_refused = fed == Err(InviteError::WrongCode);
            fed.map_err(invalid)?;
            if self.stream.is_open() && !was_open {
                let join = InviteMessage::Join(own.clone());
                self.stream.send(&join, &mut out).map_err(invalid)?;
            }
            if let Some(InviteMessage::Secret { inviter, secret }) = messages.pop() {
                return Ok((inviter, secret));
            }
        }
    }
}

fn wait(poll: &mut Poll, events: &mut Events, timeout_ms: u64) -> io::Result<()> {
    match poll.poll(events, Some(Duration::from_millis(timeout_ms))) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        polled => polled,
    }
}
