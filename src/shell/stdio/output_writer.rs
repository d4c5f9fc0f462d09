//! A bounded queue and a writer thread for stdout or stderr. The event loop never waits for a
//! reader.
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;

use crate::shell::os::pipe::{PipeEnd, reopen_nonblocking};
use crate::shell::os::thread;

/// The queue is full once it contains this many bytes. A queue that is not full accepts a chunk of
/// any size, so the last chunk may exceed this limit. What a pour brings while the writer thread
/// waits for a processor should fit: else its lines are read back from the store. With half of
/// this, a third of them was.
const QUEUE_MAX_BYTES: usize = 512 * 1024;
/// Two waiting chunks are joined if their total size is at most this. This saves writes.
const COALESCE_MAX_BYTES: usize = 16 * 1024;
/// A pipe takes a write of at most this size whole or not at all (pipe(7)), in bytes.
const ATOMIC_WRITE_BYTES: usize = libc::PIPE_BUF;
/// Size of one write to a blocking descriptor, in bytes, as long as no write has been slow. Then
/// writes are of [`ATOMIC_WRITE_BYTES`], so that the written bytes grow even while the reader is
/// slow.
const WRITE_PIECE_BYTES: usize = 16 * 1024;
/// A write is slow if it takes longer than this.
const SLOW_WRITE_MIN: Duration = Duration::from_millis(50);
/// How many emptied buffers are kept for reuse.
const SPARE_BUFFERS_MAX: usize = 2;
/// Buffers with a larger capacity are not kept for reuse.
const SPARE_BUFFER_MAX_BYTES: usize = 256 * 1024;

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Vec<u8>>,
    /// Bytes in `waiting` and in the chunk that is being written.
    queued_bytes: usize,
    is_writing: bool,
    /// Whether a chunk was refused. The writer thread must then call `wake` when the queue has
    /// room.
    has_refused: bool,
    error: Option<io::Error>,
    spare_buffers: Vec<Vec<u8>>,
}

struct WriterShared {
    /// The output. A pipe is opened again as non-blocking.
    output: File,
    state: Mutex<QueueState>,
    /// How many bytes are written, including parts of a chunk.
    written: AtomicU64,
    /// Notified when a chunk is queued.
    work: Condvar,
    /// Notified when all chunks are written, and when writing fails.
    idle: Condvar,
}

impl WriterShared {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes chunks in order. No method waits for the reader, except [`OutputWriter::flush`].
pub struct OutputWriter {
    shared: Arc<WriterShared>,
    /// Whether writes to the output never wait. What the output takes at once is then written
    /// directly, without waking the thread.
    is_nonblocking: bool,
}

impl OutputWriter {
    /// A writer to stdout. The writer thread calls `wake` when the queue has room again after a
    /// refusal, when it has written all chunks, and when writing fails. What is written at once
    /// wakes nobody.
    ///
    /// # Errors
    /// stdout cannot be duplicated, or the system does not start the thread.
    pub fn for_stdout(wake: impl Fn() + Send + 'static) -> io::Result<OutputWriter> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        OutputWriter::with_file(file, wake)
    }

    /// Creates a writer to any file. For `wake`, see [`OutputWriter::for_stdout`].
    ///
    /// # Errors
    /// The system does not start the thread.
    pub fn with_file(file: File, wake: impl Fn() + Send + 'static) -> io::Result<OutputWriter> {
        let pipe = reopen_nonblocking(&file, PipeEnd::Write);
        let is_nonblocking = pipe.is_some();
        let shared = Arc::new(WriterShared {
            output: pipe.unwrap_or(file),
            state: Mutex::default(),
            written: AtomicU64::new(0),
            work: Condvar::new(),
            idle: Condvar::new(),
        });
        // A non-blocking pipe takes what it has room for, and thus tells how much it has taken.
        let piece_len = match is_nonblocking {
            true => usize::MAX,
            false => WRITE_PIECE_BYTES,
        };
        let thread_shared = Arc::clone(&shared);
        thread::spawn_helper(
            "output",
            Box::new(move || run_writer(&thread_shared, piece_len, wake)),
        )?;
        Ok(OutputWriter {
            shared,
            is_nonblocking,
        })
    }

    /// An empty buffer for the next chunk. Reuses an old buffer if possible.
    pub fn take_buffer(&self) -> Vec<u8> {
        self.shared.lock().spare_buffers.pop().unwrap_or_default()
    }

    /// Whether the queue accepts one more chunk. If the queue is full, the writer thread calls
    /// `wake` when there is room.
    pub fn can_accept(&self) -> bool {
        let mut state = self.shared.lock();
        let can_accept = state.can_accept();
        state.has_refused |= !can_accept;
        can_accept
    }

