//! The yardstick: the work that p2pchat does for a line, as bare blocking code, and nothing else.
//! No discovery, no rooms, one peer, no bounds, no second log.
//!
//! stdin, JSON batch, SHA-256, Ed25519, file, Noise, TCP; and back: Noise, find the fields,
//! SHA-256, Ed25519, file, stdout. The receiver sends a receipt at most every 5 ms.
//!
//! `yard send ADDR FILE` listens, and prints `ready` on stderr when a receiver is connected.
//! `yard recv ADDR FILE` connects, and prints `ready`. Each read of stdin becomes one batch.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use rawpipe::{Opener, connect, handshake, seal};
use sha2::{Digest, Sha256};

/// The key of the one author.
const SEED: [u8; 32] = [7; 32];
const RECEIPT_INTERVAL: Duration = Duration::from_millis(5);
/// As long as p2pchat's receipt.
const RECEIPT: [u8; 250] = [b'h'; 250];
const CONTENT_FIELD: &[u8] = b",\"content\":[";
/// What follows the content, up to the signature, whose base64 is followed by `"}`.
const SIGNATURE_FIELD: &[u8] = b"],\"signature\":\"";
const SIGNATURE_CHARS: usize = 86;
const PREFIX: &[u8] = b"2026-11-27T00:00:00.000Z #general s~abcd: ";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["send", address, file] => send(address, file),
        ["recv", address, file] => receive(address, file),
        _ => Err(io::Error::other("usage: yard send|recv ADDR FILE")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("yard: {error}");
            ExitCode::FAILURE
        }
    }
}

fn open_store(file: &str) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(file)
}

/// The hash of a batch: of its header, and of the hash of its content.
fn hash(header: &[u8], content: &[u8]) -> [u8; 32] {
    let content = Sha256::digest(content);
    let mut hasher = Sha256::new();
    hasher.update(header);
    hasher.update(content);
    hasher.finalize().into()
}

fn send(address: &str, file: &str) -> io::Result<()> {
    let (mut stream, _) = TcpListener::bind(address)?.accept()?;
    stream.set_nodelay(true)?;
    let mut cipher = handshake(&mut stream, false)?;
    eprintln!("ready");
    let key = SigningKey::from_bytes(&SEED);
    let mut store = open_store(file)?;
    stream.set_nonblocking(true)?;
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut text = vec![0; 1 << 17];
    let (mut filled, mut sequence, mut previous) = (0, 1, [0; 32]);
    let (mut batch, mut sealed) = (Vec::new(), Vec::new());
    loop {
        let length = input.read(&mut text[filled..filled + (1 << 16)])?;
        if length == 0 {
            break;
        }
        filled += length;
        let Some(end) = text[..filled].iter().rposition(|byte| *byte == b'\n') else {
            continue;
        };
        // The length of the batch, for the receiver.
        batch.clear();
        batch.extend_from_slice(&[0; 4]);
        write!(
            batch,
            "{{\"type\":\"chat\",\"sender\":\"{0}\",\"username\":\"s\",\"target\":\"#general\",\
             \"incarnation\":\"0123456789abcdef\",\"sequence\":{sequence},\"lamport\":{sequence},\
             \"timestamp\":\"2026-11-27T00:00:00.000Z\",\"previous\":\"{1}\"",
            "a".repeat(52),
            HEXLOWER.encode(&previous),
        )?;
        let header_end = batch.len();
        batch.extend_from_slice(CONTENT_FIELD);
        for line in text[..end].split(|byte| *byte == b'\n') {
            batch.push(b'"');
            batch.extend_from_slice(line);
            batch.extend_from_slice(b"\",");
            sequence += 1;
        }
        batch.pop();
        previous = hash(
            &batch[4..header_end],
            &batch[header_end + CONTENT_FIELD.len()..],
        );
        batch.extend_from_slice(SIGNATURE_FIELD);
        let signature = key.sign(&previous).to_bytes();
        batch.extend_from_slice(BASE64URL_NOPAD.encode(&signature).as_bytes());
        batch.extend_from_slice(b"\"}\n");
        let length = batch.len() as u32 - 4;
        batch[..4].copy_from_slice(&length.to_be_bytes());
        store.write_all(&batch[4..])?;
        sealed.clear();
        seal(&mut cipher, &batch, &mut sealed)?;
        write_all(&mut stream, &sealed)?;
        text.copy_within(end + 1..filled, 0);
        filled -= end + 1;
    }
    stream.set_nonblocking(false)?;
    stream.shutdown(Shutdown::Write)?;
    while stream.read(&mut [0; 4096])? > 0 {}
    Ok(())
}

/// Writes everything, and reads receipts meanwhile.
fn write_all(stream: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let _ = stream.read(&mut [0; 4096]);
                thread::yield_now();
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn receive(address: &str, file: &str) -> io::Result<()> {
    let (mut stream, mut cipher) = connect(address)?;
    eprintln!("ready");
    let key = SigningKey::from_bytes(&SEED).verifying_key();
    let mut store = open_store(file)?;
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut opener = Opener::default();
    let (mut batches, mut printed) = (Vec::new(), Vec::new());
    let mut receipt_at = Instant::now();
    while let Some(text) = opener.read(&mut stream, &mut cipher)? {
        batches.extend_from_slice(text);
        printed.clear();
        let mut rest = &batches[..];
        while let Some((length, after)) = rest.split_first_chunk() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some(batch) = after.get(..length) else {
                break;
            };
            append_lines(batch, &key, &mut printed)?;
            store.write_all(batch)?;
            rest = &after[length..];
        }
        let done = batches.len() - rest.len();
        batches.drain(..done);
        output.write_all(&printed)?;
        if receipt_at.elapsed() >= RECEIPT_INTERVAL {
            receipt_at = Instant::now();
            let mut sealed = Vec::new();
            seal(&mut cipher, &RECEIPT, &mut sealed)?;
            stream.write_all(&sealed)?;
        }
    }
    Ok(())
}

/// Verifies a batch, and appends its lines as p2pchat prints them.
fn append_lines(batch: &[u8], key: &VerifyingKey, printed: &mut Vec<u8>) -> io::Result<()> {
    let malformed = || io::Error::other("a malformed batch");
    let mut windows = batch.windows(CONTENT_FIELD.len());
    let header_end = windows
        .position(|it| it == CONTENT_FIELD)
        .ok_or_else(malformed)?;
    let signature_at = batch.len() - SIGNATURE_CHARS - 3;
    let content = &batch[header_end + CONTENT_FIELD.len()..signature_at - SIGNATURE_FIELD.len()];
    let signature = BASE64URL_NOPAD
        .decode(&batch[signature_at..signature_at + SIGNATURE_CHARS])
        .map_err(|_| malformed())?;
    let signature = Signature::from_slice(&signature).map_err(|_| malformed())?;
    key.verify(&hash(&batch[..header_end], content), &signature)
        .map_err(|_| malformed())?;
    // No line of the benchmark contains what JSON escapes.
    for line in content.split(|byte| *byte == b'"').skip(1).step_by(2) {
        printed.extend_from_slice(PREFIX);
        printed.extend_from_slice(line);
        printed.push(b'\n');
    }
    Ok(())
}
