//! Backlogs of a transcript: the last lines of the history come first, then each piece of news
//! that was not among them, once.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use p2pchat::base::batch::batch::{Batch, LocalFields};
use p2pchat::base::event::load::Position;
use p2pchat::base::event::notice::Chat;
use p2pchat::base::identity::Identity;
use p2pchat::base::line_key::LineKey;
use p2pchat::base::name::FolderName;
use p2pchat::base::table::SortedMap;
use p2pchat::base::time::WallTime;
use p2pchat::shell::session::event_sink::EventSink;
use p2pchat::shell::session::transcript::transcript::Transcript;
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::store::Store;
use p2pchat::ui::request::Listen;
use p2pchat::ui::session_event::{EventKind, FolderCursor, SessionEvent};

use super::order::{conversation, random, shuffled};
use super::support::NET;
use crate::folders::TempDir;
use crate::stdio::support::PATIENCE;
use crate::store::support::RecordedState;

/// A line that a transcript has emitted: its key, and whether it came in a backlog.
type Emitted = (LineKey, bool);

/// Records events, as long as it has room.
#[derive(Default)]
struct RecordingSink {
    room: u64,
    lines: Vec<Emitted>,
    /// Where another transcript would continue, as the events have said.
    cursors: SortedMap<FolderName, FolderCursor>,
}

impl EventSink for RecordingSink {
    fn can_answer(&self) -> bool {
        true
    }

    fn can_accept(&self) -> bool {
        self.room > 0
    }

    fn emit(&mut self, event: SessionEvent) {
        self.room = self.room.saturating_sub(1);
        let (folder, cursor) = match *event.kind {
            EventKind::Chat { chat, cursor } => {
                let is_backlog = chat.arrival.expect("an arrival").is_backlog;
                for i in 0..chat.count() {
                    self.lines.push((chat.key().advanced_by(i), is_backlog));
                }
                let log = &chat.log;
                (
                    FolderName::for_log(&log.target, &log.author, &own()),
                    cursor,
                )
            }
            EventKind::Position { folder, cursor } => (folder, Some(cursor)),
            _ => return,
        };
        if let Some(cursor) = cursor {
            // As a client gets it.
            let cursor = cursor.to_string().parse().expect("a cursor");
            self.cursors.insert(folder, cursor);
        }
    }
}

fn own() -> p2pchat::base::identity::PeerId {
    Identity::from_seed(&[1; 32]).id()
}

fn folders() -> [FolderName; 2] {
    ["#general", "#ops"].map(|name| FolderName::parse(name).expect("a folder"))
}

fn keys(batch: &Batch) -> impl Iterator<Item = LineKey> {
    let batch = batch.clone();
    (0..batch.count).map(move |i| LineKey::in_batch(&batch, i))
}

/// A store, and what a reader should get of it.
struct Scenario {
    store: Store,
    core: RecordedState,
    seed: u64,
    stored: Vec<LineKey>,
    /// The lines that are news for the reader, in order of arrival.
    news: Vec<LineKey>,
}

impl Scenario {
    /// Saves a batch. Every third is too old to be news.
    fn save(&mut self, batch: &Batch, is_unread: bool) -> Chat {
        let local = LocalFields {
            received: WallTime(1),
            backfill: random(&mut self.seed).is_multiple_of(3),
            ..LocalFields::default()
        };
        self.store.save(batch, local).expect("saved");
        self.core.record(batch);
        self.store.enforce_limits(&self.core).expect("room");
        self.stored.extend(keys(batch));
        if is_unread && !local.backfill {
            self.news.extend(keys(batch));
        }
        Chat {
            batch: Arc::new(batch.clone()),
            local,
            is_own: false,
        }
    }

    fn transcript(&self) -> (Transcript, Arc<AtomicUsize>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&wakes);
        let wake = Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let listen = Listen::default();
        (Transcript::new(own(), &listen, true, wake), wakes)
    }
}

/// Emits until nothing waits, or until the sink has taken `events`. Whenever nothing can be
/// emitted, a wake must come.
fn emit(scenario: &Scenario, transcript: &mut Transcript, sink: &mut RecordingSink, events: u64) {
    sink.room = events;
    let deadline = Instant::now() + PATIENCE;
    while transcript.is_lagging() && sink.room > 0 {
        assert!(Instant::now() < deadline, "no end");
        match transcript.has_work() {
            true => transcript
                .catch_up(&scenario.store, sink)
                .expect("readable"),
            false => thread::yield_now(),
        }
    }
}

