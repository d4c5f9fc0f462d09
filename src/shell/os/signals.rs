//! Delivers signals as readiness events of the event loop.
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
    /// # Errors
    /// The pipe to the signal handler can't be created or registered.
    pub fn register(registry: &Registry, token: Token) -> io::Result<Signals> {
        let mut source = Source::new([SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGCONT])?;
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
