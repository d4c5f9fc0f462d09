//! The reader of a pipe at stdin: whole lines, in order, without a thread.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::{mkfifo, pipe2};
use p2pchat::base::lines::BATCH_TEXT_MAX_BYTES;
use p2pchat::base::lines::LineRules;
use p2pchat::shell::stdio::stdin_event::StdinEvent;
use p2pchat::shell::stdio::stdin_pipe::StdinPipe;

use super::support::{PATIENCE, pipe};

const TOKEN: Token = Token(6);

/// A reader of a pipe, with its poll, and the end to write to.
struct Reader {
    poll: Poll,
    stdin: StdinPipe,
    writer: Option<File>,
}

impl Reader {
    fn new() -> Reader {
        let (file, writer) = pipe();
        Reader {
            writer: Some(writer),
            ..Reader::on(&file)
        }
    }

    /// A reader of this pipe, which another end writes to.
    fn on(file: &File) -> Reader {
        let poll = Poll::new().unwrap();
        let stdin = StdinPipe::open(file, LineRules::TEXT, poll.registry(), TOKEN).unwrap();
        Reader {
            poll,
            stdin,
            writer: None,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.writer.as_ref().unwrap().write_all(bytes).unwrap();
    }

    /// Passes the events of the poll on, and waits for one for at most `timeout`.
    fn poll(&mut self, timeout: Duration) {
        let mut events = Events::with_capacity(4);
        self.poll.poll(&mut events, Some(timeout)).unwrap();
        for event in &events {
            assert_eq!(event.token(), TOKEN);
            self.stdin.handle_event();
        }
    }

    /// The next event; polls as the event loop does.
    fn next(&mut self) -> StdinEvent {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.stdin.has_event() {
                if let Some(event) = self.stdin.next_event() {
                    return event;
                }
            } else {
                self.poll(PATIENCE);
            }
        }
        panic!("no event of stdin");
    }

    fn next_lines(&mut self) -> Vec<String> {
        match self.next() {
            StdinEvent::Lines(block) => block.lines.iter().map(str::to_owned).collect(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn each_line_is_an_event_at_once() {
    let mut reader = Reader::new();
    for text in ["one", "two"] {
        reader.write(format!("{text}\n").as_bytes());
        assert_eq!(reader.next_lines(), [text]);
        assert!(!reader.stdin.has_event(), "the poll can sleep");
    }
}

/// A line that comes in pieces is one line. The last one needs no line end.
#[test]
fn pieces_of_a_line_are_joined() {
    let mut reader = Reader::new();
    reader.write(b"a b");
    reader.poll(PATIENCE);
    assert!(reader.stdin.next_event().is_none());
    reader.write(b"c\nrest");
    assert_eq!(reader.next_lines(), ["a bc"]);
    reader.writer = None;
    assert_eq!(reader.next_lines(), ["rest"]);
    assert!(matches!(reader.next(), StdinEvent::End));
}

/// A pipe that is full has several events, each of which is one batch: it needs one signature, and
/// other work comes between them.
#[test]
fn an_event_of_a_full_pipe_is_one_batch() {
    let mut reader = Reader::new();
    reader.write("0123456789abcde\n".repeat(4096).as_bytes());
    for bytes in [BATCH_TEXT_MAX_BYTES, 64 * 1024 - BATCH_TEXT_MAX_BYTES] {
        let StdinEvent::Lines(mut block) = reader.next() else {
            panic!("no lines");
        };
        assert_eq!(block.lines.take_batch().len(), bytes);
        assert!(block.lines.is_empty());
    }
}

/// Bytes and the end that come with one event of the poll are both read.
#[test]
fn the_end_comes_behind_the_bytes() {
    let mut reader = Reader::new();
    reader.write(b"last\n");
    reader.writer = None;
    reader.poll(PATIENCE);
    assert_eq!(reader.next_lines(), ["last"]);
    assert!(reader.stdin.has_event());
    assert!(matches!(reader.next(), StdinEvent::End));
}

/// The poll reports no end of a FIFO whose writers were gone before the reader opened it again.
#[test]
fn a_fifo_without_writers_ends() {
    for bytes in [&b""[..], b"last\n"] {
        let name = format!("p2pchat-fifo-{}-{}", std::process::id(), bytes.len());
        let path = std::env::temp_dir().join(name);
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let mut options = OpenOptions::new();
        let shells_end = options
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path);
        let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
        writer.write_all(bytes).unwrap();
        drop(writer);
        let mut reader = Reader::on(&shells_end.unwrap());
        if !bytes.is_empty() {
            assert_eq!(reader.next_lines(), ["last"]);
        }
        assert!(matches!(reader.next(), StdinEvent::End));
        std::fs::remove_file(path).unwrap();
    }
}

/// A read of a pipe of packets (O_DIRECT, pipe(2)) returns one packet, and the next ones cause no
/// further event of the poll.
#[test]
fn each_packet_is_read() {
    let (reader, writer) = pipe2(OFlag::O_DIRECT).unwrap();
    let writer = File::from(writer);
    for packet in ["one\n", "two\n", "three\n"] {
        (&writer).write_all(packet.as_bytes()).unwrap();
    }
    let mut reader = Reader::on(&File::from(reader));
    assert_eq!(reader.next_lines(), ["one", "two", "three"]);
}

/// A pipe can hold more than one read returns. The rest needs no further event of the poll.
#[test]
fn a_full_pipe_is_read_to_its_end() {
    let mut reader = Reader::new();
    let writer = reader.writer.as_ref().unwrap();
    fcntl(writer, FcntlArg::F_SETPIPE_SZ(256 * 1024)).unwrap();
    reader.write("0123456789abcde\n".repeat(10_000).as_bytes());
    let mut count = 0;
    while count < 10_000 {
        count += reader.next_lines().len();
    }
    assert_eq!(count, 10_000);
}

/// Unread bytes and the beginning of a line are a rest. The end of stdin is none.
#[test]
fn a_rest_is_known() {
    let mut reader = Reader::new();
    assert!(!reader.stdin.has_rest());
    reader.write(b"unread\n");
    assert!(reader.stdin.has_rest());
    assert_eq!(reader.next_lines(), ["unread"]);
    assert!(!reader.stdin.has_rest());
    reader.write(b"beginning");
    reader.poll(PATIENCE);
    assert!(reader.stdin.next_event().is_none() && reader.stdin.has_rest());
    reader.write(b"\n");
    assert_eq!(reader.next_lines(), ["beginning"]);
    reader.writer = None;
    assert!(!reader.stdin.has_rest());
}

/// Reads of a file can block, so a thread does them.
#[test]
fn a_file_is_no_pipe() {
    let poll = Poll::new().unwrap();
    let file = File::open(file!()).unwrap();
    assert!(StdinPipe::open(&file, LineRules::TEXT, poll.registry(), TOKEN).is_none());
}