/// Whatever has arrived in which order, read or unread, before the reader came or while the backlog
/// is emitted: a backlog is the end of the history, and the other news follow once. This also holds
/// if other transcripts continue at the places that the events say.
#[test]
fn news_outside_of_a_backlog_follow_it_once() {
    for round in 1..60_u64 {
        let mut seed = round.wrapping_mul(2_685_821_657_736_338_717);
        let batches = conversation(&mut seed);
        let batches = shuffled(&batches, &mut seed);
        let folder = TempDir::new();
        let limits = StoreLimits {
            segment_bytes: 4096,
            total_bytes: Some(u64::MAX),
            ..StoreLimits::default()
        };
        let store = Store::open(&folder.0, NET, own(), limits).expect("a store");
        let mut scenario = Scenario {
            store,
            core: RecordedState::default(),
            seed,
            stored: Vec::new(),
            news: Vec::new(),
        };
        for folder in folders() {
            scenario.store.open_folder(&folder).expect("a folder");
        }
        let read = batches.len() / 3;
        // In some rounds, no line follows the backlog.
        let unread = match round % 4 {
            0 => batches.len(),
            _ => batches.len() * 2 / 3,
        };
        for batch in &batches[..read] {
            scenario.save(batch, false);
        }
        let printed = folders().map(|folder| scenario.store.end(&folder));
        for batch in &batches[read..unread] {
            scenario.save(batch, true);
        }

        let (mut transcript, _) = scenario.transcript();
        for (folder, printed) in folders().iter().zip(printed) {
            transcript.open(&scenario.store, folder, printed);
        }
        let mut expected = scenario.stored.clone();
        expected.sort();
        let lines = [1, 5, 50, 9999][random(&mut seed) as usize % 4];
        transcript.request_backlog(&folders(), lines as u64);
        expected.drain(..expected.len().saturating_sub(lines));
        let mut sink = RecordingSink::default();
        // What arrives before the backlog is read does not belong to it.
        let mut late = batches[unread..].iter();
        for batch in late.by_ref().take(3) {
            let chat = scenario.save(batch, true);
            if !chat.local.backfill {
                transcript.handle_chat(&chat, &scenario.store, &mut sink);
            }
        }
        let deadline = Instant::now() + PATIENCE;
        while !transcript.knows_backlogs(&scenario.store) {
            assert!(Instant::now() < deadline, "no beginning");
            thread::yield_now();
        }
        for folder in folders() {
            let cursor = transcript.cursor(&folder).expect("an open folder");
            sink.cursors.insert(folder, cursor);
        }
        for batch in late {
            let events = random(&mut seed) % 12;
            emit(&scenario, &mut transcript, &mut sink, events);
            let chat = scenario.save(batch, true);
            // The core notifies only of news.
            if !chat.local.backfill {
                transcript.handle_chat(&chat, &scenario.store, &mut sink);
            }
            if random(&mut seed).is_multiple_of(8) {
                (transcript, _) = scenario.transcript();
                for folder in folders() {
                    let after = sink.cursors.get(&folder).expect("a cursor");
                    transcript.resume(&scenario.store, &folder, after);
                }
            }
        }
        emit(&scenario, &mut transcript, &mut sink, u64::MAX);

        let of_backlog = |is_backlog: bool| {
            let lines = sink.lines.iter().filter(move |line| line.1 == is_backlog);
            lines.map(|line| line.0).collect::<Vec<_>>()
        };
        assert_eq!(of_backlog(true), expected, "{round}");
        let first_news = sink.lines.iter().position(|line| !line.1);
        let last_of_backlog = sink.lines.iter().rposition(|line| line.1);
        assert!(first_news.is_none() || last_of_backlog < first_news);
        let mut news = of_backlog(false);
        news.sort();
        let mut expected_news = scenario.news.clone();
        expected_news.retain(|line| !expected.contains(line));
        expected_news.sort();
        assert_eq!(news, expected_news, "{round}");
        // The next reader continues at the ends.
        for folder in folders() {
            let reached = sink.cursors.get(&folder).expect("a cursor").position;
            let (mut next, _) = scenario.transcript();
            next.open(&scenario.store, &folder, reached);
            let mut sink = RecordingSink::default();
            emit(&scenario, &mut next, &mut sink, u64::MAX);
            assert_eq!(sink.lines, [], "{round}");
        }
    }
}

/// A segment that cannot be read while the backlog is read does not count as printed.
#[test]
fn news_that_a_backlog_leaves_out_are_printed_after_it() {
    let mut seed = 7;
    let batches = conversation(&mut seed);
    let folder = TempDir::new();
    let limits = StoreLimits {
        segment_bytes: 4096,
        total_bytes: Some(u64::MAX),
        ..StoreLimits::default()
    };
    let mut scenario = Scenario {
        store: Store::open(&folder.0, NET, own(), limits).expect("a store"),
        core: RecordedState::default(),
        seed,
        stored: Vec::new(),
        news: Vec::new(),
    };
    let (mut transcript, _) = scenario.transcript();
    for name in folders() {
        scenario.store.open_folder(&name).expect("a folder");
    }
    for batch in &batches {
        scenario.save(batch, true);
    }
    for name in folders() {
        transcript.open(&scenario.store, &name, Position::default());
    }
    let segments = folder.segments("#general");
    assert!(segments.len() > 2, "{}", segments.len());
    let (segment, aside) = (&segments[1], folder.0.join("aside"));
    std::fs::rename(segment, &aside).expect("a file");
    std::fs::create_dir(segment).expect("a folder");
    transcript.request_backlog(&folders(), 9999);
    let deadline = Instant::now() + PATIENCE;
    while !transcript.knows_backlogs(&scenario.store) {
        assert!(Instant::now() < deadline, "no beginning");
        thread::yield_now();
    }
    std::fs::remove_dir(segment).expect("a folder");
    std::fs::rename(&aside, segment).expect("a file");
    let mut sink = RecordingSink {
        room: u64::MAX,
        ..RecordingSink::default()
    };
    let mut errors = 0;
    while transcript.is_lagging() {
        assert!(Instant::now() < deadline, "no end");
        let result = transcript.catch_up(&scenario.store, &mut sink);
        errors += u64::from(result.is_err());
    }
    assert_eq!(errors, 1);
    assert!(sink.lines.iter().any(|line| line.1), "no backlog");
    let printed: BTreeSet<LineKey> = sink.lines.iter().map(|line| line.0).collect();
    let news: BTreeSet<LineKey> = scenario.news.iter().copied().collect();
    assert_eq!(news.difference(&printed).count(), 0);
}
