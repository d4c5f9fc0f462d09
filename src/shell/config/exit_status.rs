//! The exit statuses, which are a contract with scripts.

/// Why the program ended; the discriminant is the number that the shell sees.
///
/// 64–78 follow sysexits.h, 124 follows timeout(1), 128 + n is the end by signal n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// The run did what it was started for.
    Success = 0,
    /// Input or output failed, lines were refused, or another program uses the directory.
    GeneralError = 1,
    /// The command line, the environment or the options file has an invalid option.
    UsageError = 2,
    /// No peer was linked at any time.
    NoPeer = 69,
    /// Peers were linked, but not all that are required have acknowledged the lines.
    PartialDelivery = 75,
    /// A peer presented a key that is not the one bound to its name.
    KeyMismatch = 77,
    /// The options file, the identity, the directory or the secret file cannot be used.
    ConfigError = 78,
    /// `listen` ran out of time with fewer lines than `--count` asks for.
    TimedOut = 124,
    /// The terminal hung up (SIGHUP).
    Hangup = 129,
    /// Ctrl-C was typed, or SIGINT arrived.
    Interrupted = 130,
    /// The reader of stdout closed it (SIGPIPE).
    StdoutClosed = 141,
    /// SIGTERM arrived.
    Terminated = 143,
}

impl ExitStatus {
    /// The number that the program exits with.
    pub fn code(self) -> u8 {
        self as u8
    }
}
