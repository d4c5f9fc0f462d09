//! The terminal at stdin: raw mode, and the width.
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

/// What the terminal was like before [`RawMode`].
static ORIGINAL_TERMIOS: OnceLock<libc::termios> = OnceLock::new();
static IS_RAW: AtomicBool = AtomicBool::new(false);

/// The terminal in raw mode, until this is dropped, [`restore`] is called, or the program panics.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Takes stdin's terminal into raw mode: every key comes at once, Ctrl-C included, and nothing is echoed.
    ///
    /// # Errors
    /// stdin is no terminal, or it refuses.
    pub fn enter() -> io::Result<RawMode> {
        let mut raw = tcgetattr(io::stdin())?;
        if ORIGINAL_TERMIOS.set(raw.clone().into()).is_ok() {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                before(info);
            }));
        }
        make_raw(&mut raw);
        // Said before it is done: a signal in between then restores what needs none.
        IS_RAW.store(true, Ordering::SeqCst);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &raw)?;
        Ok(RawMode(()))
    }
}

fn make_raw(modes: &mut Termios) {
    let output = modes.output_flags;
    cfmakeraw(modes);
    // A sentence that others write to the terminal still begins at the left.
    modes.output_flags = output;
}

/// Takes raw mode again, if it was taken and not given back: after a stop somebody else may have changed the modes.
pub fn reenter_raw_mode() {
    if IS_RAW.load(Ordering::SeqCst)
        && let Some(original) = ORIGINAL_TERMIOS.get()
    {
        let mut raw = Termios::from(*original);
        make_raw(&mut raw);
        // A terminal that is gone ends the run by other ways.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &raw);
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back as it was. May be called at any time, from any thread, and more than once.
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
