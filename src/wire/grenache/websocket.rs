//! One end of a WebSocket (RFC 6455), as Grenache needs it: the upgrade from HTTP, and messages of
//! text, without extensions. Bytes in, bytes and messages out.
use std::net::SocketAddr;

use crate::base::text::rfc4648::BASE64;
use crate::wire::grenache::sha1::sha1;
use crate::wire::grenache::websocket_frame::{
    FrameViolation, Opcode, WEBSOCKET_MESSAGE_MAX_BYTES, WebSocketFrame, write_frame,
};

/// Longest head of an upgrade, in bytes. A stream with a longer one ends.
pub const WEBSOCKET_HEAD_MAX_BYTES: usize = 4 * 1024;
/// What a server appends to the key of a client to show that it speaks WebSocket.
const ACCEPT_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// How a p2pchat names itself in its upgrade. Two of them talk over links, and not so.
const USER_AGENT: &str = "p2pchat";
/// What a server answers to anything but an upgrade.
const BAD_REQUEST: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
/// What a server answers to a p2pchat, and to a page in a browser: it must not speak for its user.
const FORBIDDEN: &[u8] =
    b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Which end it is.
enum End {
    Server,
    /// The client has sent a key, to which this is the right answer.
    Client {
        accept: String,
    },
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Upgrading,
    Open,
    Ended,
}

/// Why it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebSocketEnd {
    /// The other side said goodbye.
    Closed,
    /// The other side refuses to speak WebSocket with us, as a p2pchat does.
    Forbidden,
    /// The other side does not speak WebSocket, or breaks a rule of it.
    Violation,
}

/// What some received bytes resulted in.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// What to send back, before anything else.
    pub reply: Vec<u8>,
    /// Whether the upgrade is done now.
    pub is_opened: bool,
    /// The messages, in order.
    pub messages: Vec<String>,
    /// Why the stream ends once the reply is sent. `None`: it goes on.
    pub end: Option<WebSocketEnd>,
}

/// One end of a WebSocket.
pub struct WebSocket {
    end: End,
    phase: Phase,
    /// The beginning of a head or a frame.
    received: Vec<u8>,
    /// The beginning of a message in several frames. `None`: no message has begun.
    message: Option<Vec<u8>>,
}

impl WebSocket {
    fn new(end: End) -> WebSocket {
        WebSocket {
            end,
            phase: Phase::Upgrading,
            received: Vec::new(),
            message: None,
        }
    }

    /// The end that was dialed.
    pub fn server() -> WebSocket {
        WebSocket::new(End::Server)
    }

