//! The reader thread at stdin: whole lines and keys, in order, within bounds.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use p2pchat::base::lines::{LINE_MAX_BYTES, LineError, LineRules, Lines};
use p2pchat::shell::stdio::line_splitter::LineBlock;
use p2pchat::shell::stdio::stdin_event::StdinEvent;
use p2pchat::shell::stdio::stdin_thread::StdinThread;
use p2pchat::ui::editor::keys::TerminalInput;
use termion::event::Key;

use super::support::{PATIENCE, counter, pipe, wait};

/// Whether the pipe contains bytes that nobody has read.
fn has_unread_bytes(pipe: &File) -> bool {
    let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO) != Ok(0)
}

/// All blocks that the reader delivers of this input.
fn read_all(input: Vec<u8>) -> Vec<LineBlock> {
    let (reader, mut writer) = pipe();
    let events = StdinThread::read_lines(reader, LineRules::TEXT, || {})
        .unwrap()
        .events;
    let writing = thread::spawn(move || writer.write_all(&input));
    let mut blocks = Vec::new();
    loop {
        match events.recv_timeout(PATIENCE).unwrap() {
            StdinEvent::Lines(block) => blocks.push(block),
            StdinEvent::End => break,
            other => panic!("{other:?}"),
        }
    }
    writing.join().unwrap().unwrap();
    blocks
}

type Numbered<T> = Vec<(u64, T)>;

/// The delivered lines and the rejected ones, each with its number.
fn lines_and_rejections(blocks: &[LineBlock]) -> (Numbered<&str>, Numbered<LineError>) {
    let lines = blocks.iter().flat_map(LineBlock::numbered_lines).collect();
    let rejected = blocks.iter().flat_map(|b| b.rejected.clone()).collect();
    (lines, rejected)
}

/// The reader delivers each line without waiting for more, and wakes the loop.
#[test]
fn a_line_is_delivered_at_once() {
    let (reader, mut writer) = pipe();
    let (wakes, wake) = counter();
    let events = StdinThread::read_lines(reader, LineRules::TEXT, wake)
        .unwrap()
        .events;
    for (number, text) in [(1, "one"), (2, "two")] {
        writeln!(writer, "{text}").unwrap();
        let mut lines = Lines::default();
        lines.push(text.as_bytes()).unwrap();
        let expected = LineBlock {
            first_number: number,
            lines,
            rejected: vec![],
        };
        match events.recv_timeout(PATIENCE).unwrap() {
            StdinEvent::Lines(block) => assert_eq!(block, expected),
            other => panic!("{other:?}"),
        }
    }
    drop(writer);
    assert!(matches!(events.recv_timeout(PATIENCE), Ok(StdinEvent::End)));
    wait("three wakes", || wakes.load(Ordering::SeqCst) == 3);
}

/// CR before LF is dropped, a last line needs no LF, and a line that is not UTF-8 is rejected.
#[test]
fn line_ends_and_invalid_utf8_of_a_pipe() {
    let blocks = read_all(b"a\r\n\nb\xff\nc\rd\n\xc3\xa9".to_vec());
    let (lines, rejected) = lines_and_rejections(&blocks);
    assert_eq!(lines, [(1, "a"), (2, ""), (4, "c\rd"), (5, "é")]);
    assert_eq!(rejected, [(3, LineError::NotUtf8)]);
    assert_eq!(read_all(Vec::new()), []);
}

/// A line over the limit is rejected by its number, and the lines around it are delivered.
#[test]
fn a_rejected_line_keeps_the_numbers_of_the_others() {
    let longest = "x".repeat(LINE_MAX_BYTES);
    let million = "z".repeat(1_000_000);
    let input =
        format!("{longest}\n{longest}\r\n{longest}y\nshort\n{million}\nafter\n{longest}{longest}");
    let blocks = read_all(input.into_bytes());
    let (lines, rejected) = lines_and_rejections(&blocks);
    let longest = longest.as_str();
    assert_eq!(
        lines,
        [(1, longest), (2, longest), (4, "short"), (6, "after")]
    );
    let long = LineError::TooLong(LINE_MAX_BYTES);
    assert_eq!(rejected, [(3, long), (5, long), (7, long)]);
}

