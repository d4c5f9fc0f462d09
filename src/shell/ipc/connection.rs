//! One end of the local socket: what came in, and what waits to go out.
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;

use mio::event::Event;
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;

pub struct Pipe {
    stream: UnixStream,
    /// Something may have come.
    pub readable: bool,
    /// Nothing more will come.
    pub ended: bool,
    pub input: Vec<u8>,
    pub output: Vec<u8>,
}

/// Is who is at the other end a process of this user?
pub fn is_own(stream: &impl AsFd) -> bool {
    getsockopt(stream, PeerCredentials)
        .is_ok_and(|other| other.uid() == nix::unistd::geteuid().as_raw())
}

impl Pipe {
    /// # Errors
    /// The poll takes no more.
    pub fn new(mut stream: UnixStream, registry: &Registry, token: Token) -> std::io::Result<Pipe> {
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Pipe {
            stream,
            readable: true,
            ended: false,
            input: Vec::new(),
            output: Vec::new(),
        })
    }

    pub fn event(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.flush();
    }

    /// Reads once.
    pub fn read(&mut self) {
        let at = self.input.len();
        self.input.resize(at + READ_BYTES, 0);
        let read = self.stream.read(&mut self.input[at..]);
        self.input.truncate(at + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => self.end(),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.end(),
        }
    }

    /// Nothing more is wanted from the other side.
    pub fn end(&mut self) {
        (self.ended, self.readable) = (true, false);
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
