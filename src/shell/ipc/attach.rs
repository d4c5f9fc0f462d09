//! Coming into a directory: through the program that runs there, or, once there is none, with its lock.
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::base::identity::NetworkTag;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::config::option_specs::OptionId;
use crate::shell::config::options::Options;
use crate::shell::ipc::client::client::{Client, RESPONSE_TIMEOUT_MS};
use crate::shell::ipc::connection::is_same_user;
use crate::shell::ipc::message::message::IpcMessage;
use crate::shell::ipc::message::response::{RESPONSE_BODY_MAX_BYTES, Response, Welcome};
use crate::shell::ipc::server;
use crate::shell::session::builder::SessionBuilder;
use crate::shell::state::network_keys::{load_network_keys, network_tag};
use crate::shell::state::state_dir::lock_directory;

/// The least for which a program that does not answer is waited for, in milliseconds.
const RESPONSE_TIMEOUT_MIN_MS: u64 = 2_000;

/// How coming into a directory ended.
pub enum AttachOutcome {
    /// The run is over, with this status.
    Exited(ExitStatus),
    /// Nobody runs there any more: the directory's lock.
    Locked(File),
}

/// Acts through the program that runs in the directory; gives its lock once there is none.
///
/// # Errors
/// 78: the directory can't be used. 2: options that are not those of the program that runs there. 1: it does not answer.
pub fn attach_or_lock(
    desk: &mut SessionBuilder,
    directory: &Path,
) -> Result<AttachOutcome, Failure> {
    let path = server::socket_path(directory)?;
    let mut guest = Client::new(&desk.options);
    let patience = desk
        .options
        .wait_ms
        .unwrap_or(RESPONSE_TIMEOUT_MS)
        .max(RESPONSE_TIMEOUT_MIN_MS);
    let mut until = desk.clock.now().time + RESPONSE_TIMEOUT_MS;
    loop {
        if let Some((stream, welcome)) = connect(&path, directory, patience)? {
            check_compatible(&desk.options, directory, &welcome)?;
            let stayed = guest.run(desk, directory, stream, welcome);
            if let Some(status) = stayed? {
                return Ok(AttachOutcome::Exited(status));
            }
            until = desk.clock.now().time + RESPONSE_TIMEOUT_MS;
        }
        if let Some(lock) = lock_directory(directory)? {
            if guest.was_attached() {
                let network = configured_network(&desk.options)?;
                guest.hand_over_commands(desk, network)?;
            }
            return Ok(AttachOutcome::Locked(lock));
        }
        if desk.clock.now().time >= until {
            return Err(unresponsive_failure(directory));
        }
        if let Some(status) = guest.wait_to_reconnect(desk)? {
            return Ok(AttachOutcome::Exited(status));
        }
    }
}

fn unresponsive_failure(directory: &Path) -> Failure {
    let sentence = format!(
        "the p2pchat that runs in {} does not answer: end it, or give this one its own directory with --dir, or --ephemeral",
        directory.display()
    );
    Failure::new(ExitStatus::GeneralError, sentence)
}

/// Connects, and hears who is there. `None`: nobody.
fn connect(
    path: &Path,
    directory: &Path,
    patience: u64,
) -> Result<Option<(UnixStream, Welcome)>, Failure> {
    let Ok(stream) = UnixStream::connect(path) else {
        return Ok(None);
    };
    if !is_same_user(&stream) {
        let sentence = format!(
            "another user's p2pchat runs in {}: give this one its own directory with --dir, or --ephemeral",
            directory.display()
        );
        return Err(Failure::config(sentence));
    }
    read_welcome(stream, directory, patience)
}

/// The program that runs in the directory, for those who only want to know of it: another user's is none.
///
/// # Errors
/// 1: it does not answer.
pub fn probe_running(directory: &Path) -> Result<Option<Welcome>, Failure> {
    let stream = server::socket_path(directory).map(UnixStream::connect);
    match stream {
        Ok(Ok(stream)) if is_same_user(&stream) => {
            let met = read_welcome(stream, directory, RESPONSE_TIMEOUT_MS)?;
            Ok(met.map(|(_, welcome)| welcome))
        }
        _ => Ok(None),
    }
}

fn read_welcome(
    mut stream: UnixStream,
    directory: &Path,
    patience: u64,
) -> Result<Option<(UnixStream, Welcome)>, Failure> {
    let timeout = Some(Duration::from_millis(patience));
    let mut input = Vec::new();
    let mut buffer = [0; 4096];
    if stream.set_read_timeout(timeout).is_err() {
        return Ok(None);
    }
    loop {
        match IpcMessage::decode(&mut input, RESPONSE_BODY_MAX_BYTES)
            .map(|message| message.map(Response::decode))
        {
            Ok(Some(Some(Response::Welcome(welcome)))) if input.is_empty() => {
                let ready = stream.set_nonblocking(true).is_ok();
                return Ok(ready.then_some((stream, *welcome)));
            }
            Ok(None) => {}
            _ => return Err(unresponsive_failure(directory)),
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(n) => input.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(unresponsive_failure(directory));
            }
            Err(_) => return Ok(None),
        }
    }
}

/// The network that this run's own options name.
fn configured_network(options: &Options) -> Result<NetworkTag, Failure> {
    Ok(network_tag(
        load_network_keys(options, &mut Vec::new())?.as_ref(),
    ))
}

/// What was given by hand must be as it is with the program that runs, and a secret wherever it is named: it tells who may hear what is said.
///
/// # Errors
/// 2: it is not. 78: a secret cannot be read.
pub fn check_compatible(
    options: &Options,
    directory: &Path,
    welcome: &Welcome,
) -> Result<(), Failure> {
    let secret = options.secret_file.as_ref().map(|_| OptionId::SecretFile);
    for option in options.explicit.iter().copied().chain(secret) {
        let same = match option {
            OptionId::Username => options.username == welcome.me.nick,
            OptionId::Port => options.port == Some(welcome.port),
            OptionId::Multicast => options.multicast == welcome.multicast,
            OptionId::Interface => options.interfaces == welcome.interfaces,
            OptionId::SecretFile => configured_network(options)? == welcome.network,
            _ => true,
        };
        if !same {
            return Err(Failure::usage(format!(
                "a p2pchat runs in {} with another {}, and this one would act through it: give it its own directory with --dir, or --ephemeral",
                directory.display(),
                option.long()
            )));
        }
    }
    Ok(())
}
