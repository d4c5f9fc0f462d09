//! Attaches to the program that runs in a state directory, or takes the directory's lock if none
//! runs.
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};

use crate::base::error_code::Refusal;
use crate::base::event::notice::Notice;
use crate::base::identity::NetworkTag;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::config::option_specs::OptionId;
use crate::shell::config::options::Options;
use crate::shell::ipc::client::{Client, RESPONSE_TIMEOUT_MS};
use crate::shell::ipc::connection::is_same_user;
use crate::shell::ipc::socket;
use crate::shell::session::frontend::builder::FrontendBuilder;
use crate::shell::state::network_keys::network_tag;
use crate::shell::state::state_dir::{create_directory, lock_directory};
use crate::shell::stdio::stderr::print_sentence;
use crate::ui::command::UserCommand;
use crate::ui::json;
use crate::ui::json_parser::events::parse_event;
use crate::ui::request::{Request, RequestKind};
use crate::ui::session_event::{EventKind, PROTOCOL_VERSION, Ready};

/// Minimum time that a client waits for the server's `ready` event, in milliseconds. Applies even
/// if `-W` gives a shorter time.
const RESPONSE_TIMEOUT_MIN_MS: u64 = 2_000;

/// Maximum length of the answer to a command, in bytes. The rest is not read.
const ANSWER_MAX_BYTES: u64 = 4 << 20;

/// Maximum length of the server's first event, in bytes.
const READY_MAX_BYTES: usize = 16 * 1024;

/// The result of [`attach_or_lock`].
pub enum AttachOutcome {
    /// This run acted through a server, and is over. Contains the exit status of this run.
    Exited(ExitStatus),
    /// This run has locked the directory, because no other program runs there. The file holds the
    /// lock.
    Locked(File),
}

/// Acts through the program that runs in the directory. If that program ends before this run does,
/// acts through the next program there. If no program runs there, locks the directory.
///
/// # Errors
/// Exit status 78: the directory cannot be used. 2: an option differs from the running program's.
/// 1: the running program does not answer.
pub fn attach_or_lock(
    builder: &mut FrontendBuilder,
    directory: &Path,
) -> Result<AttachOutcome, Failure> {
    create_directory(directory)?;
    let mut client = Client::default();
    let timeout_ms = builder
        .options
        .wait_ms
        .unwrap_or(RESPONSE_TIMEOUT_MS)
        .max(RESPONSE_TIMEOUT_MIN_MS);
    let mut deadline = builder.clock.now().time + RESPONSE_TIMEOUT_MS;
    loop {
        if let Some((stream, ready)) = connect(directory, timeout_ms)? {
            let network = network_tag(builder.keys.as_ref());
            check_compatible(&builder.options, network, directory, &ready)?;
            if let Some(status) = client.run(builder, directory, stream, &ready)? {
                return Ok(AttachOutcome::Exited(status));
            }
            deadline = builder.clock.now().time + RESPONSE_TIMEOUT_MS;
        }
        if let Some(lock) = lock_directory(directory)? {
            client.adopt_options(builder)?;
            return Ok(AttachOutcome::Locked(lock));
        }
        if builder.clock.now().time >= deadline {
            return Err(unresponsive_failure(directory));
        }
        if let Some(status) = client.wait_to_reconnect(builder)? {
            return Ok(AttachOutcome::Exited(status));
        }
    }
}

/// The failure of a command whose directory is in use by a program that does not answer.
pub fn unresponsive_failure(directory: &Path) -> Failure {
    Failure::new(
        ExitStatus::GeneralError,
        format!(
            "the p2pchat that runs in {} does not answer: end it, or choose another directory \
             with --dir, or --ephemeral",
            directory.display()
        ),
    )
}

/// Connects to the program in the directory, and reads its `ready` event. `None`: no program
/// accepts the connection.
fn connect(directory: &Path, timeout_ms: u64) -> Result<Option<(UnixStream, Ready)>, Failure> {
    let Ok(stream) = socket::connect(directory) else {
        return Ok(None);
    };
    if !is_same_user(&stream) {
        return Err(Failure::config(format!(
            "another user's p2pchat runs in {}: choose another directory with --dir, or \
             --ephemeral",
            directory.display()
        )));
    }
    match read_first_event(stream, timeout_ms) {
        FirstEvent::Ready(stream, ready) => Ok(Some((stream, *ready))),
        FirstEvent::Closed => Ok(None),
        FirstEvent::OtherVersion => Err(other_version_failure(directory)),
        FirstEvent::Missing => Err(unresponsive_failure(directory)),
    }
}

