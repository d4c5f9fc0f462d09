//! The terminal at stdin: raw mode, and the width.
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

/// The modes before [`RawMode`].
static ORIGINAL_TERMIOS: OnceLock<libc::termios> = OnceLock::new();
/// The terminal is in raw mode.
static IS_RAW: AtomicBool = AtomicBool::new(false);

/// Keeps the terminal in raw mode until it is dropped, [`restore`] is called, or the program
/// panics.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Sets the terminal at stdin to raw mode: keys arrive one by one, Ctrl-C included, and
    /// nothing is echoed.
    ///
    /// # Errors
    /// stdin is no terminal, or the terminal refuses its modes.
    pub fn enter() -> io::Result<RawMode> {
        let mut raw = tcgetattr(io::stdin())?;
        if ORIGINAL_TERMIOS.set(raw.clone().into()).is_ok() {
            let previous_hook = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                previous_hook(info);
            }));
        }
        make_raw(&mut raw);
        // Set before the modes: a `restore` in between only sets the original modes again.
        IS_RAW.store(true, Ordering::SeqCst);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &raw)?;
        Ok(RawMode(()))
    }
}

fn make_raw(modes: &mut Termios) {
    let output_flags = modes.output_flags;
    cfmakeraw(modes);
    // Lines that other programs write to the terminal still begin in the first column.
    modes.output_flags = output_flags;
}

/// Sets raw mode again if the program is in it: after a stop the shell has changed the modes.
pub fn reenter_raw_mode() {
    if IS_RAW.load(Ordering::SeqCst)
        && let Some(original) = ORIGINAL_TERMIOS.get()
    {
        let mut raw = Termios::from(*original);
        make_raw(&mut raw);
        // If the terminal is gone, reading stdin ends the run.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &raw);
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Restores the modes before [`RawMode`]. Safe to call at any time, from any thread, and twice.
pub fn restore() {
    if IS_RAW.swap(false, Ordering::SeqCst)
        && let Some(original) = ORIGINAL_TERMIOS.get()
    {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &Termios::from(*original));
    }
}

/// The width of the terminal in columns; 0 if there is none.
pub fn width_columns() -> u16 {
    termion::terminal_size().map_or(0, |(columns, _)| columns)
}
