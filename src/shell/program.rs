//! Entry point of the program: reads the options, runs the chosen command and returns the exit
//! status.
use std::hint::black_box;

use crate::base::trust::level::HAS_TRUST;
#[cfg(feature = "doctor")]
use crate::shell::commands::doctor::run::run_doctor;
use crate::shell::commands::history::run_history;
use crate::shell::commands::keygen::run_keygen;
use crate::shell::commands::print::print_text;
use crate::shell::commands::trust::run_trust;
use crate::shell::commands::whoami::run_whoami;
#[cfg(feature = "invite")]
use crate::shell::commands::{invite::run_invite, join::run_join};
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::config::help::{VERSION_LINE, help};
use crate::shell::config::options;
use crate::shell::config::options::Options;
use crate::shell::config::subcommand::Subcommand;
use crate::shell::os::descriptors::count_available;
use crate::shell::runtime::start::run_session;
use crate::shell::session::frontend::exit_policy::SessionMode;
use crate::shell::stdio::stderr::print_sentence;
use crate::shell::stdio::terminal;

/// Size in bytes of a block that is allocated and freed at startup. This raises glibc's mmap
/// threshold to the size of the block, and its trim threshold to twice that (mallopt(3)). With the
/// default thresholds, glibc would return the memory of each turn's batches to the kernel. The next
/// turn would need page faults to get the memory back.
const MALLOC_WARMUP_BYTES: usize = 512 * 1024;

/// Descriptors that a session must be able to open at its start: about 20 for files, threads and
/// one interface, and the rest for further interfaces, links and segments.
const SESSION_DESCRIPTORS: usize = 32;
/// Descriptors that a command without a session must be able to open. Such a command opens the
/// socket of a running program, or folders and segments of the history.
const READER_DESCRIPTORS: usize = 8;

/// Runs the program and returns its exit status. Prints a failure as one line on stderr.
pub fn main() -> ExitStatus {
    drop(black_box(Vec::<u8>::with_capacity(MALLOC_WARMUP_BYTES)));
    match options::from_process().and_then(run_subcommand) {
        Ok(status) => status,
        Err(failure) => {
            terminal::restore();
            print_sentence(&failure.message);
            failure.exit_status
        }
    }
}

/// Checks that enough descriptors are left for the command. A program that runs out of them later
/// seems to run, and serves nobody.
fn check_descriptors(subcommand: Subcommand) -> Result<(), Failure> {
    let wanted = match subcommand {
        Subcommand::Help | Subcommand::Version | Subcommand::Keygen => return Ok(()),
        Subcommand::Whoami | Subcommand::History | Subcommand::Trust => READER_DESCRIPTORS,
        _ => SESSION_DESCRIPTORS,
    };
    let available = count_available(wanted);
    if available == wanted {
        return Ok(());
    }
    Err(Failure::new(
        ExitStatus::GeneralError,
        format!(
            "{} needs {wanted} more open files, and the limit leaves {available}: raise it, as in \
             `ulimit -n 256`",
            subcommand.display_name()
        ),
    ))
}

#[cfg(not(feature = "invite"))]
fn run_invite(_: &Options) -> Result<ExitStatus, Failure> {
    Err(Failure::usage(
        "invites are not part of this build: copy the secret file by hand, or build with \
         `--features invite`",
    ))
}

#[cfg(not(feature = "invite"))]
use run_invite as run_join;

#[cfg(not(feature = "doctor"))]
fn run_doctor(_: &Options) -> Result<ExitStatus, Failure> {
    Err(Failure::usage(
        "`doctor` is not part of this build: look at `p2pchat peers -d`, or build with \
         `--features doctor`",
    ))
}

fn run_subcommand(options: Options) -> Result<ExitStatus, Failure> {
    check_descriptors(options.subcommand)?;
    match options.subcommand {
        Subcommand::Help => print_text(&help(options.help_on)),
        Subcommand::Version => print_text(VERSION_LINE),
        Subcommand::Keygen => run_keygen(),
        Subcommand::Invite => run_invite(&options),
        Subcommand::Join => run_join(&options),
        Subcommand::Whoami => run_whoami(&options),
        Subcommand::Trust if HAS_TRUST => run_trust(&options),
        Subcommand::Trust => Err(Failure::usage(
            "`trust` is not part of this build: read the file known_peers of the state directory, \
             or build with `--features trust`",
        )),
        Subcommand::Doctor => run_doctor(&options),
        Subcommand::History => run_history(&options),
        Subcommand::Chat => run_session(options, SessionMode::Chat),
        Subcommand::Send => run_session(options, SessionMode::Send),
        Subcommand::Listen if options.reading.drains => run_session(options, SessionMode::Drain),
        Subcommand::Listen => run_session(options, SessionMode::Listen),
        Subcommand::Peers => run_session(options, SessionMode::Peers),
        Subcommand::Sync => run_session(options, SessionMode::Sync),
    }
}