    /// Queues a chunk.
    ///
    /// # Errors
    /// Returns the chunk if there is no room (see [`OutputWriter::can_accept`]), or if writing has
    /// failed.
    pub fn try_send(&self, mut bytes: Vec<u8>) -> Result<(), Vec<u8>> {
        let mut state = self.shared.lock();
        if !state.can_accept() {
            state.has_refused = true;
            return Err(bytes);
        }
        if self.is_nonblocking && state.is_idle() {
            bytes.drain(..self.write_available(&bytes));
            if bytes.is_empty() {
                state.recycle(bytes);
                return Ok(());
            }
        }
        state.queued_bytes += bytes.len();
        match state.waiting.back_mut() {
            Some(last) if last.len() + bytes.len() <= COALESCE_MAX_BYTES => {
                last.extend_from_slice(&bytes);
                state.recycle(bytes);
            }
            _ => state.waiting.push_back(bytes),
        }
        drop(state);
        self.shared.work.notify_one();
        Ok(())
    }

    /// Writes what the output takes without waiting. Returns the number of bytes written. After an
    /// error this is 0: the thread then writes the chunk, gets the same error and handles it.
    fn write_available(&self, bytes: &[u8]) -> usize {
        let written = (&self.shared.output).write(bytes).unwrap_or(0);
        let total = &self.shared.written;
        total.fetch_add(written as u64, Ordering::Relaxed);
        written
    }

    /// Whether no chunk is waiting or being written.
    pub fn is_idle(&self) -> bool {
        self.shared.lock().is_idle()
    }

    /// How many bytes are written, including parts of a chunk. While this number grows, the reader
    /// still reads.
    pub fn written_bytes(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// The error that ended the writing; `None` if no write has failed. `BrokenPipe` means that the
    /// reader is gone. After a failure the waiting chunks are dropped.
    pub fn error(&self) -> Option<io::Error> {
        self.shared.lock().error.as_ref().map(copy_error)
    }

    /// Waits until all chunks are written, but not longer than `timeout`. Returns whether all
    /// chunks are written.
    pub fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.lock();
        loop {
            if state.error.is_some() {
                return false;
            }
            if state.is_idle() {
                return true;
            }
            let remaining = deadline.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return false;
            }
            state = match self.shared.idle.wait_timeout(state, remaining) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

/// A copy with the same number, so that it has the same text.
fn copy_error(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => error.kind().into(),
    }
}

/// Writes all bytes, and waits for the reader. Also waits if another program has made the
/// descriptor non-blocking, where std's `write_all` fails.
///
/// # Errors
/// A write fails.
pub fn write_all(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let mut piece_len = bytes.len();
    write_in_pieces(fd, bytes, &mut piece_len, &AtomicU64::new(0))
}

impl QueueState {
    fn can_accept(&self) -> bool {
        self.queued_bytes < QUEUE_MAX_BYTES && self.error.is_none()
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.is_writing
    }

    fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare_buffers.len() < SPARE_BUFFERS_MAX
            && (1..=SPARE_BUFFER_MAX_BYTES).contains(&buffer.capacity())
        {
            buffer.clear();
            self.spare_buffers.push(buffer);
        }
    }
}

/// The body of the writer thread. Writes one chunk after the other, until writing fails.
fn run_writer(shared: &WriterShared, mut piece_len: usize, wake: impl Fn()) {
    loop {
        let mut state = shared.lock();
        let chunk = loop {
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
        let result = write_in_pieces(
            shared.output.as_fd(),
            &chunk,
            &mut piece_len,
            &shared.written,
        );
        let mut state = shared.lock();
        state.is_writing = false;
        match result {
            Ok(()) => {
                state.queued_bytes = state.queued_bytes.saturating_sub(chunk.len());
                state.recycle(chunk);
            }
            Err(error) => {
                state.error = Some(error);
                state.waiting.clear();
                state.queued_bytes = 0;
            }
        }
        let has_failed = state.error.is_some();
        // Wake the loop when half of the queue is free, so that it can send more than one chunk.
        let has_room_again = state.has_refused && state.queued_bytes <= QUEUE_MAX_BYTES / 2;
        if has_room_again {
            state.has_refused = false;
        }
        let is_idle = state.waiting.is_empty();
        if is_idle {
            shared.idle.notify_all();
        }
        drop(state);
        if has_room_again || has_failed || is_idle {
            wake();
        }
        if has_failed {
            return;
        }
    }
}

/// Writes bytes in pieces of at most `piece_len` bytes. Adds each written piece to `total`. After a
/// slow write, makes `piece_len` small. If the descriptor is non-blocking, waits until it accepts
/// bytes.
fn write_in_pieces(
    fd: BorrowedFd<'_>,
    mut bytes: &[u8],
    piece_len: &mut usize,
    total: &AtomicU64,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let start = Instant::now();
        let piece = bytes.get(..*piece_len).unwrap_or(bytes);
        let written = write(fd, piece).map_err(io::Error::from);
        if start.elapsed() > SLOW_WRITE_MIN {
            *piece_len = ATOMIC_WRITE_BYTES;
        }
        match written {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => {
                total.fetch_add(n as u64, Ordering::Relaxed);
                bytes = bytes.get(n..).unwrap_or_default();
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
                // If a signal interrupts the poll, the next write decides whether to wait again.
                let _ = poll(&mut fds, PollTimeout::NONE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
