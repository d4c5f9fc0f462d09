//! One end of a connection on `control.sock`, with its buffers.
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;

use mio::event::Event;
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::shell::ipc::message::message::IpcMessage;
use crate::shell::ipc::message::response::{RESPONSE_BODY_MAX_BYTES, Response};

/// The most bytes to read from the socket at a time.
const READ_BYTES: usize = 64 * 1024;

/// A non-blocking socket with two buffers. The owner of the connection removes bytes from `input`,
/// appends bytes to `output`, and limits the size of both.
pub struct Connection {
    stream: UnixStream,
    /// Whether the socket may have bytes to read.
    pub is_readable: bool,
    /// Whether reading has ended, because the other side has closed or has sent malformed bytes.
    pub is_closed: bool,
    /// Received bytes that are not decoded yet.
    pub input: Vec<u8>,
    /// Bytes that are not written to the socket yet.
    pub output: Vec<u8>,
}

/// Whether the process at the other end belongs to this user (`SO_PEERCRED`, unix(7)).
pub fn is_same_user(stream: &impl AsFd) -> bool {
    getsockopt(stream, PeerCredentials)
        .is_ok_and(|other| other.uid() == nix::unistd::geteuid().as_raw())
}

impl Connection {
    /// Registers a connected socket with the poll.
    ///
    /// # Errors
    /// The system refuses to poll the socket.
    pub fn new(
        mut stream: UnixStream,
        registry: &Registry,
        token: Token,
    ) -> std::io::Result<Connection> {
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Connection {
            stream,
            is_readable: true,
            is_closed: false,
            input: Vec::new(),
            output: Vec::new(),
        })
    }

    /// Records whether the socket is readable. Writes as much output as the socket accepts.
    pub fn handle_event(&mut self, event: &Event) {
        self.is_readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.flush();
    }

    /// Reads from the socket once, at most 64 KiB, and appends the bytes to `input`.
    pub fn read(&mut self) {
        let old_length = self.input.len();
        self.input.resize(old_length + READ_BYTES, 0);
        let read = self.stream.read(&mut self.input[old_length..]);
        self.input
            .truncate(old_length + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => self.mark_closed(),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_readable = false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.mark_closed(),
        }
    }

    /// Takes the server's next response from `input`. `None`: the response is incomplete or
    /// malformed. A malformed response marks the connection as closed.
    pub fn next_response(&mut self) -> Option<Response> {
        let response = match IpcMessage::decode(&mut self.input, RESPONSE_BODY_MAX_BYTES) {
            Ok(None) => return None,
            Ok(Some(message)) => Response::decode(message),
            Err(_) => None,
        };
        if response.is_none() {
            self.mark_closed();
        }
        response
    }

    /// Ends the reading, because the other side has closed or has sent malformed bytes.
    pub fn mark_closed(&mut self) {
        (self.is_closed, self.is_readable) = (true, false);
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
                _ => written = self.output.len(),
            }
        }
        self.output.drain(..written);
    }
}