/// Reads the `ready` event of the program that runs in the directory. `None`: this user runs no
/// program there, or the program does not answer within 2 seconds. In the second case, prints a
/// warning, which ends with `consequence`. --quiet does not hide it, because the output may mislead
/// without it.
///
/// # Errors
/// Exit status 1: the running program is of another version.
pub fn probe_running(directory: &Path, consequence: &str) -> Result<Option<Ready>, Failure> {
    let ready = match socket::connect(directory) {
        Ok(stream) if is_same_user(&stream) => read_first_event(stream, RESPONSE_TIMEOUT_MIN_MS),
        Err(error) if error.kind() == ErrorKind::WouldBlock => FirstEvent::Missing,
        _ => return Ok(None),
    };
    match ready {
        FirstEvent::Ready(_, ready) => Ok(Some(*ready)),
        FirstEvent::Closed => Ok(None),
        FirstEvent::OtherVersion => Err(other_version_failure(directory)),
        FirstEvent::Missing => {
            print_sentence(&format!(
                "the p2pchat that runs in {} does not answer: its files are read, and {consequence}",
                directory.display()
            ));
            Ok(None)
        }
    }
}

/// Asks the program that runs in `directory` to audit its history, because a reader found damage in
/// the files. If the program cannot be reached, its next start audits.
pub fn request_audit(directory: &Path) {
    request(directory, RequestKind::Audit);
}

/// Has the program that runs in `directory`, if there is one, read `known_peers` again.
pub fn request_known_peers(directory: &Path) {
    request(directory, RequestKind::ReloadKnownPeers);
}

/// Sends one request, and waits until the server has executed it: a server may drop the requests of
/// a client that has gone.
fn request(directory: &Path, kind: RequestKind) {
    let send = || {
        let mut stream = socket::connect(directory)?;
        if !is_same_user(&stream) {
            return Ok(());
        }
        let mut line = Vec::new();
        json::append_request(&Request::new(None, kind), &mut line);
        stream.write_all(&line)?;
        stream.shutdown(Shutdown::Write)?;
        stream.set_read_timeout(Some(Duration::from_millis(RESPONSE_TIMEOUT_MIN_MS)))?;
        // The server sends its first event and closes the connection.
        let mut events = stream.take(READY_MAX_BYTES as u64);
        io::copy(&mut events, &mut io::sink()).map(|_| ())
    };
    // A program that does not answer reads the files when it starts again.
    let _ = send();
}

/// Has the program that runs in `directory` execute a command. Returns the events of the answer, or
/// why the command was refused. `None`: no program accepts the connection, or it ends before the
/// answer.
///
/// # Errors
/// Exit status 78: another user's program runs there. 1: the program does not answer.
pub fn execute(
    directory: &Path,
    command: UserCommand,
) -> Result<Option<Result<Vec<EventKind>, Refusal>>, Failure> {
    let Some((mut stream, ready)) = connect(directory, RESPONSE_TIMEOUT_MIN_MS)? else {
        return Ok(None);
    };
    let mut line = Vec::new();
    json::append_request(&Request::new(Some("1".to_owned()), command), &mut line);
    let timeout = Some(Duration::from_millis(RESPONSE_TIMEOUT_MS));
    let sent = stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_read_timeout(timeout))
        .and_then(|()| stream.write_all(&line));
    if sent.is_err() {
        return Ok(None);
    }
    let mut events = Vec::new();
    let mut lines = BufReader::new(stream.take(ANSWER_MAX_BYTES));
    loop {
        line.clear();
        match lines.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(unresponsive_failure(directory));
            }
            Err(_) => return Ok(None),
        }
        let event = parse_event(&line, Some(ready.me.id));
        let Some(kind) = event.filter(|it| it.id.is_some()).map(|it| *it.kind) else {
            continue;
        };
        match kind {
            EventKind::Done(_) => return Ok(Some(Ok(events))),
            EventKind::Notice(notice) => {
                if let Notice::Error { code, content } = &*notice {
                    return Ok(Some(Err(Refusal {
                        code: *code,
                        content: content.clone(),
                    })));
                }
                events.push(EventKind::Notice(notice));
            }
            kind => events.push(kind),
        }
    }
}

