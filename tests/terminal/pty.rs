//! A program at a pseudo-terminal: its keyboard, its screen, and its exit.
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::hosts::host::{Host, Loopback};
use crate::hosts::program::TIMEOUT;
use crate::hosts::wait::wait_until;
use crate::screen::Screen;

/// A pseudo-terminal of 60 columns and 12 rows; a thread reads its output into a [`Screen`].
pub struct Pty {
    keyboard: Option<File>,
    /// Kept open, so that the modes outlive the program.
    pub slave: File,
    screen: Arc<Mutex<Screen>>,
    is_closed: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Pty {
    /// Opens the terminal and starts the reading thread.
    pub fn new() -> Pty {
        // Close-on-exec: a hangup comes only when every copy of the master is closed, also
        // those in other tests' children.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags).expect("a pseudo-terminal");
        grantpt(&master).expect("a pseudo-terminal of ours");
        unlockpt(&master).expect("a pseudo-terminal of ours");
        let path = ptsname_r(&master).expect("its name");
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlag::O_NOCTTY.bits())
            .open(path)
            .expect("its other end");
        let keyboard = File::from(master.as_fd().try_clone_to_owned().expect("a descriptor"));
        drop(master);
        let output = keyboard.try_clone().expect("a descriptor");
        let screen = Arc::new(Mutex::new(Screen::new(60, 12)));
        let is_closed = Arc::new(AtomicBool::new(false));
        let (output_screen, stop) = (Arc::clone(&screen), Arc::clone(&is_closed));
        let reader = thread::spawn(move || read(output, &output_screen, &stop));
        let pty = Pty {
            keyboard: Some(keyboard),
            slave,
            screen,
            is_closed,
            reader: Some(reader),
        };
        pty.stty(&["cols", "60", "rows", "12"]);
        pty
    }

