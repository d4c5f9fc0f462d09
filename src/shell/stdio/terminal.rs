//! The terminal: raw mode of stdin, and the width.
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{Pid, write};

use crate::shell::config::values::Color;
use crate::ui::editor::terminal::{Abilities, PASTE_MARKS_OFF};
use crate::ui::terminal_text::palette::Palette;

/// The modes that the terminal had before raw mode.
static ORIGINAL_TERMIOS: OnceLock<libc::termios> = OnceLock::new();
/// Whether the terminal is in raw mode.
static IS_RAW: AtomicBool = AtomicBool::new(false);
/// Whether the terminal was asked to keep its title.
static HAS_SAVED_TITLE: AtomicBool = AtomicBool::new(false);
/// Asks the terminal to keep its title (XTWINOPS 22).
const SAVE_TITLE: &[u8] = b"\x1b[22;2t";
/// Clears the title, for terminals that keep none, and brings the kept one back (XTWINOPS 23).
const RESTORE_TITLE: &[u8] = b"\x1b]2;\x07\x1b[23;2t";
/// The beginnings of `$TERM` of terminals that reflow.
const TERMS_WITH_REFLOW: [&str; 7] = [
    "tmux",
    "foot",
    "alacritty",
    "xterm-kitty",
    "xterm-ghostty",
    "wezterm",
    "contour",
];
/// Variables that such terminals set, whatever `$TERM` is: VTE (as in GNOME), Konsole, WezTerm,
/// kitty, tmux.
const VARIABLES_OF_REFLOW: [&str; 5] = [
    "VTE_VERSION",
    "KONSOLE_VERSION",
    "WEZTERM_PANE",
    "KITTY_WINDOW_ID",
    "TMUX",
];
/// The beginnings of `$TERM` of terminals that have a title, or pass it on.
const TERMS_WITH_TITLE: [&str; 14] = [
    "xterm",
    "rxvt",
    "screen",
    "tmux",
    "foot",
    "alacritty",
    "kitty",
    "st-",
    "konsole",
    "gnome",
    "vte",
    "putty",
    "wezterm",
    "contour",
];

/// Keeps the terminal in raw mode. Raw mode ends when this value is dropped, when [`restore`] is
/// called, or when the program panics.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Sets the terminal at stdin to raw mode. Keys, including Ctrl-C, arrive one by one and are
    /// not echoed.
    ///
    /// # Errors
    /// stdin is not a terminal, or the terminal refuses the modes.
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
        // Set the flag before the modes. A `restore` in between then only sets the original modes
        // once more.
        IS_RAW.store(true, Ordering::SeqCst);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &raw)?;
        save_title();
        Ok(RawMode(()))
    }
}

fn make_raw(modes: &mut Termios) {
    let output_flags = modes.output_flags;
    cfmakeraw(modes);
    // Keep the output flags. Lines that other programs write to the terminal then still begin in
    // the first column.
    modes.output_flags = output_flags;
}

/// What this terminal can do, as far as its variables tell.
pub fn abilities() -> Abilities {
    Abilities {
        has_title: has_title(),
        reflows: reflows(),
    }
}

/// Whether the terminal is known to break rows when it gets narrower. xterm, which does not, has
/// the same `$TERM` as many that do.
fn reflows() -> bool {
    let term = std::env::var("TERM").unwrap_or_default();
    let is_set = |name: &&str| std::env::var_os(name).is_some();
    let by_term = TERMS_WITH_REFLOW.iter().any(|it| term.starts_with(it));
    !is_set(&"XTERM_VERSION") && (by_term || VARIABLES_OF_REFLOW.iter().any(is_set))
}

/// Whether the terminal knows titles.
fn has_title() -> bool {
    let term = std::env::var("TERM").unwrap_or_default();
    TERMS_WITH_TITLE.iter().any(|known| term.starts_with(known))
}

fn save_title() {
    if has_title() && !HAS_SAVED_TITLE.swap(true, Ordering::SeqCst) {
        write_at_once(SAVE_TITLE);
    }
}

fn restore_title() {
    if HAS_SAVED_TITLE.swap(false, Ordering::SeqCst) {
        write_at_once(RESTORE_TITLE);
    }
}

/// Writes to the terminal, unless it takes no bytes now: that must not delay the program.
fn write_at_once(bytes: &[u8]) {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)];
    if stdout.is_terminal() && poll(&mut fds, PollTimeout::ZERO) == Ok(1) {
        let _ = write(stdout.as_fd(), bytes);
    }
}

/// How long a stop signal that the program sends itself may take to arrive.
const STOP_DELAY: Duration = Duration::from_millis(20);

/// Restores the modes that the terminal had before raw mode, and stops the process group (SIGTSTP),
/// as Ctrl-Z does outside raw mode. Returns when the program continues. The caller then calls
/// [`reenter_raw_mode`].
pub fn suspend() {
    if let Some(original) = ORIGINAL_TERMIOS.get() {
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &Termios::from(*original));
        restore_title();
        let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
        // Another thread may receive the signal, so that this one goes on until all are stopped.
        // It must not set raw mode before.
        sleep(STOP_DELAY);
    }
}

/// Sets raw mode again, if the program uses raw mode. Call this when the stopped program continues
/// (SIGCONT), because the user's command shell changes the modes while the program is stopped.
pub fn reenter_raw_mode() {
    if IS_RAW.load(Ordering::SeqCst)
        && let Some(original) = ORIGINAL_TERMIOS.get()
    {
        let mut raw = Termios::from(*original);
        make_raw(&mut raw);
        // Ignore an error: if the terminal is gone, reading stdin ends the run.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &raw);
        save_title();
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Restores the modes that the terminal had before [`RawMode`]. May be called at any time, from
/// any thread, and more than once.
pub fn restore() {
    if IS_RAW.swap(false, Ordering::SeqCst)
        && let Some(original) = ORIGINAL_TERMIOS.get()
    {
        // Ignore an error: a terminal that is gone needs no restoring.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &Termios::from(*original));
        // The end of a session has switched the marks off. A panic has not.
        write_at_once(PASTE_MARKS_OFF);
        restore_title();
    }
}

/// Whether the terminal understands no escape sequences, or nobody says that it does: $TERM is
/// `dumb`, empty or missing.
pub fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb")
}

/// The colours to use; by itself none if `$NO_COLOR` is set. `$TERM` and `$COLORTERM` tell which
/// the terminal has.
pub fn palette(color: Color) -> Palette {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let is_plain = || is_dumb() || !variable("NO_COLOR").is_empty();
    if color == Color::Never || color == Color::Auto && is_plain() {
        Palette::None
    } else if variable("TERM").contains("256color") || !variable("COLORTERM").is_empty() {
        Palette::Indexed
    } else {
        Palette::Basic
    }
}

/// The width of the terminal in columns; 0 without a terminal.
pub fn width_columns() -> u16 {
    termion::terminal_size().map_or(0, |(columns, _)| columns)
}
