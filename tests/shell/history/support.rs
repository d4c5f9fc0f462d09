//! Helpers for tests of the history: authors, directories that store their batches, and queries.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use p2pchat::base::batch::batch::{Batch, LocalFields, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::event::peer::Peer;
use p2pchat::base::identity::{Identity, NetworkTag, PeerId};
use p2pchat::base::lines::Lines;
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::WallTime;
use p2pchat::shell::session::frontend::renderer::Renderer;
use p2pchat::shell::session::history_query::{HistoryQuery, run_query};
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::scan::HistorySource;
use p2pchat::shell::store::store::Store;
use p2pchat::ui::session_event::SessionEvent;

use crate::folders::TempDir;
use crate::store::support::RecordedState;

pub const NET: NetworkTag = NetworkTag::OPEN;

/// An author of signed batches, with its log in one room.
pub struct Author {
    pub identity: Identity,
    pub name: &'static str,
    pub log: LogId,
    pub head: Option<Batch>,
}

impl Author {
    pub fn new(name: &'static str, room: &str, incarnation: u64) -> Author {
        let seed = name.bytes().fold(7, |sum: u8, b| sum.wrapping_add(b));
        let identity = Identity::from_seed(&[seed; 32]);
        let log = LogId {
            target: Target::Room(Room::new(room).unwrap()),
            author: identity.id(),
            incarnation,
        };
        Author {
            identity,
            name,
            log,
            head: None,
        }
    }

    /// The name with the short id.
    pub fn short(&self) -> String {
        format!("{}~{}", self.name, self.log.author.short())
    }

    /// Signs the next batch, at this Lamport time and as many seconds of wall-clock time.
    pub fn say(&mut self, lamport: u64, lines: &[&str]) -> Batch {
        self.say_at(WallTime(lamport as i64 * 1000), lamport, lines)
    }

    /// Signs the next batch at this wall-clock time and Lamport time.
    pub fn say_at(&mut self, timestamp: WallTime, lamport: u64, lines: &[&str]) -> Batch {
        let mut text = Lines::default();
        for line in lines {
            text.push(line.as_bytes()).unwrap();
        }
        let draft = UnsignedBatch {
            log: self.log.clone(),
            username: Nick::new(self.name).unwrap(),
            sequence: self
                .head
                .as_ref()
                .map_or(1, |head| head.last_sequence() + 1),
            lamport,
            timestamp,
            run: 1,
            uptime: 0,
            republishes: None,
            salt: 9,
            previous: self.head.as_ref().map(|head| head.hash),
            form: LineForm::Text,
            lines: &text,
            sealed: None,
        };
        let batch = Batch::sign(&self.identity, &NET, draft);
        self.head = Some(batch.clone());
        batch
    }
}

/// The history of a directory, without a store that is open.
pub fn disk_source(folder: &TempDir) -> HistorySource<'static> {
    HistorySource::Disk(folder.0.join(NET.dir_name()))
}

/// Stores the batches in this order, in segments of about ten lines.
pub fn store_on_disk<'a>(folder: &TempDir, batches: impl IntoIterator<Item = &'a Batch>) {
    let limits = StoreLimits {
        segment_bytes: 4096,
        total_bytes: Some(u64::MAX),
        ..StoreLimits::default()
    };
    let own = Identity::from_seed(&[1; 32]).id();
    let mut store = Store::open(&folder.0, NET, own, limits).unwrap();
    save(&mut store, batches);
}

/// Saves the batches, with local fields that differ by the order of arrival.
pub fn save<'a>(store: &mut Store, batches: impl IntoIterator<Item = &'a Batch>) {
    let (core, mut rooms) = (RecordedState::default(), Vec::new());
    for (i, batch) in batches.into_iter().enumerate() {
        let room = batch.log.target.room().unwrap();
        if !rooms.contains(room) {
            for range in store.open_folder(&room.into()).unwrap() {
                core.ranges
                    .borrow_mut()
                    .insert(range.log.clone(), Arc::unwrap_or_clone(range));
            }
            rooms.push(room.clone());
        }
        // Local fields must make no difference to the history.
        let local = LocalFields {
            published: None,
            received: WallTime(i as i64 * 77_777),
            late: i % 2 == 0,
            before_start: i % 5 == 0,
            backfill: i % 3 == 0,
        };
        store.save(batch, local).unwrap();
        core.record(batch);
        store.enforce_limits(&core).unwrap();
    }
}

/// The rendered lines of a query.
pub fn query_lines(
    source: &HistorySource<'_>,
    query: &HistoryQuery,
    mut renderer: Renderer,
) -> Vec<String> {
    let mut all = Vec::new();
    run_query(source, NET, query, &mut |_| {}, &mut |kind| {
        let event = SessionEvent::new(None, kind);
        renderer.append_event(&event, WallTime(0), &mut all);
        Ok(())
    })
    .unwrap();
    let text = String::from_utf8(all).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// A renderer of the pipe form.
pub fn pipe() -> Renderer {
    Renderer::for_pipe(&Peer {
        id: PeerId([0; 32]),
        nick: Nick::new_or_placeholder(""),
    })
}

/// All lines of a directory.
pub fn whole_history(folder: &TempDir) -> Vec<String> {
    query_lines(&disk_source(folder), &HistoryQuery::default(), pipe())
}

/// The last lines of a directory.
pub fn last_lines(folder: &TempDir, lines: u64) -> Vec<String> {
    let query = HistoryQuery {
        limit: Some(lines),
        ..HistoryQuery::default()
    };
    query_lines(&disk_source(folder), &query, pipe())
}

/// The texts of rendered lines, without gaps.
pub fn contents(lines: &[String]) -> Vec<&str> {
    let contents = lines.iter().filter_map(|line| line.split_once(": "));
    contents.map(|(_, content)| content).collect()
}

/// The texts of a directory's history.
pub fn contents_of(folder: &TempDir) -> Vec<String> {
    let lines = whole_history(folder);
    contents(&lines).into_iter().map(str::to_owned).collect()
}

/// Appends bytes to a file.
pub fn append(path: &Path, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}
