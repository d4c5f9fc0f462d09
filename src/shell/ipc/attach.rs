//! Coming into a directory: through the program that runs there, or, once there is none, with its lock.
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::base::identity::NetworkTag;
use crate::shell::config::exit_status::FAILED;
use crate::shell::config::failure::Failure;
use crate::shell::config::options::Options;
use crate::shell::ipc::client::{Guest, PATIENCE};
use crate::shell::ipc::connection::is_own;
use crate::shell::ipc::message::{ANSWER_MAX, Message, Told, Welcome};
use crate::shell::ipc::server;
use crate::shell::session::builder::Desk;
use crate::shell::state::state_dir::{lock, read_secret};

/// The least for which a program that does not answer is waited for, in milliseconds.
const PATIENCE_MIN: u64 = 2_000;

/// How coming into a directory ended.
pub enum Entry {
    /// The run is over, with this status.
    Over(u8),
    /// Nobody runs there any more: the directory's lock.
    Free(File),
}

/// Acts through the program that runs in the directory; gives its lock once there is none.
///
/// # Errors
/// 78: the directory can't be used. 2: options that are not those of the program that runs there. 1: it does not answer.
pub fn enter(desk: &mut Desk, directory: &Path) -> Result<Entry, Failure> {
    let path = server::path(directory)?;
    let mut guest = Guest::new(&desk.options);
    let patience = desk.options.wait.unwrap_or(PATIENCE).max(PATIENCE_MIN);
    let mut until = desk.clock.now().time + PATIENCE;
    loop {
        if let Some((stream, welcome)) = knock(&path, directory, patience)? {
            agree(&desk.options, directory, &welcome)?;
            let stayed = guest.stay(desk, directory, stream, welcome);
            if let Some(status) = stayed? {
                return Ok(Entry::Over(status));
            }
            until = desk.clock.now().time + PATIENCE;
        }
        if let Some(lock) = lock(directory)? {
            if guest.stayed() {
                let network = own_network(&desk.options)?;
                guest.hand_over(desk, network)?;
            }
            return Ok(Entry::Free(lock));
        }
        if desk.clock.now().time >= until {
            return Err(silent(directory));
        }
        if let Some(status) = guest.nap(desk)? {
            return Ok(Entry::Over(status));
        }
    }
}

fn silent(directory: &Path) -> Failure {
    let sentence = format!(
        "the p2pchat that runs in {} does not answer: end it, or give this one its own directory with --dir, or --ephemeral",
        directory.display()
    );
    Failure::new(FAILED, sentence)
}

/// Connects, and hears who is there. `None`: nobody.
fn knock(
    path: &Path,
    directory: &Path,
    patience: u64,
) -> Result<Option<(UnixStream, Welcome)>, Failure> {
    let Ok(stream) = UnixStream::connect(path) else {
        return Ok(None);
    };
    if !is_own(&stream) {
        let sentence = format!(
            "another user's p2pchat runs in {}: give this one its own directory with --dir, or --ephemeral",
            directory.display()
        );
        return Err(Failure::config(sentence));
    }
    greeted(stream, directory, patience)
}

/// The program that runs in the directory, for those who only want to know of it: another user's is none.
///
/// # Errors
/// 1: it does not answer.
pub fn running(directory: &Path) -> Result<Option<Welcome>, Failure> {
    let stream = server::path(directory).map(UnixStream::connect);
    match stream {
        Ok(Ok(stream)) if is_own(&stream) => {
            let met = greeted(stream, directory, PATIENCE)?;
            Ok(met.map(|(_, welcome)| welcome))
        }
        _ => Ok(None),
    }
}

fn greeted(
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
        match Message::take(&mut input, ANSWER_MAX).map(|message| message.map(Message::told)) {
            Ok(Some(Some(Told::Welcome(welcome)))) if input.is_empty() => {
                let ready = stream.set_nonblocking(true).is_ok();
                return Ok(ready.then_some((stream, *welcome)));
            }
            Ok(None) => {}
            _ => return Err(silent(directory)),
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(n) => input.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(silent(directory));
            }
            Err(_) => return Ok(None),
        }
    }
}

/// The network that this run's own options name.
fn own_network(options: &Options) -> Result<NetworkTag, Failure> {
    let path = options.secret_file.as_deref();
    let secret = path.map(|path| read_secret(path, &mut Vec::new()));
    Ok(secret
        .transpose()?
        .map_or(NetworkTag::OPEN, |secret| secret.network()))
}

/// What was given by hand must be as it is with the program that runs, and a secret wherever it is named: it tells who may hear what is said.
///
/// # Errors
/// 2: it is not. 78: a secret cannot be read.
pub fn agree(options: &Options, directory: &Path, welcome: &Welcome) -> Result<(), Failure> {
    let secret = options.secret_file.as_ref().map(|_| "--secret-file");
    for long in options.by_hand.iter().copied().chain(secret) {
        let same = match long {
            "--username" => options.username == welcome.me.nick,
            "--port" => options.port == Some(welcome.port),
            "--multicast" => options.multicast == welcome.multicast,
            "--interface" => options.interfaces == welcome.interfaces,
            _ => own_network(options)? == welcome.network,
        };
        if !same {
            return Err(Failure::usage(format!(
                "a p2pchat runs in {} with another {long}, and this one would act through it: give it its own directory with --dir, or --ephemeral",
                directory.display()
            )));
        }
    }
    Ok(())
}
