//! The real program on a disk with faults: no line is sent before it is stored, and none is
//! acknowledged before.
//!
//! This binary is the program as well. With the variable `FAULT_FILE` it runs [`program::main`], and
//! the file of that name tells what is wrong with the disk: nothing, or a word of [`FaultyDisk`].
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::FileExt as _;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::{self, sleep};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use p2pchat::shell::program;
use p2pchat::shell::store::store_io::{StoreIo, install};

#[path = "../support/hosts/mod.rs"]
mod hosts;

use hosts::host::Loopback;
use hosts::program::{Program, TIMEOUT};
use hosts::wait::wait_until;

const FAULT_FILE: &str = "FAULT_FILE";
/// How long a write takes on a slow disk.
const SLOW_WRITE: Duration = Duration::from_millis(700);
/// How long a sync takes on a disk that syncs slowly.
const SLOW_SYNC: Duration = Duration::from_secs(60);
/// For so long nothing may come that must not come.
const QUIET: Duration = Duration::from_millis(1_500);

/// Has the fault that the file names.
struct FaultyDisk(PathBuf);

impl FaultyDisk {
    fn fault(&self) -> String {
        fs::read_to_string(&self.0).unwrap_or_default()
    }
}

impl StoreIo for FaultyDisk {
    fn write(&self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        match self.fault().as_str() {
            "full" => Err(ErrorKind::StorageFull.into()),
            "slow" => {
                sleep(SLOW_WRITE);
                file.write(bytes)
            }
            _ => file.write(bytes),
        }
    }

    fn read_at(&self, file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let is_audit = thread::current().name() == Some("audit");
        let fault = match is_audit {
            true => "no descriptors to audit",
            false => "no descriptors to read",
        };
        if self.fault() != fault {
            return file.read_at(bytes, offset);
        }
        fs::write(self.0.with_extension("lacking"), "")?;
        Err(Errno::EMFILE.into())
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        match self.fault().as_str() {
            "unsynced" => Err(io::Error::other("a test")),
            "slow sync" => {
                fs::write(self.0.with_extension("syncing"), "")?;
                sleep(SLOW_SYNC);
                file.sync_data()
            }
            _ => file.sync_data(),
        }
    }
}

fn main() -> ExitCode {
    if let Some(path) = std::env::var_os(FAULT_FILE) {
        install(Box::new(FaultyDisk(path.into())));
        return ExitCode::from(program::main().code());
    }
    let filters: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = filters.iter().filter(|it| !it.starts_with('-')).collect();
    let tests: [(&str, fn()); 7] = [
        (
            "a_line_is_stored_before_it_is_sent",
            a_line_is_stored_before_it_is_sent,
        ),
        (
            "a_line_is_stored_before_it_is_acknowledged",
            a_line_is_stored_before_it_is_acknowledged,
        ),
        (
            "a_line_that_cannot_be_stored_is_not_sent",
            a_line_that_cannot_be_stored_is_not_sent,
        ),
        ("a_failed_sync_is_told", a_failed_sync_is_told),
        ("a_slow_sync_delays_no_line", a_slow_sync_delays_no_line),
        (
            "lines_are_sent_when_descriptors_are_left",
            lines_are_sent_when_descriptors_are_left,
        ),
        (
            "an_audit_without_descriptors_is_repeated",
            an_audit_without_descriptors_is_repeated,
        ),
    ];
    let mut is_failed = false;
    for (name, test) in tests {
        if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
            let passed = catch_unwind(test).is_ok();
            println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
            is_failed |= !passed;
        }
    }
    ExitCode::from(u8::from(is_failed))
}

/// Starts this binary as the program of `user`, on a disk without a fault.
fn start_faulty(lo: &Loopback, user: &str) -> Program {
    set_fault(lo, user, "");
    start_on_disk(lo, user)
}

/// Starts this binary as the program of `user`, on a disk as it is.
fn start_on_disk(lo: &Loopback, user: &str) -> Program {
    let binary = std::env::current_exe().expect("this binary");
    let mut command = lo.host.command(binary.to_str().expect("UTF-8"));
    command
        .args(["--interface", "lo"])
        .env("P2PCHAT_USERNAME", user);
    command
        .env("P2PCHAT_DIR", lo.host.folder(user))
        .env(FAULT_FILE, fault_file(lo, user));
    let program = Program::spawn(user, command);
    program.wait_ready();
    program
}

fn fault_file(lo: &Loopback, user: &str) -> PathBuf {
    lo.host.folder(user).with_extension("fault")
}

fn set_fault(lo: &Loopback, user: &str, fault: &str) {
    fs::write(fault_file(lo, user), fault).expect("written");
}

fn wait_line(program: &Program, end: &str) {
    program.out.wait_for(TIMEOUT, |line| line.ends_with(end));
}

fn is_stored(lo: &Loopback, user: &str, text: &str) -> bool {
    let room = lo.host.folder(user).join("history/open/#general");
    let holds = |path: &Path| fs::read_to_string(path).is_ok_and(|all| all.contains(text));
    let entries = fs::read_dir(room).expect("a room");
    entries.flatten().any(|entry| holds(&entry.path()))
}

/// The disk takes its time: when bob has the line, alice's disk has it.
fn a_line_is_stored_before_it_is_sent() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let mut alice = start_faulty(&lo, "alice");
    wait_line(&bob, " joined");
    for n in 0..3 {
        set_fault(&lo, "alice", "slow");
        alice.say(&format!("line {n}"));
        wait_line(&bob, &format!("line {n}"));
        assert!(is_stored(&lo, "alice", &format!("line {n}")));
    }
}