/// The first event of a server to a new client, or why there is none.
enum FirstEvent {
    /// The program is ready. The stream is non-blocking now.
    Ready(UnixStream, Box<Ready>),
    /// The connection has ended.
    Closed,
    /// The program speaks another version of the protocol.
    OtherVersion,
    /// The program sends nothing in time.
    Missing,
}

/// Reads the first event from the stream. Waits up to `timeout_ms` for each part of it.
fn read_first_event(mut stream: UnixStream, timeout_ms: u64) -> FirstEvent {
    let timeout = Some(Duration::from_millis(timeout_ms));
    let (mut line, mut buffer) = (Vec::new(), [0; 1024]);
    if stream.set_read_timeout(timeout).is_err() {
        return FirstEvent::Closed;
    }
    while line.last() != Some(&b'\n') && line.len() < READY_MAX_BYTES {
        // What follows the line is for the connection, and stays in the socket.
        let peeked = recv(stream.as_raw_fd(), &mut buffer, MsgFlags::MSG_PEEK);
        let read = peeked.map_err(io::Error::from).and_then(|peeked| {
            let mut bytes = buffer[..peeked].iter();
            let line_end = bytes.position(|byte| *byte == b'\n');
            stream.read(&mut buffer[..line_end.map_or(peeked, |at| at + 1)])
        });
        match read {
            Ok(0) => return FirstEvent::Closed,
            Ok(n) => line.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return FirstEvent::Missing;
            }
            Err(_) => return FirstEvent::Closed,
        }
    }
    match parse_event(&line, None).map(|event| *event.kind) {
        Some(EventKind::Ready(ready)) if ready.protocol == PROTOCOL_VERSION => {
            match stream.set_nonblocking(true) {
                Ok(()) => FirstEvent::Ready(stream, ready),
                Err(_) => FirstEvent::Closed,
            }
        }
        _ => FirstEvent::OtherVersion,
    }
}

fn other_version_failure(directory: &Path) -> Failure {
    Failure::new(
        ExitStatus::GeneralError,
        format!(
            "the p2pchat that runs in {} is of another version: end it, or choose another \
             directory with --dir, or --ephemeral",
            directory.display()
        ),
    )
}

/// Checks that the options of this run do not contradict those of the running program. Compares the
/// options given on the command line. Also compares the network, which is `network` in this run, if
/// it has a secret file.
///
/// # Errors
/// Exit status 2: an option differs.
pub fn check_compatible(
    options: &Options,
    network: NetworkTag,
    directory: &Path,
    ready: &Ready,
) -> Result<(), Failure> {
    let secret = options.secret_file.as_ref().map(|_| OptionId::SecretFile);
    for option in options.explicit.iter().copied().chain(secret) {
        let is_same = match option {
            OptionId::Username => options.username == ready.me.nick,
            OptionId::Port => options.port == Some(ready.port),
            OptionId::Multicast => options.multicast == ready.multicast,
            OptionId::Interface => options.interfaces == ready.interfaces,
            OptionId::Nat => options.nat == ready.maps_port,
            OptionId::NoMdns => options.mdns == ready.uses_mdns,
            OptionId::Scan => options.scan.map(|it| it.to_string()) == ready.scan,
            OptionId::Lsnp => options.lsnp == ready.speaks_lsnp,
            OptionId::GoRoom => options.go_room == ready.speaks_go,
            OptionId::Interval => options.timing.interval_ms == ready.timing.interval_ms,
            OptionId::Patience => options.timing.patience_ms == ready.timing.patience_ms,
            OptionId::LsnpRoom => options.lsnp_room == ready.lsnp_room,
            OptionId::Grape => options.grapes == ready.grapes,
            OptionId::Dht => options.dht == ready.uses_dht,
            OptionId::DhtBootstrap => options.dht_bootstrap == ready.dht_bootstrap,
            OptionId::SecretFile => network == ready.network,
            _ => true,
        };
        if !is_same {
            return Err(Failure::usage(format!(
                "a p2pchat with another {} runs in {}: choose another directory with --dir, or \
                 --ephemeral",
                option.long(),
                directory.display()
            )));
        }
    }
    Ok(())
}
