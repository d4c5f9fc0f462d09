//! The frame of a message: a line of words, and a body if there is one.
use std::fmt::{Arguments, Display};
use std::io::Write as _;

/// Limit of the line of words with which a message begins, in bytes.
const HEADER_MAX_BYTES: usize = 16 * 1024;

/// Appends a message that is a line of words without a body.
pub fn encode_header(out: &mut Vec<u8>, words: Arguments<'_>) {
    // Writing to a `Vec` cannot fail.
    let _ = out.write_fmt(words);
    out.push(b'\n');
}

/// Appends a message that is a line of words and a body.
pub fn encode_with_body(out: &mut Vec<u8>, words: impl Display, body: &[u8]) {
    encode_header(out, format_args!("{words} *{}", body.len()));
    out.extend_from_slice(body);
}

/// A received message. Its words are not interpreted yet.
#[derive(Debug)]
pub struct IpcMessage {
    /// The line of words, without the length of the body.
    pub header: String,
    /// The body; empty if the message has none.
    pub body: Vec<u8>,
}

/// The received bytes are not a message.
#[derive(Debug)]
pub struct MalformedMessage;

impl IpcMessage {
    /// Removes the first message from `buffer` and returns it. `None`: the message is incomplete.
    ///
    /// # Errors
    /// The line of words is too long or malformed, or the body is longer than `body_max_bytes`.
    pub fn decode(
        buffer: &mut Vec<u8>,
        body_max_bytes: usize,
    ) -> Result<Option<IpcMessage>, MalformedMessage> {
        let Some(end) = buffer
            .iter()
            .take(HEADER_MAX_BYTES)
            .position(|b| *b == b'\n')
        else {
            return if buffer.len() < HEADER_MAX_BYTES {
                Ok(None)
            } else {
                Err(MalformedMessage)
            };
        };
        let (line, rest) = buffer.split_at(end);
        let mut line = std::str::from_utf8(line).map_err(|_| MalformedMessage)?;
        let mut length = 0;
        if let Some((words, bytes)) = line.rsplit_once(" *") {
            length = bytes.parse().map_err(|_| MalformedMessage)?;
            line = words;
        }
        if length > body_max_bytes {
            return Err(MalformedMessage);
        }
        let Some(body) = rest.get(1..length + 1) else {
            return Ok(None);
        };
        let message = IpcMessage {
            header: line.to_owned(),
            body: body.to_vec(),
        };
        buffer.drain(..end + 1 + length);
        Ok(Some(message))
    }
}
