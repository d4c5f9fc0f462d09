//! Signals as events of the loop.
use std::io;

use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook_mio::v1_0::Signals as Source;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: Ctrl-C at a terminal that is not in raw mode, or a supervisor.
    Interrupt,
    /// SIGTERM: a supervisor ends the program.
    Terminate,
    /// SIGHUP: the terminal is gone, or, without one, options are to be read again.
    HangUp,
    /// SIGWINCH: the terminal's size changed.
    Resize,
    /// SIGCONT: the program was stopped, and others may have changed the terminal's modes.
    Resume,
}

pub struct Signals(Source);

impl Signals {
    /// # Errors
    /// The system refuses the pipe behind it.
    pub fn register(registry: &Registry, token: Token) -> io::Result<Signals> {
        let mut source = Source::new([SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGCONT])?;
        registry.register(&mut source, token, Interest::READABLE)?;
        Ok(Signals(source))
    }

    /// Those that came since the last call.
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
