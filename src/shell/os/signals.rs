//! Delivers signals as readiness events of the event loop.
use std::fs;
use std::io;

use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook_mio::v1_0::Signals as Source;

/// A signal that the program handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: a user typed Ctrl-C at a terminal that is not in raw mode, or a supervisor sent the
    /// signal.
    Interrupt,
    /// SIGTERM: a supervisor asks the program to end.
    Terminate,
    /// SIGHUP: the terminal hung up. If the program has no terminal, a supervisor asks it to reload
    /// the options.
    HangUp,
    /// SIGWINCH: the terminal's size changed.
    Resize,
    /// SIGCONT: the program continues after a stop. Another program may have changed the
    /// terminal's modes.
    Resume,
}

/// The signals this program handles, registered with the poll.
pub struct Signals(Source);

impl Signals {
    /// Begins to handle SIGINT, SIGTERM, SIGHUP, SIGWINCH and SIGCONT. When one of these signals
    /// arrives, the poll reports `token` as readable.
    ///
    /// If the process already ignores a signal, the signal stays ignored. For example, nohup(1)
    /// ignores SIGHUP, and a shell script ignores SIGINT for its background jobs.
    ///
    /// # Errors
    /// The pipe to the signal handler can't be created or registered.
    pub fn register(registry: &Registry, token: Token) -> io::Result<Signals> {
        let ignored = ignored_signals();
        let handled = [SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGCONT];
        let handled = handled.iter().filter(|number| {
            let bit = 1 << (**number - 1);
            ignored & bit == 0
        });
        let mut source = Source::new(handled)?;
        registry.register(&mut source, token, Interest::READABLE)?;
        Ok(Signals(source))
    }

    /// The signals received since the last call.
    pub fn take_pending(&mut self) -> Vec<Signal> {
        let signal = |number| match number {
            SIGINT => Signal::Interrupt,
            SIGHUP => Signal::HangUp,
            SIGWINCH => Signal::Resize,
            SIGCONT => Signal::Resume,
            _ => Signal::Terminate,
        };
        self.0.pending().map(signal).collect()
    }
}

/// The signals that this process ignores, as a mask with bit 0 for signal 1. 0 if /proc is missing.
/// Reads `SigIgn` of proc(5), because sigaction(2) would need unsafe code.
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.map(|mask| u64::from_str_radix(mask.trim(), 16));
    mask.and_then(Result::ok).unwrap_or(0)
}
