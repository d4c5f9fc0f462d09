//! Exit statuses of the program. Scripts depend on them.

/// Why the program ended. The discriminant is the exit status.
///
/// Statuses 64 to 78 follow sysexits.h, and 124 follows timeout(1). Status 128 + n means that
/// signal n ended the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// The command succeeded.
    Success = 0,
    /// A failure that has no status of its own. Examples: output failed, a line or a command was
    /// refused, another program uses the directory.
    GeneralError = 1,
    /// The command line, the environment or the options file contains an option or value that is
    /// not valid.
    UsageError = 2,
    /// No peer was linked during the whole run.
    NoPeer = 69,
    /// At least one peer was linked, but not every required peer acknowledged the lines.
    PartialDelivery = 75,
    /// A peer has the wrong key. The right key is the one that the user bound to the peer's name,
    /// or gave in `--peer`.
    KeyMismatch = 77,
    /// The options file, the identity, the directory or the secret file cannot be used.
    ConfigError = 78,
    /// `listen`: the time of `--wait` passed before `--count` lines were printed.
    TimedOut = 124,
    /// The terminal hung up (SIGHUP).
    Hangup = 129,
    /// Ctrl-C was typed, or SIGINT arrived.
    Interrupted = 130,
    /// The reader closed the pipe at stdout (SIGPIPE).
    StdoutClosed = 141,
    /// SIGTERM arrived.
    Terminated = 143,
}

impl ExitStatus {
    /// The exit status as a number.
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// All exit statuses in the help and the man page, and what they mean there.
pub const EXIT_STATUS_SPECS: &[(ExitStatus, &str)] = &[
    (ExitStatus::Success, "done, all delivered"),
    (
        ExitStatus::GeneralError,
        "failed: a line was refused, nobody or two bear that name, I/O",
    ),
    (ExitStatus::UsageError, "wrong usage"),
    (ExitStatus::NoPeer, "nobody was linked in time"),
    (
        ExitStatus::PartialDelivery,
        "not everyone needed has it yet, or is here",
    ),
    (
        ExitStatus::KeyMismatch,
        "a key is not the one bound to that name",
    ),
    (
        ExitStatus::ConfigError,
        "bad identity, directory or secret file",
    ),
    (ExitStatus::TimedOut, "listen -W ran out before -n lines"),
    (ExitStatus::Hangup, "hung up"),
    (ExitStatus::Interrupted, "interrupted"),
    (ExitStatus::StdoutClosed, "stdout was closed"),
    (ExitStatus::Terminated, "terminated"),
];
