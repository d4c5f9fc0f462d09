//! One end of a connection on `control.sock`, with its buffers. Carries JSON lines both ways.
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;

use mio::event::Event;
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::shell::session::event_sink::EventSink;
use crate::ui::json;
use crate::ui::session_event::SessionEvent;

/// The most bytes to read from the socket at a time.
const READ_BYTES: usize = 64 * 1024;
/// Threshold of unwritten output, in bytes. At this threshold the server executes no more requests,
/// and its transcript lags. A client passes no more requests on.
pub const OUTPUT_MAX_BYTES: usize = 64 * 1024;

/// A non-blocking socket with two buffers.
pub struct Connection {
    stream: UnixStream,
    /// Whether the socket may have bytes to read.
    is_readable: bool,
    /// Whether the other side sends no more.
    is_closed: bool,
    /// Whether the other side takes no more.
    is_broken: bool,
    /// Whether the rest of a line that is too long is skipped.
    is_skipping: bool,
    /// Received bytes. Those before `consumed` are processed.
    input: Vec<u8>,
    consumed: usize,
    /// Longest accepted line, in bytes.
    line_max_bytes: usize,
    /// Bytes that are not written to the socket yet.
    pub output: Vec<u8>,
    /// Whether the lines of a batch are one event.
    pub is_batch: bool,
}

/// A received line is longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineTooLong;

/// Whether the process at the other end belongs to this user (`SO_PEERCRED`, unix(7)).
pub fn is_same_user(stream: &impl AsFd) -> bool {
    getsockopt(stream, PeerCredentials)
        .is_ok_and(|other| other.uid() == nix::unistd::geteuid().as_raw())
}

impl Connection {
    /// Registers a connected socket with the poll. `line_max_bytes`: the longest accepted line.
    ///
    /// # Errors
    /// The system refuses to poll the socket.
    pub fn new(
        mut stream: UnixStream,
        registry: &Registry,
        token: Token,
        line_max_bytes: usize,
    ) -> std::io::Result<Connection> {
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Connection {
            stream,
            is_readable: true,
            is_closed: false,
            is_broken: false,
            is_skipping: false,
            input: Vec::new(),
            consumed: 0,
            line_max_bytes,
            output: Vec::new(),
            is_batch: false,
        })
    }

    /// Records what the socket is ready for.
    pub fn handle_event(&mut self, event: &Event) {
        self.is_readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.is_broken |= event.is_write_closed();
        self.flush();
    }

    /// Whether to read: the socket may have bytes, and the buffer has room.
    pub fn can_read(&self) -> bool {
        let buffered = self.input.len() - self.consumed;
        self.is_readable && !self.is_closed && buffered < self.line_max_bytes + READ_BYTES
    }

    /// Whether the other side sends no more.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether the other side takes no more.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Whether to call [`Connection::next_line`]. True for a whole line, and for a line that is too
    /// long. Also true for the rest of the input after the other side has closed.
    pub fn has_line(&self) -> bool {
        let rest = self.input.get(self.consumed..).unwrap_or_default();
        rest.contains(&b'\n')
            || rest.len() > self.line_max_bytes
            || self.is_closed && !rest.is_empty()
    }

    /// Reads from the socket once, at most 64 KiB.
    pub fn read(&mut self) {
        self.input.drain(..self.consumed);
        self.consumed = 0;
        let old_length = self.input.len();
        self.input.resize(old_length + READ_BYTES, 0);
        let read = self.stream.read(&mut self.input[old_length..]);
        self.input
            .truncate(old_length + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(n) if n > 0 => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_readable = false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(_) => self.is_closed = true,
            Err(_) => (self.is_closed, self.is_broken) = (true, true),
        }
    }

    /// Removes and returns the next received line, without its end. `None`: it is incomplete.
    ///
    /// # Errors
    /// The line is too long, and is skipped.
    pub fn next_line(&mut self) -> Option<Result<&[u8], LineTooLong>> {
        loop {
            let start = self.consumed;
            let rest = self.input.get(start..)?;
            let end = rest.iter().position(|byte| *byte == b'\n');
            let was_skipping = self.is_skipping;
            match end {
                Some(end) => {
                    self.consumed = start + end + 1;
                    self.is_skipping = false;
                    if !was_skipping {
                        return Some(Ok(self.input.get(start..start + end)?));
                    }
                }
                None if was_skipping => {
                    self.consumed = self.input.len();
                    return None;
                }
                None if rest.len() > self.line_max_bytes => {
                    self.consumed = self.input.len();
                    self.is_skipping = true;
                    return Some(Err(LineTooLong));
                }
                None if self.is_closed && !rest.is_empty() => {
                    self.consumed = self.input.len();
                    return Some(Ok(self.input.get(start..)?));
                }
                None => return None,
            }
        }
    }

    /// Writes as much of `output` as the socket accepts.
    pub fn flush(&mut self) {
        let mut written = 0;
        while written < self.output.len() {
            match self.stream.write(&self.output[written..]) {
                Ok(n) if n > 0 => written += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // Drop the output. The next read notices that the other side is gone.
                _ => {
                    written = self.output.len();
                    self.is_broken = true;
                }
            }
        }
        self.output.drain(..written);
    }
}

impl EventSink for Connection {
    fn can_answer(&self) -> bool {
        self.output.len() < OUTPUT_MAX_BYTES
    }

    fn can_accept(&self) -> bool {
        self.can_answer()
    }

    fn emit(&mut self, event: SessionEvent) {
        json::append_event(&event, self.is_batch, &mut self.output);
    }
}
