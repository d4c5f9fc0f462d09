//! The threads at stdin and stdout: whole lines, in order, and never more in hand than the bounds allow.
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use p2pchat::base::batch::{Batch, LocalFields, LogId, UnsignedBatch};
use p2pchat::base::event::Peer;
use p2pchat::base::identity::{Identity, NetworkTag};
use p2pchat::base::lines::{LINE_MAX_BYTES, LineError, Lines};
use p2pchat::base::name::{FolderName, Nick, Room, Target};
use p2pchat::base::time::WallTime;
use p2pchat::shell::session::renderer::Renderer;
use p2pchat::shell::session::transcript::Transcript;
use p2pchat::shell::stdio::line_splitter::LineBlock;
use p2pchat::shell::stdio::output_writer::OutputWriter;
use p2pchat::shell::stdio::stdin;
use p2pchat::shell::stdio::stdin::StdinEvent;
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::store::Store;
use termion::event::Key;

const PATIENCE: Duration = Duration::from_secs(20);

fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "no {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn pipe() -> (File, File) {
    let (reader, writer) = std::io::pipe().unwrap();
    (
        File::from(OwnedFd::from(reader)),
        File::from(OwnedFd::from(writer)),
    )
}

fn counter() -> (Arc<AtomicUsize>, impl Fn() + Send + 'static) {
    let count = Arc::new(AtomicUsize::new(0));
    let theirs = Arc::clone(&count);
    (count, move || {
        theirs.fetch_add(1, Ordering::SeqCst);
    })
}

/// Nobody took yet what was written there.
fn unread(pipe: &File) -> bool {
    let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO) != Ok(0)
}

fn read_all(input: Vec<u8>) -> Vec<LineBlock> {
    let (reader, mut writer) = pipe();
    let typed = stdin::spawn_line_reader_on(reader, || {}).unwrap().events;
    let writing = thread::spawn(move || writer.write_all(&input));
    let mut blocks = Vec::new();
    loop {
        match typed.recv_timeout(PATIENCE).unwrap() {
            StdinEvent::Lines(block) => blocks.push(block),
            StdinEvent::End => break,
            other => panic!("{other:?}"),
        }
    }
    writing.join().unwrap().unwrap();
    blocks
}

type Numbered<T> = Vec<(u64, T)>;

fn flat(blocks: &[LineBlock]) -> (Numbered<&str>, Numbered<LineError>) {
    let lines = blocks.iter().flat_map(LineBlock::numbered_lines).collect();
    let refused = blocks.iter().flat_map(|b| b.rejected.clone()).collect();
    (lines, refused)
}

#[test]
fn a_line_goes_out_as_it_comes() {
    let (reader, mut writer) = pipe();
    let (wakes, wake) = counter();
    let typed = stdin::spawn_line_reader_on(reader, wake).unwrap().events;
    for (number, text) in [(1, "one"), (2, "two")] {
        writeln!(writer, "{text}").unwrap();
        let mut lines = Lines::default();
        lines.push(text.as_bytes()).unwrap();
        let expected = LineBlock {
            first_number: number,
            lines,
            rejected: vec![],
        };
        match typed.recv_timeout(PATIENCE).unwrap() {
            StdinEvent::Lines(block) => assert_eq!(block, expected),
            other => panic!("{other:?}"),
        }
    }
    drop(writer);
    assert!(matches!(typed.recv_timeout(PATIENCE), Ok(StdinEvent::End)));
    wait("three wakes", || wakes.load(Ordering::SeqCst) == 3);
}

#[test]
fn lines_of_a_pipe() {
    let blocks = read_all(b"a\r\n\nb\xff\nc\rd\n\xc3\xa9".to_vec());
    let (said, refused) = flat(&blocks);
    assert_eq!(said, [(1, "a"), (2, ""), (4, "c\rd"), (5, "é")]);
    assert_eq!(refused, [(3, LineError::NotUtf8)]);
    assert_eq!(read_all(Vec::new()), []);
}

