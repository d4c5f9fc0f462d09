//! The input thread: stdin as blocks of lines, or as keys.
//!
//! Reading blocks, so it has a thread of its own, which nobody waits for at exit. The channel to the loop is short: a loop that takes nothing
//! stops the reading, and so whoever writes to the pipe.
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use termion::event::Key;

use crate::base::lines::{LINE_MAX, LineError, Lines};
use crate::shell::os::thread;
use crate::ui::keys::Decoder;

/// Most bytes of one read, and so, but for the rest of a line, of one block.
const BLOCK: usize = 64 * 1024;
/// Blocks of lines on their way to the loop.
const BLOCKS: usize = 2;
/// Keys on their way to the loop.
const KEYS: usize = 256;
/// How long a read that has begun is waited for at the end.
const LAST_READ: Duration = Duration::from_millis(100);

/// What the thread has in hand: nothing; what it takes and hands on at this moment; the beginning of a line.
const EMPTY: u8 = 0;
const TAKING: u8 = 1;
const BEGUN: u8 = 2;

/// What came in.
#[derive(Debug)]
pub enum Typed {
    Lines(Block),
    /// Of a terminal in raw mode.
    Key(Key),
    /// It cannot be read any further: what was read before is the last, and the end follows.
    Failed(ErrorKind),
    /// The end of the input. Nothing follows.
    End,
}

/// Lines that one read completed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The number of the first of them, refused ones included; stdin's first line has number 1.
    pub first: u64,
    /// Those that can be said.
    pub lines: Lines,
    /// The others with their numbers, upwards.
    pub refused: Vec<(u64, LineError)>,
}

impl Block {
    /// The lines that can be said, with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (u64, &str)> {
        let mut refused = self.refused.iter().map(|(number, _)| *number).peekable();
        let mut next = self.first;
        self.lines.iter().map(move |line| {
            while refused.next_if_eq(&next).is_some() {
                next += 1;
            }
            next += 1;
            (next - 1, line)
        })
    }
}

/// The loop's end of the input thread.
#[derive(Debug)]
pub struct Keyboard {
    pub typed: Receiver<Typed>,
    taking: Arc<Taking>,
}

/// The thread says that it takes before it looks whether it may, and the loop says that it may not before it looks whether it takes: so
/// nothing is taken that neither knows of.
#[derive(Debug, Default)]
struct Taking {
    hand: AtomicU8,
    stopped: AtomicBool,
}

