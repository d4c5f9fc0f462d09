//! One end of the local socket: what came in, and what waits to go out.
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;

use mio::event::Event;
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;

pub struct Connection {
    stream: UnixStream,
    /// Something may have come.
    pub is_readable: bool,
    /// Nothing more will come.
    pub is_closed: bool,
    pub input: Vec<u8>,
    pub output: Vec<u8>,
}

/// Is who is at the other end a process of this user?
pub fn is_same_user(stream: &impl AsFd) -> bool {
    getsockopt(stream, PeerCredentials)
        .is_ok_and(|other| other.uid() == nix::unistd::geteuid().as_raw())
}

impl Connection {
    /// # Errors
    /// The poll takes no more.
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

    pub fn handle_event(&mut self, event: &Event) {
        self.is_readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.flush();
    }

    /// Reads once.
    pub fn read(&mut self) {
        let at = self.input.len();
        self.input.resize(at + READ_BYTES, 0);
        let read = self.stream.read(&mut self.input[at..]);
        self.input.truncate(at + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => self.mark_closed(),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_readable = false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.mark_closed(),
        }
    }

    /// Nothing more is wanted from the other side.
    pub fn mark_closed(&mut self) {
        (self.is_closed, self.is_readable) = (true, false);
    }

    /// Writes what the socket takes.
    pub fn flush(&mut self) {
        let mut at = 0;
        while at < self.output.len() {
            match self.stream.write(&self.output[at..]) {
                Ok(n) if n > 0 => at += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // Reading finds out that the other side is gone.
                _ => at = self.output.len(),
            }
        }
        self.output.drain(..at);
    }
}
