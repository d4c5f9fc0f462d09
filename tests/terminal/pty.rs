//! A program at a terminal: its keyboard, its screen, its end.
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

use crate::hosts::program::TIMEOUT;
use crate::hosts::{Host, Loopback, wait_until};
use crate::screen::Screen;

/// A terminal without a program: 60 columns, 12 rows.
pub struct Pty {
    keyboard: Option<File>,
    /// Kept open, so that its modes outlive the program.
    pub slave: File,
    screen: Arc<Mutex<Screen>>,
    unplugged: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Pty {
    pub fn new() -> Pty {
        // None of it may leak into what other tests start: a hang-up comes when the last holder of the master is gone.
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
        let unplugged = Arc::new(AtomicBool::new(false));
        let (shown, stop) = (Arc::clone(&screen), Arc::clone(&unplugged));
        let reader = thread::spawn(move || read(output, &shown, &stop));
        let pty = Pty {
            keyboard: Some(keyboard),
            slave,
            screen,
            unplugged,
            reader: Some(reader),
        };
        pty.stty(&["cols", "60", "rows", "12"]);
        pty
    }

    /// Runs `stty` on it, and gives what that prints.
    pub fn stty(&self, arguments: &[&str]) -> String {
        let output = Command::new("stty")
            .args(arguments)
            .stdin(self.stdio())
            .output()
            .expect("stty");
        assert!(output.status.success(), "stty {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub fn stdio(&self) -> Stdio {
        self.slave.try_clone().expect("a descriptor").into()
    }

    pub fn keys(&self, bytes: impl AsRef<[u8]>) {
        let mut keyboard = self.keyboard.as_ref().expect("a plugged terminal");
        keyboard.write_all(bytes.as_ref()).expect("a terminal");
    }

    pub fn resize(&self, columns: usize, rows: usize) {
        self.look(|screen| screen.resize(columns, rows));
        self.stty(&["cols", &columns.to_string(), "rows", &rows.to_string()]);
    }

    pub fn look<T>(&self, look: impl FnOnce(&mut Screen) -> T) -> T {
        look(&mut self.screen.lock().expect("a reader that lives"))
    }

    /// Waits until the screen is as wanted.
    ///
    /// # Panics
    /// It is not in time; the message shows it.
    pub fn see(&self, what: &str, mut wanted: impl FnMut(&Screen) -> bool) {
        let end = std::time::Instant::now() + TIMEOUT;
        while !self.look(|screen| wanted(screen)) {
            let late = std::time::Instant::now() >= end;
            assert!(!late, "not seen: {what}\n{:#?}", self.look(|s| s.lines()));
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for a line that holds this text, above the last one.
    pub fn see_line(&self, text: &str) {
        self.see(text, |screen| {
            let lines = screen.lines();
            lines.iter().rev().skip(1).any(|line| line.contains(text))
        });
    }

    /// Waits until this is the last line, with so many columns left of the cursor.
    pub fn see_last(&self, text: &str, cursor: usize) {
        self.see(&format!("{text:?} with the cursor at {cursor}"), |screen| {
            screen.last().as_deref() == Some(text) && screen.cursor() == cursor
        });
    }

    /// Pulls the terminal's cable.
    pub fn hang_up(&mut self) {
        self.unplugged.store(true, Ordering::SeqCst);
        if let Some(reader) = self.reader.take() {
            reader.join().expect("a reader that ends");
        }
        self.keyboard = None;
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        self.hang_up();
    }
}

fn read(mut output: File, screen: &Mutex<Screen>, stop: &AtomicBool) {
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::SeqCst) {
        let mut fds = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(20_u8)) == Ok(1) {
            let Ok(n) = output.read(&mut buffer) else {
                return;
            };
            screen.lock().expect("a test that lives").feed(&buffer[..n]);
        }
    }
}

/// The program at a terminal, which is its controlling one. It is killed when this is dropped.
pub struct AtTerminal {
    pub pty: Pty,
    /// The terminal's modes before the program came.
    pub before: String,
    pub child: Child,
}

impl AtTerminal {
    /// Any program, with all its streams at the terminal but for those that `streams` puts elsewhere.
    pub fn run(mut command: Command, streams: impl FnOnce(&mut Command)) -> AtTerminal {
        let pty = Pty::new();
        let before = pty.stty(&["-g"]);
        command.env("TZ", "UTC").env_remove("NO_COLOR");
        command.stdin(pty.stdio()).stdout(pty.stdio());
        command.stderr(pty.stdio());
        streams(&mut command);
        let child = command.spawn().expect("a program that starts");
        AtTerminal { pty, before, child }
    }

    /// `p2pchat` as this user, up to its prompt.
    pub fn chat(place: &Loopback, user: &str, arguments: &[&str]) -> AtTerminal {
        let here = AtTerminal::run(command(&place.host, user, arguments), |_| {});
        here.pty.see("the prompt", |screen| {
            screen.last().is_some_and(|last| last.ends_with('>'))
        });
        here
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("a program that runs");
    }

    /// Waits for its end, and gives the status.
    pub fn code(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("the program ends", TIMEOUT, || {
            status = self.child.try_wait().expect("a child of ours");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    /// It ended with this status, took its prompt away, and left the terminal as it was.
    pub fn assert_left(&mut self, code: i32) {
        assert_eq!(self.code(), Some(code));
        self.pty.see_last("", 0);
        assert_eq!(self.pty.stty(&["-g"]), self.before);
        let strange = self.pty.look(|screen| screen.strange.clone());
        assert!(strange.is_empty(), "{strange:?}");
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `p2pchat` as this user in a session of its own, whose controlling terminal is its stdin.
pub fn command(host: &Host, user: &str, arguments: &[&str]) -> Command {
    let mut command = host.command("setsid");
    command.args(["--ctty", env!("CARGO_BIN_EXE_p2pchat")]);
    dress(command, host, user, arguments)
}

/// `p2pchat` as this user without a controlling terminal.
pub fn command_detached(host: &Host, user: &str, arguments: &[&str]) -> Command {
    dress(
        host.command(env!("CARGO_BIN_EXE_p2pchat")),
        host,
        user,
        arguments,
    )
}

fn dress(mut command: Command, host: &Host, user: &str, arguments: &[&str]) -> Command {
    command.args(["--interface", "lo"]).args(arguments);
    command.env("P2PCHAT_USERNAME", user);
    command.env("P2PCHAT_DIR", host.folder(user));
    command
}
