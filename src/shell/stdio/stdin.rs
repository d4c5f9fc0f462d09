//! The input thread: stdin as blocks of lines, or as keys.
//!
//! Reading blocks, so it has a thread of its own, which nobody waits for at exit. The channel to the loop is short: a loop that takes nothing
//! stops the reading, and so whoever writes to the pipe.
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use termion::event::Key;

use crate::base::lines::LINE_MAX_BYTES;
use crate::shell::os::thread;
use crate::shell::stdio::line_splitter::{LineBlock, LineSplitter};
use crate::ui::keys::KeyDecoder;

/// Most bytes of one read, and so, but for the rest of a line, of one block.
const BLOCK_MAX_BYTES: usize = 64 * 1024;
/// Blocks of lines on their way to the loop.
const QUEUED_BLOCKS_MAX: usize = 2;
/// Keys on their way to the loop.
const QUEUED_KEYS_MAX: usize = 256;
/// How long a read that has begun is waited for at the end.
const FINAL_READ_TIMEOUT: Duration = Duration::from_millis(100);

/// What the thread has in hand: nothing; what it takes and hands on at this moment; the beginning of a line.
const IDLE: u8 = 0;
const READING: u8 = 1;
const PARTIAL_LINE: u8 = 2;

/// What came in.
#[derive(Debug)]
pub enum StdinEvent {
    Lines(LineBlock),
    /// Of a terminal in raw mode.
    Key(Key),
    /// It cannot be read any further: what was read before is the last, and the end follows.
    Failed(ErrorKind),
    /// The end of the input. Nothing follows.
    End,
}

/// The loop's end of the input thread.
#[derive(Debug)]
pub struct Stdin {
    pub events: Receiver<StdinEvent>,
    shared: Arc<ReadState>,
}

/// The thread says that it takes before it looks whether it may, and the loop says that it may not before it looks whether it takes: so
/// nothing is taken that neither knows of.
#[derive(Debug, Default)]
struct ReadState {
    state: AtomicU8,
    is_stopped: AtomicBool,
}

