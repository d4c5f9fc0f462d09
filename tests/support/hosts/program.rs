//! A program under test: its stdin, the lines of stdout and stderr, its signals and its exit
//! status.
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait::wait_until;

/// Time limit for what a program should do at once. Generous, since the machine may be busy.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// The lines received from a stream so far; a thread reads the stream.
#[derive(Clone, Default)]
pub struct Lines(Arc<(Mutex<Collected>, Condvar)>);

#[derive(Default)]
struct Collected {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn read(stream: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let shared = lines.clone();
        thread::spawn(move || {
            let (mut reader, mut line) = (BufReader::new(stream), Vec::new());
            while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line);
                shared.change(|all| all.lines.push(text.trim_end_matches('\n').to_owned()));
                line.clear();
            }
            shared.change(|all| all.ended = true);
        });
        lines
    }

    fn change(&self, change: impl FnOnce(&mut Collected)) {
        change(&mut self.0.0.lock().expect("the reading thread did not panic"));
        self.0.1.notify_all();
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.0
            .0
            .lock()
            .expect("the reading thread did not panic")
            .lines
            .clone()
    }

    /// Waits until `wanted` accepts the lines so far.
    ///
    /// # Panics
    /// The limit passes or the stream ends first; the message shows the last 40 lines.
    pub fn wait_all(&self, limit: Duration, mut wanted: impl FnMut(&[String]) -> bool) {
        let end = Instant::now() + limit;
        let mut all = self.0.0.lock().expect("the reading thread did not panic");
        while !wanted(&all.lines) {
            let left = end.saturating_duration_since(Instant::now());
            if all.ended || left.is_zero() {
                let (ended, from) = (all.ended, all.lines.len().saturating_sub(40));
                let last = all.lines[from..].join("\n  ");
                drop(all);
                panic!("not as wanted within {limit:?} (ended: {ended}):\n  {last}");
            }
            all = self
                .0
                .1
                .wait_timeout(all, left)
                .expect("the reading thread did not panic")
                .0;
        }
    }

    /// Waits for a line that `wanted` accepts, and returns the first one.
    ///
    /// # Panics
    /// As [`Lines::wait_all`].
    pub fn wait_for(&self, limit: Duration, mut wanted: impl FnMut(&str) -> bool) -> String {
        let mut found = None;
        self.wait_all(limit, |all| {
            found = all.iter().find(|line| wanted(line)).cloned();
            found.is_some()
        });
        found.expect("just found")
    }

    /// Waits until the stream has ended, and returns all its lines.
    ///
    /// # Panics
    /// The stream is still open after the limit.
    pub fn wait_end(&self, limit: Duration) -> Vec<String> {
        wait_until("the end of a stream", limit, || {
            self.0
                .0
                .lock()
                .expect("the reading thread did not panic")
                .ended
        });
        self.all()
    }
}

/// Peak resident memory of this process since its start, in kB (`VmHWM`).
pub fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let words = line.and_then(|line| line.split_ascii_whitespace().nth(1));
    words.and_then(|kb| kb.parse().ok()).expect("a peak")
}

/// A program under test, killed when this is dropped.
pub struct Program {
    /// The user.
    pub name: String,
    /// The lines of stdout.
    pub out: Lines,
    /// The lines of stderr.
    pub err: Lines,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Program {
    /// Starts the command with piped stdin, stdout and stderr.
    pub fn spawn(name: &str, command: Command) -> Program {
        Program::spawn_into(name, command, Stdio::piped())
    }

    /// [`Program::spawn`] with another stdout; `out` is empty unless that is piped.
    pub fn spawn_into(name: &str, mut command: Command, out: Stdio) -> Program {
        command.stdin(Stdio::piped());
        command.stdout(out).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        Program {
            name: name.to_owned(),
            out: child.stdout.take().map_or_else(Lines::default, Lines::read),
            err: Lines::read(child.stderr.take().expect("piped")),
            stdin: child.stdin.take(),
            child,
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// [`peak`] of this program, in kB.
    pub fn peak(&self) -> u64 {
        peak(self.pid())
    }

    /// Waits for `p2pchat: ready as NAME on PORT` on stderr, and returns the port.
    pub fn wait_ready(&self) -> u16 {
        let ready = |line: &str| line.starts_with("p2pchat: ready as ");
        let line = self.err.wait_for(TIMEOUT, ready);
        let port = line.rsplit(' ').next().and_then(|port| port.parse().ok());
        port.unwrap_or_else(|| panic!("a port at the end of {line:?}"))
    }

    /// Writes a line to its stdin.
    pub fn say(&mut self, line: &str) {
        self.write(format!("{line}\n").as_bytes());
    }

    /// Writes bytes to its stdin; blocks while the program does not read.
    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("an open stdin");
        stdin.write_all(bytes).expect("the program reads stdin");
    }

    /// Closes stdin: the end of input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Returns stdin, for a thread that writes much.
    pub fn take_stdin(&mut self) -> ChildStdin {
        self.stdin.take().expect("an open stdin")
    }

    /// Sends this signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("the program runs");
    }

    /// Kills the program with SIGKILL, as in a power loss, and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until the program has ended.
    ///
    /// # Panics
    /// It still runs after the limit; the message shows its stderr.
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status;
            }
            let expired = Instant::now() >= end;
            assert!(!expired, "{} still runs: {:#?}", self.name, self.err.all());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// [`Program::wait_exit`]; returns the status code.
    ///
    /// # Panics
    /// Also if a signal has ended the program.
    pub fn wait_code(&mut self, limit: Duration) -> i32 {
        let status = self.wait_exit(limit);
        status.code().unwrap_or_else(|| panic!("{status}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}