#[test]
fn long_lines_are_refused_and_the_rest_keeps_its_number() {
    let longest = "x".repeat(LINE_MAX_BYTES);
    let million = "z".repeat(1_000_000);
    let input =
        format!("{longest}\n{longest}\r\n{longest}y\nshort\n{million}\nafter\n{longest}{longest}");
    let blocks = read_all(input.into_bytes());
    let (said, refused) = flat(&blocks);
    let longest = longest.as_str();
    assert_eq!(
        said,
        [(1, longest), (2, longest), (4, "short"), (6, "after")]
    );
    let long = LineError::TooLong;
    assert_eq!(refused, [(3, long), (5, long), (7, long)]);
}

#[test]
fn the_longest_line_may_come_in_pieces() {
    let (reader, mut writer) = pipe();
    let same = reader.try_clone().unwrap();
    let typed = stdin::spawn_line_reader_on(reader, || {}).unwrap().events;
    writer.write_all(&[b'x'; LINE_MAX_BYTES]).unwrap();
    writer.write_all(b"\r").unwrap();
    wait("reading", || {
        let mut fds = [PollFd::new(same.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO) == Ok(0)
    });
    writer.write_all(b"\n").unwrap();
    match typed.recv_timeout(PATIENCE).unwrap() {
        StdinEvent::Lines(block) => {
            assert_eq!(
                (block.lines.len(), block.rejected),
                (LINE_MAX_BYTES + 1, vec![])
            )
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn many_lines_come_whole_and_in_order() {
    // Of all lengths, so that reads cut them at every place; now and then one that must be refused.
    let line = |i: usize| match i % 1000 {
        999 => b"\xff\n".to_vec(),
        _ => format!("{i} {}\n", "é".repeat(i % 37)).into_bytes(),
    };
    let input: Vec<u8> = (0..100_000).flat_map(line).collect();
    let blocks = read_all(input);
    let (said, refused) = flat(&blocks);
    assert_eq!((said.len(), refused.len()), (99_900, 100));
    for (number, text) in said {
        assert_eq!(format!("{text}\n").into_bytes(), line(number as usize - 1));
    }
    assert!(refused.iter().all(|(number, _)| number % 1000 == 0));
    assert!(blocks.iter().all(|b| b.lines.len() <= 96 * 1024));
}

#[test]
fn a_loop_that_takes_nothing_stops_the_reading() {
    let (reader, mut writer) = pipe();
    let same = writer.try_clone().unwrap();
    let typed = stdin::spawn_line_reader_on(reader, || {}).unwrap().events;
    let written = Arc::new(AtomicUsize::new(0));
    let theirs = Arc::clone(&written);
    let writing = thread::spawn(move || {
        let block = b"0123456789abcde\n".repeat(4096);
        for _ in 0..100 {
            writer.write_all(&block).unwrap();
            theirs.fetch_add(block.len(), Ordering::SeqCst);
        }
    });
    let (mut last, mut still) = (0, 0);
    wait("standstill", || {
        // The thread may still take what it can hold in its hand.
        let mut fds = [PollFd::new(same.as_fd(), PollFlags::POLLOUT)];
        let full = typed.is_full() && poll(&mut fds, PollTimeout::ZERO) == Ok(0);
        let now = written.load(Ordering::SeqCst);
        still = if full && now == last { still + 1 } else { 0 };
        last = now;
        still == 20
    });
    drop(same);
    // The channel, the thread's hand, and the kernel's pipe.
    assert!(last <= 640 * 1024, "{last} bytes were read ahead");
    let mut count = 0;
    while let Ok(StdinEvent::Lines(block)) = typed.recv_timeout(PATIENCE) {
        count += block.lines.iter().count();
    }
    writing.join().unwrap();
    assert_eq!(count, 100 * 4096);
}

#[test]
fn what_was_taken_when_the_loop_stops_is_never_silent() {
    for round in 0..400 {
        let (reader, mut writer) = pipe();
        let mut same = reader.try_clone().unwrap();
        let keyboard = stdin::spawn_line_reader_on(reader, || {}).unwrap();
        let writing = thread::spawn(move || {
            (0..50).for_each(|_| writer.write_all(b"a line\n").unwrap());
        });
        let mut got = 0;
        while got < round % 50 {
            match keyboard.events.recv_timeout(PATIENCE).unwrap() {
                StdinEvent::Lines(block) => got += block.lines.iter().count(),
                other => panic!("{other:?}"),
            }
        }
        let told = keyboard.stop();
        writing.join().unwrap();
        let mut rest = String::new();
        same.read_to_string(&mut rest).unwrap();
        let lost = 50 - got - rest.lines().count();
        assert_eq!(told, lost > 0, "{round}: {got} came, {lost} are lost");
    }
}

#[test]
fn a_line_is_not_silent_at_the_moment_at_which_it_is_taken() {
    for _ in 0..2_000 {
        let (reader, mut writer) = pipe();
        let same = reader.try_clone().unwrap();
        let keyboard = stdin::spawn_line_reader_on(reader, || {}).unwrap();
        writer.write_all(b"a line\n").unwrap();
        while unread(&same) {}
        assert!(keyboard.stop());
    }
}

#[test]
fn a_loop_that_stops_hears_of_a_line_that_has_begun() {
    let (reader, mut writer) = pipe();
    let same = reader.try_clone().unwrap();
    let keyboard = stdin::spawn_line_reader_on(reader, || {}).unwrap();
    writer.write_all(b"whole\nbeg").unwrap();
    let typed = keyboard.events.recv_timeout(PATIENCE);
    assert!(matches!(typed, Ok(StdinEvent::Lines(_))), "{typed:?}");
    assert!(!unread(&same) && keyboard.stop());
    // What comes then stays where it is, for others.
    writer.write_all(b"un\n").unwrap();
    thread::sleep(Duration::from_millis(20));
    assert!(unread(&same));

    // An end that is not asked for yet is nothing that was lost.
    let (reader, writer) = pipe();
    let keyboard = stdin::spawn_line_reader_on(reader, || {}).unwrap();
    drop(writer);
    wait("end", || !keyboard.events.is_empty());
    assert!(!keyboard.stop());
}

#[test]
fn keys_come_one_by_one() {
    let (reader, mut writer) = pipe();
    let typed = stdin::spawn_key_reader_on(reader, || {}).unwrap().events;
    writer.write_all(b"h\x1b[A\r").unwrap();
    drop(writer);
    for expected in [Key::Char('h'), Key::Up, Key::Char('\n')] {
        match typed.recv_timeout(PATIENCE).unwrap() {
            StdinEvent::Key(key) => assert_eq!(key, expected),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(typed.recv_timeout(PATIENCE), Ok(StdinEvent::End)));
}

#[test]
fn a_stalled_reader_loses_nothing_and_holds_up_nobody() {
    let (mut reader, writer) = pipe();
    let (wakes, wake) = counter();
    let printer = OutputWriter::with_file(writer, wake).unwrap();
    let mut sent = Vec::new();
    let mut token = 0u64;
    loop {
        // Of all sizes: some go out at once, some are joined, some stand alone.
        let size = [10, 3000, 20_000][token as usize % 3];
        let mut chunk = printer.take_buffer();
        assert!(chunk.is_empty());
        writeln!(chunk, "{token}:{}", "x".repeat(size)).unwrap();
        let bytes = chunk.clone();
        if let Err(back) = printer.try_send(chunk, token + 1) {
            assert_eq!(back, bytes, "what is refused comes back whole");
            break;
        }
        token += 1;
        sent.extend_from_slice(&bytes);
        assert!(sent.len() < 1 << 20, "the queue has no bound");
    }
    assert!(sent.len() >= 256 * 1024 && !printer.can_accept());
    assert!(printer.written_token() < token);
    let before = wakes.load(Ordering::SeqCst);
    let short = Duration::from_millis(20);
    assert!(!printer.flush(short), "nobody reads");
    let mut got = vec![0; sent.len()];
    reader.read_exact(&mut got).unwrap();
    assert!(got == sent, "every byte, in order");
    assert!(printer.flush(PATIENCE));
    assert_eq!(printer.written_token(), token);
    wait("wake", || wakes.load(Ordering::SeqCst) > before);
    assert!(printer.can_accept());
    printer.try_send(b"last\n".to_vec(), token + 1).unwrap();
    let mut last = [0; 5];
    reader.read_exact(&mut last).unwrap();
    assert_eq!(&last, b"last\n");
    assert!(printer.flush(PATIENCE));
    assert_eq!(
        (printer.written_token(), printer.error()),
        (token + 1, None)
    );
}

#[test]
fn a_reader_that_went_away_is_noticed() {
    let (reader, writer) = pipe();
    let (wakes, wake) = counter();
    let printer = OutputWriter::with_file(writer, wake).unwrap();
    printer.try_send(b"one\n".to_vec(), 1).unwrap();
    assert!(printer.flush(PATIENCE));
    drop(reader);
    printer.try_send(b"two\n".to_vec(), 2).unwrap();
    wait("wake", || wakes.load(Ordering::SeqCst) == 1);
    assert_eq!(printer.error(), Some(ErrorKind::BrokenPipe));
    assert_eq!(printer.written_token(), 1);
    assert!(!printer.flush(PATIENCE) && !printer.can_accept());
    assert!(printer.try_send(b"three\n".to_vec(), 3).is_err());
}

#[test]
fn a_file_is_written_where_it_stands() {
    let path = std::env::temp_dir().join(format!("p2pchat-printer-{}", std::process::id()));
    let mut file = File::create(&path).unwrap();
    file.write_all(b"before\n").unwrap();
    let printer = OutputWriter::with_file(file, || {}).unwrap();
    printer.try_send(b"after\n".to_vec(), 1).unwrap();
    assert!(printer.flush(PATIENCE));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(text, "before\nafter\n");
}

/// A history in memory of so many lines of 16 KiB by somebody else.
fn history(lines: u64) -> Store {
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
            previous,
            action: false,
            lines: &text,
            sealed: None,
        };
        let batch = Batch::sign(&author, &NetworkTag::OPEN, draft);
        previous = Some(batch.hash);
        store.save(&batch, LocalFields::default()).unwrap();
    }
    store
}

/// The output gets room again at any moment, also between two looks at it: what was not read by then is still to be read.
#[test]
fn a_transcript_that_lags_ends_with_all_there_is() {
    const LINES: u64 = 200;
    let rooms = (0..2_000).map(|n| Room::new(&format!("#z{n}")).unwrap());
    let rooms: Vec<Room> = [Room::general()].into_iter().chain(rooms).collect();
    let own = Identity::from_seed(&[1; 32]);
    let me = Peer {
        id: own.id(),
        nick: Nick::new("alice").unwrap(),
    };
    let mut store = history(LINES);
    for room in &rooms {
        store.open_folder(&room.into()).unwrap();
    }
    for round in 0..4 {
        let (mut reader, writer) = pipe();
        let (wakes, wake) = counter();
        let printer = OutputWriter::with_file(writer, wake).unwrap();
        let (newlines, count) = counter();
        let reading = thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(n) = reader.read(&mut buffer)
                && n > 0
            {
                let lines = buffer[..n].iter().filter(|byte| **byte == b'\n');
                lines.for_each(|_| count());
                // Slower than what there is to print.
                thread::sleep(Duration::from_millis(5));
            }
        });
        let mut face = Renderer::for_pipe(&me);
        let mut transcript = Transcript::new(own.id(), true);
        // The more rooms, the longer each try takes, and the likelier it is that there is room again before it ends.
        for room in &rooms {
            transcript.open(&store, &room.into(), 0, false);
        }
        let mut seen = 0;
        let deadline = Instant::now() + PATIENCE;
        while (newlines.load(Ordering::SeqCst) as u64) < LINES {
            assert!(Instant::now() < deadline, "no end in round {round}");
            // Nothing but the output's own word leads to a next try.
            let now = wakes.load(Ordering::SeqCst);
            if now > seen || seen == 0 {
                seen = now;
                transcript
                    .catch_up(None, &store, &mut face, &printer)
                    .unwrap();
            }
            thread::yield_now();
        }
        drop(printer);
        drop(reading);
    }
}