impl Stdin {
    fn spawn(
        room: usize,
        read: impl FnOnce(&EventSender) + Send + 'static,
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<Stdin> {
        let (sender, typed) = bounded(room);
        let taking = Arc::<ReadState>::default();
        let hand = EventSender {
            sender,
            wake: Box::new(wake),
            shared: Arc::clone(&taking),
        };
        let work = move || {
            read(&hand);
            hand.set_state(IDLE);
            hand.send(StdinEvent::End);
        };
        thread::spawn_helper("keyboard", Box::new(work))?;
        Ok(Stdin {
            events: typed,
            shared: taking,
        })
    }

    /// Takes nothing more from stdin. True: lines, or the beginning of one, were taken from it that the loop has not got, or it may be so: a
    /// read that hangs is not waited for long.
    pub fn stop(&self) -> bool {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        let until = Instant::now() + FINAL_READ_TIMEOUT;
        loop {
            // Before the channel: what left the hand lies there.
            let hand = self.shared.state.load(Ordering::SeqCst);
            if self
                .events
                .try_iter()
                .any(|typed| matches!(typed, StdinEvent::Lines(_)))
            {
                return true;
            }
            if hand != READING || Instant::now() >= until {
                return hand != IDLE;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Reads stdin as lines. `wake` is called, from the input thread, after each block.
///
/// # Errors
/// stdin cannot be duplicated, or no thread can be had.
pub fn spawn_line_reader(wake: impl Fn() + Send + 'static) -> io::Result<Stdin> {
    spawn_line_reader_on(duplicate_stdin()?, wake)
}

/// Reads any file as [`lines`] does stdin.
///
/// # Errors
/// No thread can be had.
pub fn spawn_line_reader_on(file: File, wake: impl Fn() + Send + 'static) -> io::Result<Stdin> {
    Stdin::spawn(
        QUEUED_BLOCKS_MAX,
        move |hand| run_line_reader(&file, hand),
        wake,
    )
}

/// Reads the keys of the terminal that stdin is; it should be in raw mode ([`RawMode`]). `wake` as for [`lines`].
///
/// # Errors
/// As [`lines`].
pub fn spawn_key_reader(wake: impl Fn() + Send + 'static) -> io::Result<Stdin> {
    spawn_key_reader_on(duplicate_stdin()?, wake)
}

/// Reads any file as [`keys`] does stdin.
///
/// # Errors
/// No thread can be had.
pub fn spawn_key_reader_on(file: File, wake: impl Fn() + Send + 'static) -> io::Result<Stdin> {
    Stdin::spawn(
        QUEUED_KEYS_MAX,
        move |hand| run_key_reader(&file, hand),
        wake,
    )
}

/// The descriptor itself: std's own buffer would copy, and its lock could be held by somebody else.
fn duplicate_stdin() -> io::Result<File> {
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

struct EventSender {
    sender: Sender<StdinEvent>,
    wake: Box<dyn Fn() + Send>,
    shared: Arc<ReadState>,
}

impl EventSender {
    /// Waits until the loop has room. False: the loop is gone.
    fn send(&self, typed: StdinEvent) -> bool {
        let taken = self.sender.send(typed).is_ok();
        if taken {
            (self.wake)();
        }
        taken
    }

    fn set_state(&self, what: u8) {
        self.shared.state.store(what, Ordering::SeqCst);
    }
}

/// 0: the end, or the loop wants no more; if an error made it, that was told of. Nothing is taken while it waits, so that a loop that ends can stop it then.
fn read_when_ready(mut file: &File, buffer: &mut [u8], hand: &EventSender) -> usize {
    let before = hand.shared.state.load(Ordering::SeqCst);
    loop {
        let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        // An interrupted wait is only a wait that was shorter; what cannot be waited for is read at once.
        if poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {
            continue;
        }
        hand.set_state(READING);
        if hand.shared.is_stopped.load(Ordering::SeqCst) {
            hand.set_state(before);
            return 0;
        }
        match file.read(buffer) {
            Ok(n) => return n,
            Err(error)
                if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) =>
            {
                hand.set_state(before)
            }
            Err(error) => {
                hand.send(StdinEvent::Failed(error.kind()));
                return 0;
            }
        }
    }
}

fn run_key_reader(file: &File, hand: &EventSender) {
    let mut decoder = KeyDecoder::default();
    let mut buffer = [0; 1024];
    let mut open = true;
    while open {
        let n = read_when_ready(file, &mut buffer, hand);
        if n == 0 {
            return;
        }
        decoder.feed(buffer.get(..n).unwrap_or_default(), |key| {
            open = open && hand.send(StdinEvent::Key(key));
        });
        hand.set_state(IDLE);
    }
}

fn run_line_reader(file: &File, hand: &EventSender) {
    let mut buffer = vec![0; BLOCK_MAX_BYTES + LINE_MAX_BYTES + 2];
    let mut splitter = LineSplitter::default();
    // The beginning of a line whose end has not come yet.
    let mut kept = 0;
    loop {
        let end = buffer.len().min(kept + BLOCK_MAX_BYTES);
        let Some(space) = buffer.get_mut(kept..end) else {
            return;
        };
        let n = read_when_ready(file, space, hand);
        let filled = kept + n;
        let bytes = buffer.get(..filled).unwrap_or_default();
        let (block, used) = splitter.split(bytes, n == 0);
        if let Some(block) = block
            && !hand.send(StdinEvent::Lines(block))
        {
            return;
        }
        if n == 0 {
            return;
        }
        buffer.copy_within(used..filled, 0);
        kept = filled - used;
        hand.set_state(if kept > 0 { PARTIAL_LINE } else { IDLE });
    }
}
