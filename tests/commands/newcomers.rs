//! A directory with the lines of many newcomers: what they cost the next start.
use std::cell::RefCell;
use std::fs;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use p2pchat::base::batch::batch::{Batch, LocalFields, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::identity::{Identity, NetworkTag, PeerId};
use p2pchat::base::lines::Lines;
use p2pchat::base::name::{FolderName, Nick, Room, Target};
use p2pchat::base::range::{LogRange, LogRanges};
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::WallTime;
use p2pchat::node::standing::{Rank, Standing};
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::replication_state::ReplicationState;
use p2pchat::shell::store::store::Store;

use super::TIMEOUT;
use super::hosts::host::Loopback;
use super::hosts::wait::wait_until;

/// As many identities as a cron job that sends one line a minute leaves in three and a half days.
const NEWCOMERS: u64 = 5_000;
/// Most memory that the log of one newcomer takes, in bytes. 6 MB for a program with all of them
/// leave this much beside the 3.7 MB of one with none.
const LOG_BYTES_MAX: u64 = 460;
/// Most system calls that read, for all newcomers together.
const READS_MAX: u64 = 60;

/// The ranges of the stored logs.
#[derive(Default)]
struct StoredRanges(RefCell<LogRanges>);

impl ReplicationState for StoredRanges {
    fn frontier(&self, _: &FolderName) -> Vec<Arc<LogRange>> {
        self.0.borrow().as_slice().to_vec()
    }
    fn retention_floor(&self, _: &LogId) -> u64 {
        u64::MAX
    }
    fn is_acknowledged(&self, _: &FolderName) -> bool {
        true
    }
    fn standing(&self, _: &FolderName, _: &PeerId) -> Standing {
        Standing::of_rank(Rank::Known)
    }
}

/// The one line of a newcomer, under a key of its own.
fn line_of(newcomer: u64) -> Batch {
    let mut seed = [99; 32];
    seed[..8].copy_from_slice(&newcomer.to_be_bytes());
    let identity = Identity::from_seed(&seed);
    let mut lines = Lines::default();
    lines.push(b"backup done").expect("a line");
    let sent = WallTime(1_764_000_000_000 + newcomer as i64 * 60_000);
    let draft = UnsignedBatch {
        log: LogId {
            target: Target::Room(Room::general()),
            author: identity.id(),
            incarnation: u64::MAX - newcomer,
        },
        username: Nick::new("cron").expect("a name"),
        sequence: 1,
        lamport: sent.0 as u64 * 1000,
        timestamp: sent,
        run: newcomer,
        uptime: 50,
        previous: None,
        form: LineForm::Text,
        republishes: None,
        lines: &lines,
        sealed: None,
        salt: newcomer,
    };
    Batch::sign(&identity, &NetworkTag::OPEN, draft)
}

/// Creates a user's history, as a program leaves it that was there when the newcomers came.
fn create_history(lo: &Loopback, user: &str, newcomers: u64) {
    let dir = lo.host.folder(user).join("history");
    fs::create_dir_all(&dir).expect("a folder");
    fs::write(dir.join("format"), "2\n").expect("a file");
    let (own, limits) = (Identity::from_seed(&[1; 32]).id(), StoreLimits::default());
    let mut store = Store::open(&dir, NetworkTag::OPEN, own, limits).expect("a store");
    let room = FolderName::from(&Room::general());
    store.open_folder(&room).expect("a folder");
    let ranges = StoredRanges::default();
    for newcomer in 0..newcomers {
        let batch = line_of(newcomer);
        let local = LocalFields {
            received: batch.timestamp,
            ..LocalFields::default()
        };
        store.save(&batch, local).expect("a saved batch");
        let mut range = LogRange::begin(&batch, true);
        range.record_news(&batch, local);
        ranges.0.borrow_mut().insert(Arc::new(range));
        store.enforce_limits(&ranges).expect("a segment");
    }
    store.close(&ranges).expect("a clean end");
}

/// What a start has cost a process.
#[derive(Debug)]
struct Cost {
    /// Memory that the process has allocated and touched.
    resident_bytes: u64,
    read_bytes: u64,
    reads: u64,
}

impl Cost {
    fn of(pid: u32) -> Cost {
        let number = |file: &str, name: &str| {
            let text = fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a process");
            let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
            let words = lines.next().expect("a value").split_whitespace();
            let mut numbers = words.filter_map(|word| word.parse::<u64>().ok());
            numbers.next().expect("a number")
        };
        Cost {
            resident_bytes: number("status", "RssAnon:") * 1024,
            read_bytes: number("io", "rchar:"),
            reads: number("io", "syscr:"),
        }
    }
}

/// Waits until the program of this user answers at `control.sock`: its start is over.
fn wait_answer(lo: &Loopback, user: &str) {
    let path = lo.host.folder(user).join("control.sock");
    wait_until("control.sock answers", TIMEOUT, || {
        UnixStream::connect(&path).is_ok_and(|mut socket| {
            let _ = socket.set_read_timeout(Some(TIMEOUT));
            socket.read(&mut [0]).is_ok_and(|n| n > 0)
        })
    });
}

/// A start reads the last segment of a room twice at most, in large parts, and keeps little of each
/// log.
#[test]
fn a_start_with_the_logs_of_many_newcomers_is_cheap() {
    let Some(lo) = Loopback::new() else { return };
    let [none, many] = [("alice", 0), ("bob", NEWCOMERS)].map(|(user, newcomers)| {
        create_history(&lo, user, newcomers);
        // It waits for input, and prints no transcript, so nothing else reads the history.
        let program = lo.spawn(user, &["send"]);
        wait_answer(&lo, user);
        Cost::of(program.pid())
    });
    let segments = fs::read_dir(lo.host.folder("bob").join("history/open/#general"));
    let segments = segments
        .expect("a folder")
        .map(|entry| entry.expect("a file").path());
    let last = segments
        .filter(|path| path.extension().is_some_and(|it| it == "ndjson"))
        .max();
    let last_bytes = fs::metadata(last.expect("a segment"))
        .expect("a segment")
        .len();
    let log_bytes = (many.resident_bytes - none.resident_bytes) / NEWCOMERS;
    assert!(
        log_bytes <= LOG_BYTES_MAX,
        "{log_bytes}: {none:?}, {many:?}"
    );
    let read_bytes = many.read_bytes - none.read_bytes;
    assert!(
        read_bytes <= 2 * last_bytes + 64 * 1024,
        "{last_bytes}: {none:?}, {many:?}"
    );
    assert!(many.reads - none.reads <= READS_MAX, "{none:?}, {many:?}");
}
