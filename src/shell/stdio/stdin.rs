//! stdin, as blocks of lines or as keys. The event loop reads a pipe itself. A thread reads all
//! else: a terminal, a file and a socket can block the loop.
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use crossbeam_channel::TryRecvError;
use mio::Registry;

use crate::base::lines::LineRules;
use crate::shell::os::poll::STDIN_TOKEN;
use crate::shell::stdio::stdin_event::StdinEvent;
use crate::shell::stdio::stdin_pipe::StdinPipe;
use crate::shell::stdio::stdin_thread::StdinThread;

/// The reader of stdin.
#[derive(Debug)]
pub enum Stdin {
    /// The event loop reads a pipe.
    Pipe(StdinPipe),
    /// A thread reads.
    Thread(StdinThread),
}

impl Stdin {
    /// Reads stdin as lines. `rules`: which lines are accepted. A thread calls `wake` after each
    /// event; a pipe is registered as [`STDIN_TOKEN`] instead.
    ///
    /// # Errors
    /// stdin cannot be duplicated, or the system does not start the thread.
    pub fn read_lines(
        rules: LineRules,
        registry: &Registry,
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<Stdin> {
        let file = duplicate_stdin()?;
        match StdinPipe::open(&file, rules, registry, STDIN_TOKEN) {
            Some(pipe) => Ok(Stdin::Pipe(pipe)),
            None => StdinThread::read_lines(file, rules, wake).map(Stdin::Thread),
        }
    }

    /// Reads keys from the terminal at stdin: see [`StdinThread::read_keys`].
    ///
    /// # Errors
    /// As [`Stdin::read_lines`].
    pub fn read_keys(wake: impl Fn() + Send + 'static) -> io::Result<Stdin> {
        StdinThread::read_keys(duplicate_stdin()?, wake).map(Stdin::Thread)
    }

    /// Handles a poll event of stdin.
    pub fn handle_event(&mut self) {
        if let Stdin::Pipe(pipe) = self {
            pipe.handle_event();
        }
    }

    /// Whether [`Stdin::next_event`] may return an event now.
    pub fn has_event(&self) -> bool {
        match self {
            Stdin::Pipe(pipe) => pipe.has_event(),
            Stdin::Thread(thread) => !thread.events.is_empty(),
        }
    }

    /// The next event; `None` if there is none yet.
    pub fn next_event(&mut self) -> Option<StdinEvent> {
        match self {
            Stdin::Pipe(pipe) => pipe.next_event(),
            Stdin::Thread(thread) => match thread.events.try_recv() {
                Ok(event) => Some(event),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => Some(StdinEvent::End),
            },
        }
    }

    /// Stops the reading. Returns whether lines may be lost: bytes of stdin that
    /// [`Stdin::next_event`] has not returned. For the wait, see [`StdinThread::stop`].
    pub fn stop(&self) -> bool {
        match self {
            Stdin::Pipe(pipe) => pipe.has_rest(),
            Stdin::Thread(thread) => thread.stop(),
        }
    }
}

/// Duplicates the descriptor of stdin. `io::stdin` would copy every byte through its buffer, and
/// another thread may hold the lock of that buffer.
fn duplicate_stdin() -> io::Result<File> {
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}
