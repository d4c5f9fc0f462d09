//! `p2pchat trust`: lists and changes the known peers.
//!
//! The program that runs in the directory makes the changes itself, so that it knows them at once.
//! If none runs, this command locks the directory and makes them.
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::base::error_code::{ErrorCode, Refusal};
use crate::shell::commands::print::print_text;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::config::options::Options;
use crate::shell::ipc::attach;
use crate::shell::os::clock::Clock;
use crate::shell::session::trust::{TrustSurroundings, execute_trust};
use crate::shell::state::network_keys::load_network_keys;
use crate::shell::state::state_dir::{check_directory, load_own_identity, lock_directory};
use crate::shell::state::trust_files::TrustFiles;
use crate::shell::stdio::stderr::print_warnings;
use crate::ui::command::UserCommand;
use crate::ui::json;
use crate::ui::session_event::EventKind;
use crate::ui::tables;
use crate::ui::trust_command::{TrustCommand, TrustEntry, parse_trust};

/// How long to wait for a program that is starting or ending, in milliseconds.
const BUSY_DIRECTORY_TIMEOUT_MS: u64 = 5_000;
/// Milliseconds between two attempts to lock the directory or to connect to its program.
const BUSY_DIRECTORY_INTERVAL_MS: u64 = 20;

const NO_KNOWN_PEERS: &str =
    "with --ephemeral nobody is known before the program runs: choose a directory with --dir";

const USAGE: &str = "trust takes list, add NAME ID, forget NAME, verify NAME FINGERPRINT, ban NAME, unban NAME, \
     ignore NAME, or unignore NAME";

/// Lists or changes the known peers. Prints those that it lists or has changed. Returns the exit
/// status.
///
/// # Errors
/// Exit status 2: wrong usage, or `--ephemeral`. 77: the fingerprint is not that of the peer. 78:
/// the directory is unusable. 1: the peer is unknown or ambiguous, or any other failure.
pub fn run_trust(options: &Options) -> Result<ExitStatus, Failure> {
    let text = String::from_utf8_lossy(options.text.as_deref().unwrap_or_default());
    let command = parse_trust(&text).map_err(Failure::usage)?;
    // A mistyped word would otherwise be taken for the name of a peer to bind.
    let is_whole = match &command {
        TrustCommand::Bind(_) | TrustCommand::Whois { .. } => false,
        TrustCommand::Verify { fingerprint, .. } => fingerprint.is_some(),
        _ => true,
    };
    if !is_whole {
        return Err(Failure::usage(USAGE));
    }
    let Some(directory) = options.directory.as_deref() else {
        return Err(Failure::usage(NO_KNOWN_PEERS));
    };
    let files = TrustFiles::new(Some(directory));
    let mut warnings = Vec::new();
    load_network_keys(options, &mut warnings)?;
    print_warnings(&warnings);
    let result = match command {
        TrustCommand::List => {
            check_directory(directory)?;
            // A running program knows what each has done wrong. The file says the rest.
            let request = UserCommand::Trust(TrustCommand::List);
            match attach::execute(directory, request) {
                Ok(Some(answer @ Ok(_))) => entries_of(answer),
                _ => {
                    let around = TrustSurroundings {
                        now: Clock::start().now().wall,
                        ..TrustSurroundings::default()
                    };
                    execute_trust(&files, &command, &around)
                }
            }
        }
        _ => change(options, directory, &files, &command)?,
    };
    print(options, &result.map_err(to_failure)?)
}

fn to_failure(refusal: Refusal) -> Failure {
    let status = match refusal.code {
        ErrorCode::InvalidLine => ExitStatus::UsageError,
        ErrorCode::WrongKey => ExitStatus::KeyMismatch,
        _ => ExitStatus::GeneralError,
    };
    Failure::new(status, refusal.content)
}

/// Has the program that runs in the directory execute the command. If none runs, locks the
/// directory and executes it.
fn change(
    options: &Options,
    directory: &Path,
    files: &TrustFiles,
    command: &TrustCommand,
) -> Result<Result<Vec<TrustEntry>, Refusal>, Failure> {
    let mut warnings = Vec::new();
    let own_id = load_own_identity(options, &mut warnings)?.id();
    print_warnings(&warnings);
    let deadline = Instant::now() + Duration::from_millis(BUSY_DIRECTORY_TIMEOUT_MS);
    loop {
        if let Some(_lock) = lock_directory(directory)? {
            let around = TrustSurroundings {
                own_id: Some(own_id),
                now: Clock::start().now().wall,
                ..TrustSurroundings::default()
            };
            return Ok(execute_trust(files, command, &around));
        }
        let request = UserCommand::Trust(command.clone());
        if let Some(answer) = attach::execute(directory, request)? {
            return Ok(entries_of(answer));
        }
        if Instant::now() >= deadline {
            return Err(attach::unresponsive_failure(directory));
        }
        thread::sleep(Duration::from_millis(BUSY_DIRECTORY_INTERVAL_MS));
    }
}

fn entries_of(answer: Result<Vec<EventKind>, Refusal>) -> Result<Vec<TrustEntry>, Refusal> {
    answer.map(|events| events.into_iter().filter_map(entry_of).collect())
}

fn entry_of(kind: EventKind) -> Option<TrustEntry> {
    match kind {
        EventKind::Trust(entry) => Some(entry),
        _ => None,
    }
}

fn print(options: &Options, entries: &[TrustEntry]) -> Result<ExitStatus, Failure> {
    if options.json {
        let mut lines = Vec::new();
        entries
            .iter()
            .for_each(|entry| json::append_trust(entry, &mut lines));
        return print_text(&String::from_utf8_lossy(&lines));
    }
    print_text(&match io::stdout().is_terminal() {
        true => tables::format_trust_table(entries),
        false => tables::format_trust_rows(entries),
    })
}
