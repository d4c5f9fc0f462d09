//! The raw limit: stdin, one Noise link over TCP, stdout. No discovery, no signatures, no store,
//! no rooms.
//!
//! `rawpipe send ADDR PEERS` listens, prints `ready` on stderr when PEERS are connected, and
//! sends its stdin to them. `rawpipe recv ADDR` connects, prints `ready` on stderr, and prints
//! what it receives. Each read becomes one write.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::process::ExitCode;

use rawpipe::{Opener, connect, handshake, seal};

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
            seal(cipher, &text[..length], &mut sealed)?;
            stream.write_all(&sealed)?;
        }
    }
}

fn receive(address: &str) -> io::Result<()> {
    let (mut stream, mut cipher) = connect(address)?;
    eprintln!("ready");
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut opener = Opener::default();
    while let Some(text) = opener.read(&mut stream, &mut cipher)? {
        output.write_all(text)?;
    }
    Ok(())
}
