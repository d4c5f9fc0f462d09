//! Reads a pipe at stdin in the event loop. A line then costs no change of threads.
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::base::lines::LineRules;
use crate::shell::os::pipe::{PipeEnd, reopen_nonblocking};
use crate::shell::stdio::line_splitter::LineBuffer;
use crate::shell::stdio::stdin_event::StdinEvent;

/// A pipe at stdin, registered with the poll.
#[derive(Debug)]
pub struct StdinPipe {
    /// The pipe, opened again as non-blocking.
    pipe: File,
    lines: LineBuffer,
    /// Whether a read may return bytes or the end.
    is_readable: bool,
    /// Nobody writes to the pipe any more. What it contains, and then its end, come without a
    /// further event.
    is_hung_up: bool,
    /// The end was read, or a read has failed.
    has_ended: bool,
}

impl StdinPipe {
    /// Opens the pipe `file` again, and registers it with the poll. `rules`: which lines are
    /// accepted. `None`: `file` is no pipe, or cannot be polled.
    pub fn open(
        file: &File,
        rules: LineRules,
        registry: &Registry,
        token: Token,
    ) -> Option<StdinPipe> {
        let pipe = reopen_nonblocking(file, PipeEnd::Read)?;
        registry
            .register(&mut SourceFd(&pipe.as_raw_fd()), token, Interest::READABLE)
            .ok()?;
        Some(StdinPipe {
            pipe,
            lines: LineBuffer::new(rules),
            is_readable: false,
            is_hung_up: false,
            has_ended: false,
        })
    }

    /// Handles a poll event of the pipe.
    pub fn handle_event(&mut self, event: &Event) {
        self.is_readable = true;
        self.is_hung_up |= event.is_read_closed();
    }

    /// Whether [`StdinPipe::next_event`] may return an event now.
    pub fn has_event(&self) -> bool {
        self.is_readable
    }

    /// Reads once, at most 64 KiB. Returns what the read completed.
    pub fn next_event(&mut self) -> Option<StdinEvent> {
        if self.has_ended {
            return Some(StdinEvent::End);
        }
        if !self.is_readable {
            return None;
        }
        let space = self.lines.space();
        let space_len = space.len();
        match (&self.pipe).read(space) {
            Ok(n) => {
                self.has_ended = n == 0;
                // A short read empties a pipe (epoll(7)). Later bytes are an event of their own.
                self.is_readable = n == 0 || n == space_len || self.is_hung_up;
                let lines = self.lines.complete(n).map(StdinEvent::Lines);
                lines.or_else(|| self.has_ended.then_some(StdinEvent::End))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.is_readable = false;
                None
            }
            // The next turn tries again.
            Err(error) if error.kind() == ErrorKind::Interrupted => None,
            Err(error) => {
                self.has_ended = true;
                Some(StdinEvent::Failed(error))
            }
        }
    }

    /// Whether stdin has bytes that [`StdinPipe::next_event`] has not returned. They stay in the
    /// pipe, except the beginning of a line.
    pub fn has_rest(&self) -> bool {
        let mut fds = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
        let is_readable = || {
            let polled = poll(&mut fds, PollTimeout::ZERO);
            let [fd] = fds;
            polled.is_ok()
                && fd
                    .revents()
                    .is_some_and(|found| found.contains(PollFlags::POLLIN))
        };
        self.lines.has_partial_line() || !self.has_ended && is_readable()
    }
}
