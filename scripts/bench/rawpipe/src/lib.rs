//! One Noise link over TCP: what the programs of this crate share.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use snow::{Builder, TransportState};

const PATTERN: &str = "Noise_XX_25519_ChaChaPoly_BLAKE2s";
/// Longest plaintext of one Noise message in bytes: 65535 less the 16 of the tag.
const TEXT_MAX_BYTES: usize = 65_535 - 16;

/// The sealed bytes of a stream that are not opened yet.
pub struct Opener {
    sealed: Vec<u8>,
    filled: usize,
    text: Vec<u8>,
}

impl Default for Opener {
    fn default() -> Opener {
        Opener {
            sealed: vec![0; 1 << 17],
            filled: 0,
            text: vec![0; 1 << 17],
        }
    }
}

impl Opener {
    /// Reads once from the stream, and opens all whole messages. `None`: the stream has ended.
    ///
    /// # Errors
    /// The stream fails, or a message is not authentic.
    pub fn read(
        &mut self,
        stream: &mut TcpStream,
        cipher: &mut TransportState,
    ) -> io::Result<Option<&[u8]>> {
        let length = stream.read(&mut self.sealed[self.filled..])?;
        if length == 0 {
            return Ok(None);
        }
        self.filled += length;
        let (mut at, mut opened) = (0, 0);
        while self.filled - at >= 2 {
            let size = usize::from(u16::from_be_bytes([self.sealed[at], self.sealed[at + 1]]));
            if self.filled - at < 2 + size {
                break;
            }
            let message = &self.sealed[at + 2..at + 2 + size];
            opened += cipher
                .read_message(message, &mut self.text[opened..])
                .map_err(io::Error::other)?;
            at += 2 + size;
        }
        self.sealed.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(Some(&self.text[..opened]))
    }
}

/// Connects as soon as somebody listens there.
///
/// # Errors
/// The stream fails during the handshake.
pub fn connect(address: &str) -> io::Result<(TcpStream, TransportState)> {
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    };
    stream.set_nodelay(true)?;
    let cipher = handshake(&mut stream, true)?;
    Ok((stream, cipher))
}

/// Appends the text as sealed messages.
///
/// # Errors
/// The cipher is exhausted.
pub fn seal(cipher: &mut TransportState, text: &[u8], sealed: &mut Vec<u8>) -> io::Result<()> {
    for part in text.chunks(TEXT_MAX_BYTES) {
        let at = sealed.len();
        sealed.resize(at + 2 + part.len() + 16, 0);
        let size = cipher
            .write_message(part, &mut sealed[at + 2..])
            .map_err(io::Error::other)?;
        sealed[at..at + 2].copy_from_slice(&(size as u16).to_be_bytes());
    }
    Ok(())
}

/// The handshake of a new link.
///
/// # Errors
/// The stream fails, or the other side speaks something else.
pub fn handshake(stream: &mut TcpStream, initiator: bool) -> io::Result<TransportState> {
    let builder = || PATTERN.parse().map(Builder::new).map_err(io::Error::other);
    let keys = builder()?.generate_keypair().map_err(io::Error::other)?;
    let builder = builder()?
        .local_private_key(&keys.private)
        .map_err(io::Error::other)?;
    let state = if initiator {
        builder.build_initiator()
    } else {
        builder.build_responder()
    };
    let mut state = state.map_err(io::Error::other)?;
    let mut message = [0; 1024];
    let mut payload = [0; 1024];
    while !state.is_handshake_finished() {
        if state.is_my_turn() {
            let size = state
                .write_message(&[], &mut message)
                .map_err(io::Error::other)?;
            stream.write_all(&(size as u16).to_be_bytes())?;
            stream.write_all(&message[..size])?;
        } else {
            let mut size = [0; 2];
            stream.read_exact(&mut size)?;
            let size = usize::from(u16::from_be_bytes(size));
            let bytes = message
                .get_mut(..size)
                .ok_or_else(|| io::Error::other("a handshake message too long"))?;
            stream.read_exact(bytes)?;
            state
                .read_message(bytes, &mut payload)
                .map_err(io::Error::other)?;
        }
    }
    state.into_transport_mode().map_err(io::Error::other)
}