    /// Runs `stty` on the terminal, and returns its stdout.
    pub fn stty(&self, arguments: &[&str]) -> String {
        let output = Command::new("stty")
            .args(arguments)
            .stdin(self.stdio())
            .output()
            .expect("stty");
        assert!(output.status.success(), "stty {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The slave as a stream for a child.
    pub fn stdio(&self) -> Stdio {
        self.slave.try_clone().expect("a descriptor").into()
    }

    /// Types these bytes.
    pub fn type_keys(&self, bytes: impl AsRef<[u8]>) {
        let mut keyboard = self.keyboard.as_ref().expect("an open terminal");
        keyboard.write_all(bytes.as_ref()).expect("a terminal");
    }

    /// Changes the size of the screen and of the terminal (SIGWINCH).
    pub fn resize(&self, columns: usize, rows: usize) {
        self.with_screen(|screen| screen.resize(columns, rows));
        self.stty(&["cols", &columns.to_string(), "rows", &rows.to_string()]);
    }

    /// Calls the function with the screen.
    pub fn with_screen<T>(&self, read: impl FnOnce(&mut Screen) -> T) -> T {
        read(
            &mut self
                .screen
                .lock()
                .expect("the reading thread did not panic"),
        )
    }

    /// Waits until `wanted` accepts the screen.
    ///
    /// # Panics
    /// It does not within the time limit; the message shows the screen.
    pub fn wait_screen(&self, what: &str, mut wanted: impl FnMut(&Screen) -> bool) {
        let end = std::time::Instant::now() + TIMEOUT;
        while !self.with_screen(|screen| wanted(screen)) {
            let expired = std::time::Instant::now() >= end;
            assert!(
                !expired,
                "not on the screen: {what}\n{:#?}",
                self.with_screen(|s| s.lines())
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for a row with this text above the last row.
    pub fn wait_row(&self, text: &str) {
        self.wait_screen(text, |screen| {
            let lines = screen.lines();
            lines.iter().rev().skip(1).any(|line| line.contains(text))
        });
    }

    /// Waits until this is the last row, with the cursor in column `cursor` (from 0). How many are
    /// in the room may stand in the prompt, and counts neither in the row nor for the cursor.
    pub fn wait_last_row(&self, text: &str, cursor: usize) {
        self.wait_screen(&format!("{text:?} with the cursor at {cursor}"), |screen| {
            let row = screen.last().unwrap_or_default();
            let short = without_count(&row);
            let removed = row.len() - short.len();
            short == text && screen.cursor() == cursor + removed
        });
    }

    /// Closes the master: the terminal hangs up.
    pub fn hang_up(&mut self) {
        self.is_closed.store(true, Ordering::SeqCst);
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reading thread did not panic");
        }
        self.keyboard = None;
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// A row without the number of people in its prompt.
pub fn without_count(row: &str) -> String {
    let numbered = row.split_once('>').and_then(|(prompt, rest)| {
        let (room, count) = prompt.split_once(' ')?;
        let is_prompt = room.starts_with('#') && count.parse::<u32>().is_ok();
        is_prompt.then(|| format!("{room}>{rest}"))
    });
    numbered.unwrap_or_else(|| row.to_owned())
}

/// Feeds the output of the terminal to the screen, until stopped.
fn read(mut output: File, screen: &Mutex<Screen>, stop: &AtomicBool) {
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::SeqCst) {
        let mut fds = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(20_u8)) == Ok(1) {
            let Ok(n) = output.read(&mut buffer) else {
                return;
            };
            screen
                .lock()
                .expect("the test did not panic")
                .feed(&buffer[..n]);
        }
    }
}

/// A program whose controlling terminal is a [`Pty`]; killed when this is dropped.
pub struct AtTerminal {
    pub pty: Pty,
    /// The modes of the terminal before the program started, as `stty -g` prints them.
    pub modes_before: String,
    pub child: Child,
}

impl AtTerminal {
    /// Starts a program with stdin, stdout and stderr at the terminal; `streams` may redirect
    /// some of them.
    pub fn run(mut command: Command, streams: impl FnOnce(&mut Command)) -> AtTerminal {
        let pty = Pty::new();
        let modes_before = pty.stty(&["-g"]);
        command.env("TZ", "UTC").env("TERM", "xterm");
        command.env_remove("NO_COLOR");
        for of_terminal in [
            "COLORTERM",
            "VTE_VERSION",
            "KONSOLE_VERSION",
            "WEZTERM_PANE",
        ] {
            command.env_remove(of_terminal);
        }
        for of_terminal in ["KITTY_WINDOW_ID", "TMUX", "XTERM_VERSION"] {
            command.env_remove(of_terminal);
        }
        command.stdin(pty.stdio()).stdout(pty.stdio());
        command.stderr(pty.stdio());
        streams(&mut command);
        let child = command.spawn().expect("the program starts");
        AtTerminal {
            pty,
            modes_before,
            child,
        }
    }

    /// Starts `p2pchat` as this user, and waits for its prompt.
    pub fn chat(lo: &Loopback, user: &str, arguments: &[&str]) -> AtTerminal {
        let program = AtTerminal::run(command(&lo.host, user, arguments), |_| {});
        program.pty.wait_screen("the prompt", |screen| {
            screen.last().is_some_and(|last| last.ends_with('>'))
        });
        program
    }

    /// Sends this signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("the program runs");
    }

    /// Waits for the end of the program, and returns its status code.
    pub fn wait_code(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("the program ends", TIMEOUT, || {
            status = self.child.try_wait().expect("a child of ours");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    /// Asserts that the program ends with this status, erases its prompt, restores the modes,
    /// and sent no unknown sequence.
    pub fn assert_exit(&mut self, code: i32) {
        assert_eq!(self.wait_code(), Some(code));
        self.pty.wait_last_row("", 0);
        assert_eq!(self.pty.stty(&["-g"]), self.modes_before);
        assert!(!self.pty.with_screen(|screen| screen.marks_paste));
        self.pty
            .wait_screen("the shell's title", |screen| screen.title == "shell");
        let unknown = self.pty.with_screen(|screen| screen.unknown.clone());
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `p2pchat` as this user in a session of its own, with its stdin as controlling terminal.
pub fn command(host: &Host, user: &str, arguments: &[&str]) -> Command {
    let mut command = host.command("setsid");
    command.args(["--ctty", env!("CARGO_BIN_EXE_p2pchat")]);
    configure(command, host, user, arguments)
}

/// `p2pchat` as this user without a controlling terminal.
pub fn command_detached(host: &Host, user: &str, arguments: &[&str]) -> Command {
    configure(
        host.command(env!("CARGO_BIN_EXE_p2pchat")),
        host,
        user,
        arguments,
    )
}

/// Adds the interface, the arguments and the environment of this user.
fn configure(mut command: Command, host: &Host, user: &str, arguments: &[&str]) -> Command {
    command.args(["--interface", "lo"]).args(arguments);
    command.env("P2PCHAT_USERNAME", user);
    command.env("P2PCHAT_DIR", host.folder(user));
    command
}
