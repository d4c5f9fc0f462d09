//! Reads a pipe at stdin in the event loop. A line then costs no change of threads.
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _};

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
    /// Whether a read may return bytes or the end. Only a read that would block says no: the poll
    /// reports neither the end of a FIFO without writers nor the rest of a pipe of packets.
    is_readable: bool,
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
            is_readable: true,
            has_ended: false,
        })
    }

    /// Handles a poll event of the pipe.
    pub fn handle_event(&mut self) {
        self.is_readable = true;
    }

    /// Whether [`StdinPipe::next_event`] may return an event now.
    pub fn has_event(&self) -> bool {
        self.is_readable
    }

    /// Reads until the pipe is empty, at most 60 KiB. Returns the lines that are complete now.
    pub fn next_event(&mut self) -> Option<StdinEvent> {
        if self.has_ended {
            return Some(StdinEvent::End);
        }
        let space = self.lines.space();
        let mut filled = 0;
        while self.is_readable
            && let Some(rest) = space.get_mut(filled..).filter(|rest| !rest.is_empty())
        {
            match (&self.pipe).read(rest) {
                Ok(0) if filled == 0 => {
                    self.has_ended = true;
                    let last = self.lines.complete(0).map(StdinEvent::Lines);
                    return last.or(Some(StdinEvent::End));
                }
                Ok(n) if n > 0 => filled += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_readable = false,
                Err(error) if filled == 0 => {
                    self.has_ended = true;
                    return Some(StdinEvent::Failed(error));
                }
                // The next call reads the end or the error again.
                Ok(_) | Err(_) => break,
            }
        }
        match filled {
            0 => None,
            n => self.lines.complete(n).map(StdinEvent::Lines),
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
