//! Reads stdin in a thread, as blocks of lines or as keys.
//!
//! A read may block forever, so nobody joins the thread at exit. The channel to the event loop is
//! bounded. When the loop takes no events, the thread stops reading. A program that writes to the
//! pipe must then wait.
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::base::lines::LineRules;
use crate::shell::os::thread;
use crate::shell::stdio::line_splitter::LineBuffer;
use crate::shell::stdio::stdin_event::StdinEvent;
use crate::ui::editor::keys::KeyDecoder;

/// Maximum number of bytes of one read of keys. A person seldom types or pastes more at a time.
const KEY_READ_MAX_BYTES: usize = 1024;
/// How many blocks of lines the channel to the event loop can contain.
const QUEUED_BLOCKS_MAX: usize = 2;
/// How many keys the channel to the event loop can contain.
const QUEUED_KEYS_MAX: usize = 256;
/// How long [`StdinThread::stop`] waits for a read that has begun.
const FINAL_READ_TIMEOUT: Duration = Duration::from_millis(100);
/// While [`StdinThread::stop`] waits for a read, it checks the state at this interval.
const FINAL_READ_POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Whether the stdin thread has bytes that it has not sent to the event loop yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum ReadState {
    /// The thread has sent all that it has read.
    Idle,
    /// A read has begun, or its lines are being sent.
    Reading,
    /// The thread has the beginning of a line and waits for the rest.
    PartialLine,
}

/// State that the stdin thread and the event loop share. The state tells [`StdinThread::stop`]
/// whether lines may be lost at the end of the run.
///
/// The thread sets `Reading`, then checks `is_stopped`. The loop sets `is_stopped`, then checks
/// `read_state`. So no read goes unnoticed. Either the thread sees `is_stopped` and reads nothing,
/// or the loop sees `Reading`.
#[derive(Debug, Default)]
struct SharedState {
    /// A [`ReadState`].
    read_state: AtomicU8,
    is_stopped: AtomicBool,
}

impl SharedState {
    fn read_state(&self) -> ReadState {
        match self.read_state.load(Ordering::SeqCst) {
            0 => ReadState::Idle,
            1 => ReadState::Reading,
            _ => ReadState::PartialLine,
        }
    }

    fn set_read_state(&self, state: ReadState) {
        self.read_state.store(state as u8, Ordering::SeqCst);
    }
}

/// The event loop's handle to the stdin thread.
#[derive(Debug)]
pub struct StdinThread {
    /// The events, in order.
    pub events: Receiver<StdinEvent>,
    shared: Arc<SharedState>,
}

impl StdinThread {
    /// Starts a thread that reads `file` as lines. `rules`: which lines are accepted. The thread
    /// calls `wake` after each event.
    ///
    /// # Errors
    /// The system does not start the thread.
    pub fn read_lines(
        file: File,
        rules: LineRules,
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<StdinThread> {
        let read = move |sender: &EventSender| run_line_reader(&file, rules, sender);
        StdinThread::spawn(QUEUED_BLOCKS_MAX, read, wake)
    }

    /// Starts a thread that reads keys from the terminal `file`. The terminal should be in raw
    /// mode: see [`RawMode`](crate::shell::stdio::terminal::RawMode). The thread calls `wake` after
    /// each event.
    ///
    /// # Errors
    /// The system does not start the thread.
    pub fn read_keys(file: File, wake: impl Fn() + Send + 'static) -> io::Result<StdinThread> {
        let read = move |sender: &EventSender| run_key_reader(&file, sender);
        StdinThread::spawn(QUEUED_KEYS_MAX, read, wake)
    }

    fn spawn(
        queue_len: usize,
        read: impl FnOnce(&EventSender) + Send + 'static,
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<StdinThread> {
        let (sender, events) = bounded(queue_len);
        let shared = Arc::<SharedState>::default();
        let sender = EventSender {
            sender,
            wake: Box::new(wake),
            shared: Arc::clone(&shared),
        };
        let work = move || {
            read(&sender);
            sender.shared.set_read_state(ReadState::Idle);
            sender.send(StdinEvent::End);
        };
        thread::spawn_helper("stdin", Box::new(work))?;
        Ok(StdinThread { events, shared })
    }

    /// Stops the reading. Returns whether lines may be lost, because the event loop has not
    /// received all bytes that the thread has read. Waits up to 100 ms for a read that has begun.
    /// If the read takes longer, returns true.
    pub fn stop(&self) -> bool {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + FINAL_READ_TIMEOUT;
        loop {
            // Load the state before reading the channel: lines that the thread sent earlier are
            // then in the channel.
            let state = self.shared.read_state();
            if self
                .events
                .try_iter()
                .any(|event| matches!(event, StdinEvent::Lines(_)))
            {
                return true;
            }
            if state != ReadState::Reading || Instant::now() >= deadline {
                return state != ReadState::Idle;
            }
            std::thread::sleep(FINAL_READ_POLL_INTERVAL);
        }
    }
}

/// The stdin thread's end of the channel.
struct EventSender {
    sender: Sender<StdinEvent>,
    wake: Box<dyn Fn() + Send>,
    shared: Arc<SharedState>,
}

impl EventSender {
    /// Sends an event, and waits while the channel is full. Returns false if the event loop no
    /// longer receives.
    fn send(&self, event: StdinEvent) -> bool {
        let is_sent = self.sender.send(event).is_ok();
        if is_sent {
            (self.wake)();
        }
        is_sent
    }
}

/// Waits for bytes and reads them. Returns the number of bytes. Returns 0 at the end of stdin,
/// after an error, or when the event loop has stopped the thread. Reports an error as an event.
///
/// The wait takes no bytes from stdin, so no bytes are lost if the thread is stopped during the
/// wait.
fn read_when_ready(mut file: &File, buffer: &mut [u8], sender: &EventSender) -> usize {
    let shared = &sender.shared;
    let state_before = shared.read_state();
    loop {
        let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        // Only EINTR repeats the wait. After other errors the read decides, because some files
        // cannot be polled.
        if poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {
            continue;
        }
        shared.set_read_state(ReadState::Reading);
        if shared.is_stopped.load(Ordering::SeqCst) {
            shared.set_read_state(state_before);
            return 0;
        }
        match file.read(buffer) {
            Ok(n) => return n,
            Err(error)
                if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) =>
            {
                shared.set_read_state(state_before);
            }
            Err(error) => {
                sender.send(StdinEvent::Failed(error));
                return 0;
            }
        }
    }
}

fn run_key_reader(file: &File, sender: &EventSender) {
    let mut decoder = KeyDecoder::default();
    let mut buffer = [0; KEY_READ_MAX_BYTES];
    let mut is_open = true;
    while is_open {
        let n = read_when_ready(file, &mut buffer, sender);
        if n == 0 {
            return;
        }
        decoder.feed(buffer.get(..n).unwrap_or_default(), |input| {
            is_open = is_open && sender.send(StdinEvent::Typed(input));
        });
        sender.shared.set_read_state(ReadState::Idle);
    }
}

fn run_line_reader(file: &File, rules: LineRules, sender: &EventSender) {
    let mut lines = LineBuffer::new(rules);
    loop {
        let n = read_when_ready(file, lines.space(), sender);
        if let Some(block) = lines.complete(n)
            && !sender.send(StdinEvent::Lines(block))
        {
            return;
        }
        if n == 0 {
            return;
        }
        sender
            .shared
            .set_read_state(match lines.has_partial_line() {
                true => ReadState::PartialLine,
                false => ReadState::Idle,
            });
    }
}
