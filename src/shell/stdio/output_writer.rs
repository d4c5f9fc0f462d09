//! The output thread: what stdout does not take at once waits here, never in the loop.
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::shell::os::thread;

/// Bytes that may wait. The chunk that crosses the bound is still taken, so that one of any size can pass.
const QUEUE_MAX_BYTES: usize = 256 * 1024;
/// Up to this many bytes are added to the chunk that waits last: one write instead of many.
const COALESCE_MAX_BYTES: usize = 16 * 1024;
/// A pipe takes so many bytes whole or not at all.
const ATOMIC_WRITE_BYTES: usize = libc::PIPE_BUF;
/// Written at a time, in bytes, as long as no write took longer than `SLOW`.
const WRITE_PIECE_BYTES: usize = 16 * 1024;
const SLOW_WRITE_MIN: Duration = Duration::from_millis(50);
/// Emptied buffers kept for use again, and the largest such.
const SPARE_BUFFERS_MAX: usize = 2;
const SPARE_BUFFER_MAX_BYTES: usize = 256 * 1024;

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<(Vec<u8>, u64)>,
    /// Bytes in `waiting`, and in the chunk that is being written.
    bytes: usize,
    is_writing: bool,
    written_token: u64,
    /// Somebody was told that there is no room.
    has_refused: bool,
    error: Option<ErrorKind>,
    spares: Vec<Vec<u8>>,
}

struct WriterShared {
    state: Mutex<QueueState>,
    /// Bytes that the thread has written.
    written_bytes: AtomicU64,
    /// There is something to write.
    work: Condvar,
    /// Everything is written, or never will be.
    idle: Condvar,
}

impl WriterShared {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bounded queue in front of stdout. No call but [`Printer::finish`] waits for it.
pub struct OutputWriter {
    shared: Arc<WriterShared>,
    /// The same pipe once more, with a non-blocking mode of its own: a short chunk goes out without waking the thread.
    direct: Option<File>,
}

impl OutputWriter {
    /// Prints to stdout. `wake` is called, from the output thread, when there is room again after a refusal, when all it was
    /// given is written, and when stdout broke.
    ///
    /// # Errors
    /// stdout cannot be duplicated, or no thread can be had.
    pub fn for_stdout(wake: impl Fn() + Send + 'static) -> io::Result<OutputWriter> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        OutputWriter::with_file(file, wake)
    }

    /// Prints to any file as [`Printer::stdout`] does.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn with_file(file: File, wake: impl Fn() + Send + 'static) -> io::Result<OutputWriter> {
        let shared = Arc::new(WriterShared {
            state: Mutex::default(),
            written_bytes: AtomicU64::new(0),
            work: Condvar::new(),
            idle: Condvar::new(),
        });
        let direct = reopen_nonblocking(&file);
        let theirs = Arc::clone(&shared);
        thread::spawn_helper(
            "printer",
            Box::new(move || run_writer(&file, &theirs, wake)),
        )?;
        Ok(OutputWriter { shared, direct })
    }

    /// An empty buffer to fill and send, perhaps one that was sent before.
    pub fn take_buffer(&self) -> Vec<u8> {
        self.shared.lock().spares.pop().unwrap_or_default()
    }

    /// Is there room for one more chunk? If not, `wake` will be called when there is.
    pub fn can_accept(&self) -> bool {
        let mut state = self.shared.lock();
        let room = state.can_accept();
        state.has_refused |= !room;
        room
    }

    /// Hands a chunk on. `token`: [`Printer::printed`] will be this once all of it is written; tokens go upwards.
    ///
    /// # Errors
    /// The chunk itself: there is no room (then as [`Printer::room`]), or stdout is broken.
    pub fn try_send(&self, chunk: Vec<u8>, token: u64) -> Result<(), Vec<u8>> {
        let mut state = self.shared.lock();
        if !state.can_accept() {
            state.has_refused = true;
            return Err(chunk);
        }
        if state.is_idle() && chunk.len() <= ATOMIC_WRITE_BYTES && self.try_write_direct(&chunk) {
            state.written_token = token;
            state.recycle(chunk);
            return Ok(());
        }
        state.bytes += chunk.len();
        match state.waiting.back_mut() {
            Some((last, last_token)) if last.len() + chunk.len() <= COALESCE_MAX_BYTES => {
                last.extend_from_slice(&chunk);
                *last_token = token;
                state.recycle(chunk);
            }
            _ => state.waiting.push_back((chunk, token)),
        }
        drop(state);
        self.shared.work.notify_one();
        Ok(())
    }

