//! A transcript that emits more than its output accepts at once.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use p2pchat::base::batch::batch::{Batch, LocalFields, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::event::load::Position;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::event::peer::Peer;
use p2pchat::base::guests::guest_event::{GuestEvent, GuestNotice};
use p2pchat::base::identity::{Identity, NetworkTag};
use p2pchat::base::lines::{LINE_MAX_BYTES, Lines};
use p2pchat::base::name::{FolderName, Nick, Room, Target};
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::WallTime;
use p2pchat::shell::session::event_sink::EventSink;
use p2pchat::shell::session::frontend::renderer::Renderer;
use p2pchat::shell::session::transcript::transcript::Transcript;
use p2pchat::shell::stdio::output_writer::OutputWriter;
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::store::Store;
use p2pchat::ui::request::Listen;
use p2pchat::ui::session_event::{EventKind, SessionEvent};

use crate::stdio::support::{PATIENCE, counter, pipe};

/// A store in memory with this many lines of 16 KiB by bob.
fn store_of(lines: u64) -> Store {
    let [own, author] = [1, 2].map(|seed| Identity::from_seed(&[seed; 32]));
    let limits = StoreLimits {
        memory_bytes: usize::MAX,
        ..StoreLimits::default()
    };
    let mut store = Store::in_memory(own.id(), NetworkTag::OPEN, limits);
    store
        .open_folder(&FolderName::from(&Room::general()))
        .unwrap();
    let mut previous = None;
    for sequence in 1..=lines {
        let mut text = Lines::default();
        text.push(&[b'x'; LINE_MAX_BYTES]).unwrap();
        let log = LogId {
            target: Target::Room(Room::general()),
            author: author.id(),
            incarnation: 1,
        };
        let draft = UnsignedBatch {
            log,
            username: Nick::new("bob").unwrap(),
            sequence,
            lamport: sequence,
            timestamp: WallTime(1_000),
            run: 1,
            uptime: 0,
            republishes: None,
            salt: 9,
            previous,
            form: LineForm::Text,
            lines: &text,
            sealed: None,
        };
        let batch = Batch::sign(&author, &NetworkTag::OPEN, draft);
        previous = Some(batch.hash);
        store.save(&batch, LocalFields::default()).unwrap();
    }
    store
}

/// Renders events to an output.
struct RenderingSink<'a> {
    renderer: Renderer,
    output: &'a OutputWriter,
    /// What the output had no room for.
    pending: Vec<u8>,
}

impl RenderingSink<'_> {
    fn flush(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.pending = self.output.try_send(pending).err().unwrap_or_default();
    }
}

impl EventSink for RenderingSink<'_> {
    fn can_answer(&self) -> bool {
        true
    }

    fn can_accept(&self) -> bool {
        self.pending.is_empty() && self.output.can_accept()
    }

    fn emit(&mut self, event: SessionEvent) {
        self.renderer
            .append_event(&event, WallTime(0), &mut self.pending);
        self.flush();
    }
}