impl Keyboard {
    fn start(
        room: usize,
        read: impl FnOnce(&Hand) + Send + 'static,
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<Keyboard> {
        let (sender, typed) = bounded(room);
        let taking = Arc::<Taking>::default();
        let hand = Hand {
            sender,
            wake: Box::new(wake),
            taking: Arc::clone(&taking),
        };
        let work = move || {
            read(&hand);
            hand.holds(EMPTY);
            hand.on(Typed::End);
        };
        thread::start("keyboard", Box::new(work))?;
        Ok(Keyboard { typed, taking })
    }

    /// Takes nothing more from stdin. True: lines, or the beginning of one, were taken from it that the loop has not got, or it may be so: a
    /// read that hangs is not waited for long.
    pub fn stop(&self) -> bool {
        self.taking.stopped.store(true, Ordering::SeqCst);
        let until = Instant::now() + LAST_READ;
        loop {
            // Before the channel: what left the hand lies there.
            let hand = self.taking.hand.load(Ordering::SeqCst);
            if self
                .typed
                .try_iter()
                .any(|typed| matches!(typed, Typed::Lines(_)))
            {
                return true;
            }
            if hand != TAKING || Instant::now() >= until {
                return hand != EMPTY;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Reads stdin as lines. `wake` is called, from the input thread, after each block.
///
/// # Errors
/// stdin cannot be duplicated, or no thread can be had.
pub fn lines(wake: impl Fn() + Send + 'static) -> io::Result<Keyboard> {
    lines_of(stdin()?, wake)
}

/// Reads any file as [`lines`] does stdin.
///
/// # Errors
/// No thread can be had.
pub fn lines_of(file: File, wake: impl Fn() + Send + 'static) -> io::Result<Keyboard> {
    Keyboard::start(BLOCKS, move |hand| read_lines(&file, hand), wake)
}

/// Reads the keys of the terminal that stdin is; it should be in raw mode ([`RawMode`]). `wake` as for [`lines`].
///
/// # Errors
/// As [`lines`].
pub fn keys(wake: impl Fn() + Send + 'static) -> io::Result<Keyboard> {
    keys_of(stdin()?, wake)
}

/// Reads any file as [`keys`] does stdin.
///
/// # Errors
/// No thread can be had.
pub fn keys_of(file: File, wake: impl Fn() + Send + 'static) -> io::Result<Keyboard> {
    Keyboard::start(KEYS, move |hand| read_keys(&file, hand), wake)
}

/// The descriptor itself: std's own buffer would copy, and its lock could be held by somebody else.
fn stdin() -> io::Result<File> {
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

struct Hand {
    sender: Sender<Typed>,
    wake: Box<dyn Fn() + Send>,
    taking: Arc<Taking>,
}

impl Hand {
    /// Waits until the loop has room. False: the loop is gone.
    fn on(&self, typed: Typed) -> bool {
        let taken = self.sender.send(typed).is_ok();
        if taken {
            (self.wake)();
        }
        taken
    }

    fn holds(&self, what: u8) {
        self.taking.hand.store(what, Ordering::SeqCst);
    }
}

/// 0: the end, or the loop wants no more; if an error made it, that was told of. Nothing is taken while it waits, so that a loop that ends can stop it then.
fn read(mut file: &File, buffer: &mut [u8], hand: &Hand) -> usize {
    let before = hand.taking.hand.load(Ordering::SeqCst);
    loop {
        let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        // An interrupted wait is only a wait that was shorter; what cannot be waited for is read at once.
        if poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {
            continue;
        }
        hand.holds(TAKING);
        if hand.taking.stopped.load(Ordering::SeqCst) {
            hand.holds(before);
            return 0;
        }
        match file.read(buffer) {
            Ok(n) => return n,
            Err(error)
                if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) =>
            {
                hand.holds(before)
            }
            Err(error) => {
                hand.on(Typed::Failed(error.kind()));
                return 0;
            }
        }
    }
}

fn read_keys(file: &File, hand: &Hand) {
    let mut decoder = Decoder::default();
    let mut buffer = [0; 1024];
    let mut open = true;
    while open {
        let n = read(file, &mut buffer, hand);
        if n == 0 {
            return;
        }
        decoder.feed(buffer.get(..n).unwrap_or_default(), |key| {
            open = open && hand.on(Typed::Key(key));
        });
        hand.holds(EMPTY);
    }
}

fn read_lines(file: &File, hand: &Hand) {
    let mut buffer = vec![0; BLOCK + LINE_MAX + 2];
    let mut splitter = Splitter::default();
    // The beginning of a line whose end has not come yet.
    let mut kept = 0;
    loop {
        let end = buffer.len().min(kept + BLOCK);
        let Some(space) = buffer.get_mut(kept..end) else {
            return;
        };
        let n = read(file, space, hand);
        let filled = kept + n;
        let bytes = buffer.get(..filled).unwrap_or_default();
        let (block, used) = splitter.split(bytes, n == 0);
        if let Some(block) = block
            && !hand.on(Typed::Lines(block))
        {
            return;
        }
        if n == 0 {
            return;
        }
        buffer.copy_within(used..filled, 0);
        kept = filled - used;
        hand.holds(if kept > 0 { BEGUN } else { EMPTY });
    }
}

/// Cuts bytes into lines, and counts them.
#[derive(Debug, Default)]
struct Splitter {
    /// Lines begun so far, but for the one that is going on.
    done: u64,
    /// The line going on is refused already, and its bytes are let go.
    skipping: bool,
}

impl Splitter {
    /// The whole lines of `bytes`, and how many of the bytes need not be shown again. At most `LINE_MAX + 1` bytes remain.
    fn split(&mut self, bytes: &[u8], last: bool) -> (Option<Block>, usize) {
        let mut block = Block {
            first: self.done + 1,
            ..Block::default()
        };
        let mut rest = bytes;
        if self.skipping {
            match rest.iter().position(|b| *b == b'\n') {
                None => return (None, bytes.len()),
                Some(end) => {
                    rest = rest.get(end + 1..).unwrap_or_default();
                    self.skipping = false;
                }
            }
        }
        let whole = rest.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        let (lines, mut rest) = rest.split_at(whole);
        self.take(lines, &mut block);
        if last && !rest.is_empty() {
            self.line(rest, &mut block);
            rest = &[];
        } else if rest.len() > LINE_MAX + 1 {
            // Too long whatever comes: one byte more than the longest line and its `\r`.
            self.done += 1;
            block.refused.push((self.done, LineError::TooLong));
            self.skipping = true;
            rest = &[];
        }
        let used = bytes.len() - rest.len();
        let empty = block.lines.is_empty() && block.refused.is_empty();
        ((!empty).then_some(block), used)
    }

    /// Lines, each with its end. Checked and copied by the piece; line by line only where a piece holds something odd.
    fn take(&mut self, mut lines: &[u8], block: &mut Block) {
        while !lines.is_empty() {
            let window = lines.get(..LINE_MAX + 1).unwrap_or(lines);
            let piece = match window.iter().rposition(|b| *b == b'\n') {
                Some(end) => end + 1,
                None => lines
                    .iter()
                    .position(|b| *b == b'\n')
                    .map_or(lines.len(), |i| i + 1),
            };
            let (piece, after) = lines.split_at(piece);
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            // `Lines` takes text of several lines if all together it is no longer than one may be.
            if !piece.contains(&b'\r') && text.len() <= LINE_MAX && block.lines.push(text).is_ok() {
                self.done += piece.iter().filter(|b| **b == b'\n').count() as u64;
            } else {
                for line in text.split(|b| *b == b'\n') {
                    self.line(line, block);
                }
            }
            lines = after;
        }
    }

    fn line(&mut self, line: &[u8], block: &mut Block) {
        self.done += 1;
        if let Err(error) = block.lines.push(line) {
            block.refused.push((self.done, error));
        }
    }
}

/// What the terminal was like before [`RawMode`].
static ORIGINAL: OnceLock<libc::termios> = OnceLock::new();
static RAW: AtomicBool = AtomicBool::new(false);

/// The terminal in raw mode, until this is dropped, [`restore`] is called, or the program panics.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Takes stdin's terminal into raw mode: every key comes at once, Ctrl-C included, and nothing is echoed.
    ///
    /// # Errors
    /// stdin is no terminal, or it refuses.
    pub fn enter() -> io::Result<RawMode> {
        let mut raw = tcgetattr(io::stdin())?;
        if ORIGINAL.set(raw.clone().into()).is_ok() {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                before(info);
            }));
        }
        make_raw(&mut raw);
        // Said before it is done: a signal in between then restores what needs none.
        RAW.store(true, Ordering::SeqCst);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &raw)?;
        Ok(RawMode(()))
    }
}

fn make_raw(modes: &mut Termios) {
    let output = modes.output_flags;
    cfmakeraw(modes);
    // A sentence that others write to the terminal still begins at the left.
    modes.output_flags = output;
}

/// Takes raw mode again, if it was taken and not given back: after a stop somebody else may have changed the modes.
pub fn resume() {
    if RAW.load(Ordering::SeqCst)
        && let Some(original) = ORIGINAL.get()
    {
        let mut raw = Termios::from(*original);
        make_raw(&mut raw);
        // A terminal that is gone ends the run by other ways.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &raw);
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back as it was. May be called at any time, from any thread, and more than once.
pub fn restore() {
    if RAW.swap(false, Ordering::SeqCst)
        && let Some(original) = ORIGINAL.get()
    {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &Termios::from(*original));
    }
}