    fn try_write_direct(&self, chunk: &[u8]) -> bool {
        // An error is the thread's to find again: it knows what to do about it.
        let wrote = self.direct.as_ref().map(|mut pipe| pipe.write(chunk));
        matches!(wrote, Some(Ok(n)) if n == chunk.len())
    }

    /// The token of the last chunk that is written whole.
    pub fn written_token(&self) -> u64 {
        self.shared.lock().written_token
    }

    /// Is all written that was handed on?
    pub fn is_idle(&self) -> bool {
        self.shared.lock().is_idle()
    }

    /// Changes as long as the reader takes what waits here, be it a part of a chunk.
    pub fn written_bytes(&self) -> u64 {
        self.shared.written_bytes.load(Ordering::Relaxed)
    }

    /// Why nothing more can be printed; `BrokenPipe`: the reader is gone. What waited then is dropped, unprinted.
    pub fn error(&self) -> Option<ErrorKind> {
        self.shared.lock().error
    }

    /// Waits until all is written. False: stdout broke, or `patience` ran out first.
    pub fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.shared.lock();
        loop {
            if state.error.is_some() {
                return false;
            }
            if state.is_idle() {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = match self.shared.idle.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

impl QueueState {
    fn can_accept(&self) -> bool {
        self.bytes < QUEUE_MAX_BYTES && self.error.is_none()
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.is_writing
    }

    fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spares.len() < SPARE_BUFFERS_MAX
            && (1..=SPARE_BUFFER_MAX_BYTES).contains(&buffer.capacity())
        {
            buffer.clear();
            self.spares.push(buffer);
        }
    }
}

/// Opening a pipe anew makes a description of its own, so that non-blocking mode does not reach those who share ours. Nothing but a pipe: a file
/// would begin at its start again.
fn reopen_nonblocking(file: &File) -> Option<File> {
    if !file.metadata().ok()?.file_type().is_fifo() {
        return None;
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(libc::O_NONBLOCK);
    options.open(path).ok()
}

/// The thread: one chunk after the other, until stdout breaks.
fn run_writer(file: &File, shared: &WriterShared, wake: impl Fn()) {
    let mut piece = WRITE_PIECE_BYTES;
    loop {
        let mut state = shared.lock();
        let (chunk, token) = loop {
            match state.waiting.pop_front() {
                Some(next) => break next,
                None => {
                    state = shared
                        .work
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        state.is_writing = true;
        drop(state);
        let result = write_in_pieces(file, &chunk, &mut piece, &shared.written_bytes);
        let mut state = shared.lock();
        state.is_writing = false;
        match result {
            Ok(()) => {
                state.bytes = state.bytes.saturating_sub(chunk.len());
                state.written_token = token;
                state.recycle(chunk);
            }
            Err(error) => {
                state.error = Some(error.kind());
                state.waiting.clear();
                state.bytes = 0;
            }
        }
        let broken = state.error.is_some();
        let roomy = state.has_refused && state.bytes <= QUEUE_MAX_BYTES / 2;
        if roomy {
            state.has_refused = false;
        }
        let idle = state.waiting.is_empty();
        if idle {
            shared.idle.notify_all();
        }
        drop(state);
        if roomy || broken || idle {
            wake();
        }
        if broken {
            return;
        }
    }
}

/// In pieces, small ones once the reader was slow, so that it shows that it reads. A descriptor that somebody made non-blocking is waited for.
fn write_in_pieces(
    mut file: &File,
    mut bytes: &[u8],
    piece: &mut usize,
    written: &AtomicU64,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let begun = Instant::now();
        let done = file.write(bytes.get(..*piece).unwrap_or(bytes));
        if begun.elapsed() > SLOW_WRITE_MIN {
            *piece = ATOMIC_WRITE_BYTES;
        }
        match done {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = bytes.get(n..).unwrap_or_default();
                written.fetch_add(n as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
                // An interrupted wait is only a wait that was shorter.
                let _ = poll(&mut fds, PollTimeout::NONE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