/// The limit counts the text without its line end, however reads cut it.
#[test]
fn the_longest_line_may_arrive_in_pieces() {
    let (reader, mut writer) = pipe();
    let duplicate = reader.try_clone().unwrap();
    let events = StdinThread::read_lines(reader, LineRules::TEXT, || {})
        .unwrap()
        .events;
    writer.write_all(&[b'x'; LINE_MAX_BYTES]).unwrap();
    writer.write_all(b"\r").unwrap();
    wait("the read", || {
        let mut fds = [PollFd::new(duplicate.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO) == Ok(0)
    });
    writer.write_all(b"\n").unwrap();
    match events.recv_timeout(PATIENCE).unwrap() {
        StdinEvent::Lines(block) => {
            assert_eq!(
                (block.lines.len(), block.rejected),
                (LINE_MAX_BYTES + 1, vec![])
            )
        }
        other => panic!("{other:?}"),
    }
}

/// No line is lost, split or reordered, and no block exceeds 96 KiB.
#[test]
fn many_lines_arrive_whole_and_in_order() {
    // Lines of all lengths, so that reads cut them everywhere; every 1000th is not UTF-8.
    let line = |i: usize| match i % 1000 {
        999 => b"\xff\n".to_vec(),
        _ => format!("{i} {}\n", "é".repeat(i % 37)).into_bytes(),
    };
    let input: Vec<u8> = (0..100_000).flat_map(line).collect();
    let blocks = read_all(input);
    let (lines, rejected) = lines_and_rejections(&blocks);
    assert_eq!((lines.len(), rejected.len()), (99_900, 100));
    for (number, text) in lines {
        assert_eq!(format!("{text}\n").into_bytes(), line(number as usize - 1));
    }
    assert!(rejected.iter().all(|(number, _)| number % 1000 == 0));
    assert!(blocks.iter().all(|b| b.lines.len() <= 96 * 1024));
}

/// Back-pressure: while the event loop receives nothing, at most 640 KiB are read ahead.
#[test]
fn a_full_channel_stops_the_reader() {
    let (reader, mut writer) = pipe();
    let duplicate = writer.try_clone().unwrap();
    let events = StdinThread::read_lines(reader, LineRules::TEXT, || {})
        .unwrap()
        .events;
    let written = Arc::new(AtomicUsize::new(0));
    let shared = Arc::clone(&written);
    let writing = thread::spawn(move || {
        let block = b"0123456789abcde\n".repeat(4096);
        for _ in 0..100 {
            writer.write_all(&block).unwrap();
            shared.fetch_add(block.len(), Ordering::SeqCst);
        }
    });
    let (mut last, mut still) = (0, 0);
    wait("standstill", || {
        // The reader may still read one block while the channel is full.
        let mut fds = [PollFd::new(duplicate.as_fd(), PollFlags::POLLOUT)];
        let full = events.is_full() && poll(&mut fds, PollTimeout::ZERO) == Ok(0);
        let now = written.load(Ordering::SeqCst);
        still = if full && now == last { still + 1 } else { 0 };
        last = now;
        still == 20
    });
    drop(duplicate);
    // The bound covers the channel, one block of the reader, and the kernel's pipe.
    assert!(last <= 640 * 1024, "{last} bytes were read ahead");
    let mut count = 0;
    while let Ok(StdinEvent::Lines(block)) = events.recv_timeout(PATIENCE) {
        count += block.lines.iter().count();
    }
    writing.join().unwrap();
    assert_eq!(count, 100 * 4096);
}

/// A run never loses input without a report: `stop` is true exactly if lines were lost.
#[test]
fn stop_reports_lines_that_were_read_and_not_received() {
    for round in 0..400 {
        let (reader, mut writer) = pipe();
        let mut duplicate = reader.try_clone().unwrap();
        let line_reader = StdinThread::read_lines(reader, LineRules::TEXT, || {}).unwrap();
        let writing = thread::spawn(move || {
            (0..50).for_each(|_| writer.write_all(b"a line\n").unwrap());
        });
        let mut received = 0;
        while received < round % 50 {
            match line_reader.events.recv_timeout(PATIENCE).unwrap() {
                StdinEvent::Lines(block) => received += block.lines.iter().count(),
                other => panic!("{other:?}"),
            }
        }
        let reported = line_reader.stop();
        writing.join().unwrap();
        let mut rest = String::new();
        duplicate.read_to_string(&mut rest).unwrap();
        let lost = 50 - received - rest.lines().count();
        assert_eq!(
            reported,
            lost > 0,
            "{round}: {received} received, {lost} lost"
        );
    }
}

/// A stop between the read of a line and its delivery still reports the line.
#[test]
fn stop_reports_a_line_at_the_moment_of_its_read() {
    for _ in 0..2_000 {
        let (reader, mut writer) = pipe();
        let duplicate = reader.try_clone().unwrap();
        let line_reader = StdinThread::read_lines(reader, LineRules::TEXT, || {}).unwrap();
        writer.write_all(b"a line\n").unwrap();
        while has_unread_bytes(&duplicate) {}
        assert!(line_reader.stop());
    }
}

/// The start of a line is input too; later bytes stay in the pipe for the next program.
#[test]
fn stop_reports_an_unfinished_line() {
    let (reader, mut writer) = pipe();
    let duplicate = reader.try_clone().unwrap();
    let line_reader = StdinThread::read_lines(reader, LineRules::TEXT, || {}).unwrap();
    writer.write_all(b"whole\nbeg").unwrap();
    let events = line_reader.events.recv_timeout(PATIENCE);
    assert!(matches!(events, Ok(StdinEvent::Lines(_))), "{events:?}");
    assert!(!has_unread_bytes(&duplicate) && line_reader.stop());
    // Bytes written after the stop stay in the pipe for the next program.
    writer.write_all(b"un\n").unwrap();
    thread::sleep(Duration::from_millis(20));
    assert!(has_unread_bytes(&duplicate));

    // An end of input that nobody has received is no lost line.
    let (reader, writer) = pipe();
    let line_reader = StdinThread::read_lines(reader, LineRules::TEXT, || {}).unwrap();
    drop(writer);
    wait("end", || !line_reader.events.is_empty());
    assert!(!line_reader.stop());
}

/// On a terminal the reader delivers keys instead of lines.
#[test]
fn keys_arrive_one_by_one() {
    let (reader, mut writer) = pipe();
    let events = StdinThread::read_keys(reader, || {}).unwrap().events;
    writer.write_all(b"h\x1b[A\r").unwrap();
    drop(writer);
    for expected in [Key::Char('h'), Key::Up, Key::Char('\n')] {
        match events.recv_timeout(PATIENCE).unwrap() {
            StdinEvent::Typed(input) => assert_eq!(input, TerminalInput::Key(expected)),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(events.recv_timeout(PATIENCE), Ok(StdinEvent::End)));
}
