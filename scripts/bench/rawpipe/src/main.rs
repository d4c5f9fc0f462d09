//! The raw limit: stdin, one Noise link over TCP, stdout. No discovery, no signatures, no store,
//! no rooms.
//!
//! `rawpipe send ADDR PEERS` listens, prints `ready` on stderr when PEERS are connected, and
//! sends its stdin to them. `rawpipe recv ADDR` connects, prints `ready` on stderr, and prints
//! what it receives. Each read becomes one write.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use snow::{Builder, TransportState};

const PATTERN: &str = "Noise_XX_25519_ChaChaPoly_BLAKE2s";
/// Longest plaintext of one Noise message in bytes: 65535 less the 16 of the tag.
const TEXT_MAX_BYTES: usize = 65_535 - 16;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["send", address, peers] => match peers.parse() {
            Ok(peers) => send(address, peers),
            Err(_) => Err(io::Error::other("PEERS must be a number")),
        },
        ["recv", address] => receive(address),
        _ => Err(io::Error::other(
            "usage: rawpipe send ADDR PEERS | rawpipe recv ADDR",
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rawpipe: {error}");
            ExitCode::FAILURE
        }
    }
}

fn send(address: &str, peers: usize) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    let mut links = Vec::new();
    for _ in 0..peers {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let cipher = handshake(&mut stream, false)?;
        links.push((stream, cipher));
    }
    eprintln!("ready");
    // A file, because std's Stdin has a buffer and a lock.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut text = vec![0; 65_536];
    let mut sealed = Vec::with_capacity(1 << 17);
    loop {
        let length = input.read(&mut text)?;
        if length == 0 {
            return Ok(());
        }
        for (stream, cipher) in &mut links {
            sealed.clear();
            for part in text[..length].chunks(TEXT_MAX_BYTES) {
                seal(cipher, part, &mut sealed)?;
            }
            stream.write_all(&sealed)?;
        }
    }
}

fn receive(address: &str) -> io::Result<()> {
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    };
    stream.set_nodelay(true)?;
    let mut cipher = handshake(&mut stream, true)?;
    eprintln!("ready");
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut sealed = vec![0; 1 << 17];
    let mut text = vec![0; 1 << 17];
    let mut filled = 0;
    loop {
        let length = stream.read(&mut sealed[filled..])?;
        if length == 0 {
            return Ok(());
        }
        filled += length;
        let (mut at, mut opened) = (0, 0);
        while filled - at >= 2 {
            let size = usize::from(u16::from_be_bytes([sealed[at], sealed[at + 1]]));
            if filled - at < 2 + size {
                break;
            }
            let message = &sealed[at + 2..at + 2 + size];
            opened += cipher
                .read_message(message, &mut text[opened..])
                .map_err(io::Error::other)?;
            at += 2 + size;
        }
        output.write_all(&text[..opened])?;
        sealed.copy_within(at..filled, 0);
        filled -= at;
    }
}

fn seal(cipher: &mut TransportState, text: &[u8], sealed: &mut Vec<u8>) -> io::Result<()> {
    let at = sealed.len();
    sealed.resize(at + 2 + text.len() + 16, 0);
    let size = cipher
        .write_message(text, &mut sealed[at + 2..])
        .map_err(io::Error::other)?;
    sealed[at..at + 2].copy_from_slice(&(size as u16).to_be_bytes());
    Ok(())
}

fn handshake(stream: &mut TcpStream, initiator: bool) -> io::Result<TransportState> {
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