    /// The end that has dialed `host`, and its request. `nonce`: random bytes.
    pub fn client(host: SocketAddr, nonce: [u8; 16]) -> (WebSocket, Vec<u8>) {
        let key = BASE64.encode(&nonce);
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\n\
             Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {key}\r\n\r\n"
        );
        let accept = accept_of(&key);
        (WebSocket::new(End::Client { accept }), request.into_bytes())
    }

    /// Handles received bytes. A client masks its reply with `mask`: random bytes.
    pub fn receive(&mut self, bytes: &[u8], mask: [u8; 4]) -> Received {
        let mut result = Received::default();
        self.received.extend_from_slice(bytes);
        if self.phase == Phase::Upgrading {
            self.upgrade(&mut result);
        }
        if self.phase == Phase::Open
            && let Err(FrameViolation) = self.read_frames(mask, &mut result)
        {
            // 1002: a violation of the protocol.
            self.write(
                Opcode::Close,
                &1002u16.to_be_bytes(),
                mask,
                &mut result.reply,
            );
            result.end = Some(WebSocketEnd::Violation);
        }
        if result.end.is_some() || self.phase == Phase::Ended {
            self.phase = Phase::Ended;
            self.received = Vec::new();
        }
        result
    }

    /// The bytes of a text message.
    pub fn text(&self, text: &str, mask: [u8; 4]) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(Opcode::Text, text.as_bytes(), mask, &mut bytes);
        bytes
    }

    /// The bytes of a goodbye.
    pub fn goodbye(&self, mask: [u8; 4]) -> Vec<u8> {
        let mut bytes = Vec::new();
        // 1001: this end goes away.
        self.write(Opcode::Close, &1001u16.to_be_bytes(), mask, &mut bytes);
        bytes
    }

    fn write(&self, opcode: Opcode, content: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
        let mask = matches!(self.end, End::Client { .. }).then_some(mask);
        write_frame(opcode, content, mask, out);
    }

    /// Handles the head of the upgrade, if it is complete.
    fn upgrade(&mut self, result: &mut Received) {
        let within = self.received.len().min(WEBSOCKET_HEAD_MAX_BYTES);
        let head = self.received.get(..within).unwrap_or_default();
        let Some(length) = memchr::memmem::find(head, b"\r\n\r\n") else {
            if self.received.len() >= WEBSOCKET_HEAD_MAX_BYTES {
                self.refuse(BAD_REQUEST, result);
            }
            return;
        };
        let head = Head::parse(head.get(..length).unwrap_or_default());
        let answer = match (&self.end, &head) {
            (_, None) => Err(BAD_REQUEST),
            (End::Server, Some(head)) => accept_upgrade(head),
            (End::Client { accept }, Some(head)) => match is_accepted(head, accept) {
                true => Ok(Vec::new()),
                false => {
                    let is_forbidden = head.first.split(' ').nth(1) == Some("403");
                    result.end = is_forbidden.then_some(WebSocketEnd::Forbidden);
                    Err(BAD_REQUEST)
                }
            },
        };
        match answer {
            Ok(answer) => {
                result.reply = answer;
                result.is_opened = true;
                self.phase = Phase::Open;
                self.received.drain(..length + 4);
            }
            Err(refusal) => self.refuse(refusal, result),
        }
    }

    /// Ends the upgrade. Only a server answers that.
    fn refuse(&self, answer: &[u8], result: &mut Received) {
        if matches!(self.end, End::Server) {
            result.reply = answer.to_vec();
        }
        result.end = result.end.or(Some(WebSocketEnd::Violation));
    }

    /// Handles all complete frames. Of several pings, the last one is answered (RFC 6455, 5.5.3).
    fn read_frames(&mut self, mask: [u8; 4], result: &mut Received) -> Result<(), FrameViolation> {
        let is_masked = matches!(self.end, End::Server);
        let received = std::mem::take(&mut self.received);
        let (mut at, mut ping) = (0, None);
        while result.end.is_none() {
            let begun = self.message.as_ref().map_or(0, Vec::len);
            let left = WEBSOCKET_MESSAGE_MAX_BYTES - begun;
            let rest = received.get(at..).unwrap_or_default();
            let Some((frame, length)) = WebSocketFrame::parse(rest, is_masked, left)? else {
                break;
            };
            at += length;
            match frame.opcode {
                Opcode::Text | Opcode::Continuation => self.add_part(frame, result)?,
                Opcode::Ping => ping = Some(frame.content),
                Opcode::Pong => {}
                Opcode::Close => {
                    let code = frame.content.get(..2).unwrap_or_default();
                    self.write(Opcode::Close, code, mask, &mut result.reply);
                    result.end = Some(WebSocketEnd::Closed);
                }
            }
        }
        self.received = received.get(at..).unwrap_or_default().to_vec();
        if let Some(content) = ping.filter(|_| result.end.is_none()) {
            self.write(Opcode::Pong, &content, mask, &mut result.reply);
        }
        Ok(())
    }

    /// Adds a part to the message that has begun, or begins one.
    fn add_part(
        &mut self,
        frame: WebSocketFrame,
        result: &mut Received,
    ) -> Result<(), FrameViolation> {
        let begins = frame.opcode == Opcode::Text;
        let mut message = match (self.message.take(), begins) {
            (None, true) => Vec::new(),
            (Some(begun), false) => begun,
            _ => return Err(FrameViolation),
        };
        message.extend_from_slice(&frame.content);
        if frame.is_last {
            let text = String::from_utf8(message).map_err(|_| FrameViolation)?;
            result.messages.push(text);
        } else {
            self.message = Some(message);
        }
        Ok(())
    }
}

/// The head of a request or an answer of HTTP.
struct Head<'a> {
    /// The line of the request or of the status.
    first: &'a str,
    headers: Vec<(&'a str, &'a str)>,
}

impl<'a> Head<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Head<'a>> {
        let mut lines = std::str::from_utf8(bytes).ok()?.split("\r\n");
        let first = lines.next()?;
        let headers = lines.map(|line| line.split_once(':'));
        Some(Head {
            first,
            headers: headers.collect::<Option<Vec<_>>>()?,
        })
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(other, _)| other.eq_ignore_ascii_case(name))?;
        Some(value.trim())
    }

    /// Whether a header has this word in its list.
    fn lists(&self, name: &str, word: &str) -> bool {
        let mut words = self.get(name).unwrap_or_default().split(',');
        words.any(|other| other.trim().eq_ignore_ascii_case(word))
    }

    fn is_upgrade(&self) -> bool {
        self.lists("upgrade", "websocket") && self.lists("connection", "upgrade")
    }
}

/// The answer to the request of a client, or the refusal.
fn accept_upgrade(head: &Head<'_>) -> Result<Vec<u8>, &'static [u8]> {
    let mut words = head.first.split(' ');
    let is_get = words.next() == Some("GET") && words.nth(1) == Some("HTTP/1.1");
    let is_current = head.get("sec-websocket-version") == Some("13");
    if !is_get || !is_current || !head.is_upgrade() {
        return Err(BAD_REQUEST);
    }
    if head.get("origin").is_some() || head.get("user-agent") == Some(USER_AGENT) {
        return Err(FORBIDDEN);
    }
    let key = head.get("sec-websocket-key").unwrap_or_default();
    match BASE64.decode(key.as_bytes()) {
        Some(nonce) if nonce.len() == 16 => Ok(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            accept_of(key)
        )
        .into_bytes()),
        _ => Err(BAD_REQUEST),
    }
}

/// Whether this is the answer of a server that accepts our request, without an extension.
fn is_accepted(head: &Head<'_>, accept: &str) -> bool {
    head.first.starts_with("HTTP/1.1 101")
        && head.is_upgrade()
        && head.get("sec-websocket-accept") == Some(accept)
        && head.get("sec-websocket-extensions").is_none()
}

/// The answer to the key of a client.
fn accept_of(key: &str) -> String {
    BASE64.encode(&sha1([key, ACCEPT_SUFFIX].concat().as_bytes()))
}