/// The same for what is received: when `send` says that bob has the line, bob's disk has it.
fn a_line_is_stored_before_it_is_acknowledged() {
    let Some(lo) = Loopback::new() else { return };
    let bob = start_faulty(&lo, "bob");
    set_fault(&lo, "bob", "slow");
    let mut send = lo.spawn("alice", &["-W", "20", "send", "line"]);
    assert_eq!(send.wait_code(TIMEOUT), 0, "{:?}", send.err.all());
    assert!(is_stored(&lo, "bob", "\"line\""));
    wait_line(&bob, ": line");
    // A full disk acknowledges nothing. When it has space again, the line comes.
    set_fault(&lo, "bob", "full");
    let mut send = lo.spawn("alice", &["-W", "2", "send", "another"]);
    assert_eq!(send.wait_code(TIMEOUT), 75, "{:?}", send.err.all());
    assert!(!is_stored(&lo, "bob", "\"another\""));
    set_fault(&lo, "bob", "");
    let mut send = lo.spawn("alice", &["-W", "20", "send", "third"]);
    assert_eq!(send.wait_code(TIMEOUT), 0, "{:?}", send.err.all());
    wait_line(&bob, ": another");
    wait_line(&bob, ": third");
}

/// The disk is full: bob gets nothing, and alice is told. When there is space again, he gets each
/// line once.
fn a_line_that_cannot_be_stored_is_not_sent() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let mut alice = start_faulty(&lo, "alice");
    wait_line(&bob, " joined");
    alice.say("before");
    wait_line(&bob, ": before");
    set_fault(&lo, "alice", "full");
    alice.say("during");
    alice.err.wait_for(TIMEOUT, |line| {
        line.contains("the history cannot be written")
    });
    sleep(QUIET);
    assert!(!bob.out.all().iter().any(|line| line.ends_with(": during")));
    assert!(!is_stored(&lo, "alice", "during"));
    set_fault(&lo, "alice", "");
    wait_line(&bob, ": during");
    alice.say("after");
    wait_line(&bob, ": after");
    let lines = bob.out.all();
    let said: Vec<&str> = lines
        .iter()
        .filter_map(|line| Some(line.split_once(": ")?.1))
        .collect();
    assert_eq!(said, ["before", "during", "after"]);
    wait_until("alice has stored all", TIMEOUT, || {
        is_stored(&lo, "alice", "after")
    });
}

/// A disk that cannot sync is told of: a power cut may lose what it has taken.
fn a_failed_sync_is_told() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = start_faulty(&lo, "alice");
    set_fault(&lo, "alice", "unsynced");
    alice.say("line");
    alice
        .err
        .wait_for(TIMEOUT, |line| line.contains("cannot be synced"));
}

/// Files are synced in the background: while a sync takes its time, lines come and go.
fn a_slow_sync_delays_no_line() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let mut alice = start_faulty(&lo, "alice");
    wait_line(&bob, " joined");
    set_fault(&lo, "alice", "slow sync");
    alice.say("before");
    let syncing = fault_file(&lo, "alice").with_extension("syncing");
    wait_until("a sync has begun", TIMEOUT, || syncing.exists());
    for text in ["one", "two"] {
        alice.say(text);
        wait_line(&bob, &format!(": {text}"));
    }
}

/// Waits until a read has lacked a descriptor. Then there are some again.
fn end_shortage(lo: &Loopback, user: &str) {
    let lacking = fault_file(lo, user).with_extension("lacking");
    wait_until("a read has failed", TIMEOUT, || lacking.exists());
    set_fault(lo, user, "");
}

/// No descriptor is left to read the lines that bob lacks. He gets them when there are some.
fn lines_are_sent_when_descriptors_are_left() {
    let Some(lo) = Loopback::new() else { return };
    lo.start("bob", &["listen"]).signal(Signal::SIGTERM);
    let mut alice = start_faulty(&lo, "alice");
    for text in ["one", "two"] {
        alice.say(text);
        wait_until("the line is stored", TIMEOUT, || {
            is_stored(&lo, "alice", text)
        });
    }
    set_fault(&lo, "alice", "no descriptors to read");
    let bob = lo.start("bob", &["listen"]);
    end_shortage(&lo, "alice");
    for text in ["one", "two"] {
        wait_line(&bob, &format!(": {text}"));
    }
    let is_shortage = |line: &String| line.contains("Too many open files");
    let told = alice.err.all().into_iter().filter(is_shortage);
    assert!(told.count() <= 1, "{:?}", alice.err.all());
}

/// No descriptor is left for the audit, which would find a damaged line. It is repeated when there
/// are some.
fn an_audit_without_descriptors_is_repeated() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = start_faulty(&lo, "alice");
    alice.say("whole");
    wait_until("the line is stored", TIMEOUT, || {
        is_stored(&lo, "alice", "whole")
    });
    alice.close_stdin();
    alice.wait_exit(TIMEOUT);
    set_fault(&lo, "alice", "no descriptors to audit");
    let alice = start_on_disk(&lo, "alice");
    let segment = lo
        .host
        .folder("alice")
        .join("history/open/#general/000001.ndjson");
    let text = fs::read_to_string(&segment).expect("a segment");
    fs::write(&segment, text.replace("whole", "wrong")).expect("written");
    end_shortage(&lo, "alice");
    alice
        .err
        .wait_for(TIMEOUT, |line| line.contains("is damaged in line 2"));
}