/// The output may become writable between two checks of it; `catch_up` still leaves no line unread.
#[test]
fn a_transcript_behind_a_slow_output_prints_every_line() {
    const LINES: u64 = 200;
    let rooms = (0..2_000).map(|n| Room::new(&format!("#z{n}")).unwrap());
    let rooms: Vec<Room> = [Room::general()].into_iter().chain(rooms).collect();
    let own = Identity::from_seed(&[1; 32]);
    let alice = Peer {
        id: own.id(),
        nick: Nick::new("alice").unwrap(),
    };
    let mut store = store_of(LINES);
    for room in &rooms {
        store.open_folder(&room.into()).unwrap();
    }
    for round in 0..4 {
        let (mut reader, writer) = pipe();
        let (wakes, wake) = counter();
        let output = OutputWriter::with_file(writer, wake).unwrap();
        let (newlines, count) = counter();
        let reading = thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(n) = reader.read(&mut buffer)
                && n > 0
            {
                let lines = buffer[..n].iter().filter(|byte| **byte == b'\n');
                lines.for_each(|_| count());
                // The reader is slower than the transcript.
                thread::sleep(Duration::from_millis(5));
            }
        });
        let mut sink = RenderingSink {
            renderer: Renderer::for_pipe(&alice),
            output: &output,
            pending: Vec::new(),
        };
        let mut transcript = Transcript::new(own.id(), &Listen::default(), true, Arc::new(|| ()));
        // More rooms make each `catch_up` longer, and likelier to see the output become writable.
        for room in &rooms {
            transcript.open(&store, &room.into(), Position::default());
        }
        let mut handled_wakes = 0;
        let deadline = Instant::now() + PATIENCE;
        while (newlines.load(Ordering::SeqCst) as u64) < LINES {
            assert!(Instant::now() < deadline, "no end in round {round}");
            // Only a wake of the output leads to the next try.
            let now = wakes.load(Ordering::SeqCst);
            if now > handled_wakes || handled_wakes == 0 {
                handled_wakes = now;
                sink.flush();
                transcript.catch_up(&store, &mut sink).unwrap();
            }
            thread::yield_now();
        }
        drop(output);
        drop(reading);
    }
}

/// Counts events, and keeps the last error.
struct CountingSink {
    can_accept: bool,
    events: usize,
    error: Option<String>,
}

impl EventSink for CountingSink {
    fn can_answer(&self) -> bool {
        true
    }

    fn can_accept(&self) -> bool {
        self.can_accept
    }

    fn emit(&mut self, event: SessionEvent) {
        self.events += 1;
        if let EventKind::Notice(notice) = &*event.kind
            && let Notice::Error { content, .. } = &**notice
        {
            self.error = Some(content.clone());
        }
    }
}

/// Notices wait for a stalled reader in memory. The newest 1000 do.
#[test]
fn at_most_1000_notices_wait_for_a_stalled_reader() {
    let own = Identity::from_seed(&[1; 32]);
    let store = store_of(0);
    let mut transcript = Transcript::new(own.id(), &Listen::default(), true, Arc::new(|| ()));
    let mut sink = CountingSink {
        can_accept: false,
        events: 0,
        error: None,
    };
    for _ in 0..1_500 {
        let notice = Arc::new(Notice::Rooms(Vec::new()));
        transcript.handle_notice(&notice, &mut sink);
    }
    assert_eq!(sink.events, 0);
    sink.can_accept = true;
    transcript.catch_up(&store, &mut sink).expect("a store");
    assert_eq!(sink.events, 1_000);
}

/// Of guests' lines, 1 MiB waits for a stalled reader. They are stored nowhere, so that the reader
/// hears how many it does not get.
#[test]
fn dropped_lines_of_guests_are_counted() {
    let own = Identity::from_seed(&[1; 32]);
    let store = store_of(0);
    for (bytes, lines, kept) in [(LINE_MAX_BYTES, 100, 64), (1, 1_010, 1_000)] {
        let mut transcript = Transcript::new(own.id(), &Listen::default(), true, Arc::new(|| ()));
        let mut sink = CountingSink {
            can_accept: false,
            events: 0,
            error: None,
        };
        for _ in 0..lines {
            let notice = Arc::new(Notice::Guest(GuestNotice {
                nick: Nick::new("zed").expect("a name"),
                at: WallTime(1_000),
                event: GuestEvent::Posted {
                    room: Room::new("#lsnp").expect("a room"),
                    content: "x".repeat(bytes),
                },
            }));
            transcript.handle_notice(&notice, &mut sink);
        }
        sink.can_accept = true;
        transcript.catch_up(&store, &mut sink).expect("a store");
        assert_eq!(sink.events, kept + 1);
        let lost = format!("{} lines of guests were dropped", lines - kept);
        assert!(sink.error.is_some_and(|error| error.starts_with(&lost)));
        assert!(!transcript.is_lagging());
    }
}
