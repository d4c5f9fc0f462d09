//! Notices as JSON lines, and JSON lines as requests.
//!
//! What [`text`] shows in another's place is an escape here: nothing is lost, and no line acts on a terminal.
use std::fmt::Display;
use std::io::Write as _;

use serde::Deserialize;

use super::command::{self, Request};
use super::text;
use crate::base::batch::Batch;
use crate::base::batch::LogId;
use crate::base::event::{Chat, Notice, Peer, PeerView};
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room};
use crate::base::time::Wall;

/// How far what was said has come with a peer.
fn reached(kind: &str, log: &LogId, sequence: u64, peer: &Peer, out: &mut Vec<u8>) {
    let mut line = Object::new(kind, out);
    line.string("target", &log.target.to_string());
    line.plain("incarnation", format_args!("\"{:016x}\"", log.incarnation));
    line.plain("sequence", sequence);
    line.id(&peer.id);
    line.end();
}

/// Appends the notice as JSON lines, a batch as one for each of its lines. [`Notice::Settled`] and [`Notice::Found`] add nothing.
pub fn append(notice: &Notice, out: &mut Vec<u8>) {
    match notice {
        Notice::Chat(chat) => append_chat(chat, out),
        Notice::Joined { room, peer, at } => event("join", room, peer, None, *at, out),
        Notice::Left { room, peer, at } => event("leave", room, peer, None, *at, out),
        Notice::Renamed {
            room,
            peer,
            old,
            at,
        } => event("nick", room, peer, Some(old), *at, out),
        Notice::Delivered {
            log,
            sequence,
            peer,
        } => reached("delivered", log, *sequence, peer, out),
        Notice::Read {
            log,
            sequence,
            peer,
            ..
        } => reached("read", log, *sequence, peer, out),
        Notice::Gap {
            target,
            author,
            incarnation,
            from,
            to,
            ..
        } => {
            let mut line = Object::new("gap", out);
            line.string("target", &target.to_string());
            line.id(&author.id);
            line.plain("incarnation", format_args!("\"{incarnation:016x}\""));
            line.plain("from", from);
            line.plain("to", to);
            line.end();
        }
        Notice::Peers(views) => views.iter().for_each(|view| append_peer(view, out)),
        Notice::Rooms(rooms) => {
            let mut line = Object::new("rooms", out);
            line.rooms(rooms);
            line.end();
        }
        Notice::Stats(stats) => {
            let mut line = Object::new("stats", out);
            stats
                .iter()
                .for_each(|(name, count)| line.plain(name, *count));
            line.end();
        }
        Notice::Settled | Notice::Found { .. } => {}
        Notice::OtherKey { .. } => warning("other-key", notice, out),
        Notice::Twin { .. } => warning("twin", notice, out),
        Notice::Error { code, content } => append_error(code, content, out),
    }
}

/// The first line of a run.
pub fn append_ready(own: &Peer, port: u16, out: &mut Vec<u8>) {
    let mut line = Object::new("ready", out);
    line.peer(own);
    line.plain("port", port);
    line.end();
}

/// The answer of `whoami`; without a `code`, that field is left out.
pub fn append_self(own: &Peer, code: Option<&str>, out: &mut Vec<u8>) {
    let mut line = Object::new("self", out);
    line.peer(own);
    line.string("fingerprint", &own.id.fingerprint());
    if let Some(code) = code {
        line.string("code", code);
    }
    line.end();
}

/// `code` is for scripts, `content` one sentence for people.
pub fn append_error(code: &str, content: &str, out: &mut Vec<u8>) {
    let mut line = Object::new("error", out);
    line.string("code", code);
    line.string("content", content);
    line.end();
}

fn warning(code: &str, notice: &Notice, out: &mut Vec<u8>) {
    if let Some(sentence) = text::warning(notice) {
        append_error(code, &sentence, out);
    }
}

fn event(kind: &str, room: &Room, peer: &Peer, old: Option<&Nick>, at: Wall, out: &mut Vec<u8>) {
    let mut line = Object::new(kind, out);
    line.plain("timestamp", format_args!("\"{at}\""));
    line.string("target", room.as_str());
    line.peer(peer);
    if let Some(old) = old {
        line.string("old", old.as_str());
    }
    line.end();
}

fn append_chat(chat: &Chat, out: &mut Vec<u8>) {
    let (batch, local) = (&chat.batch, &chat.local);
    let (head, mut tail) = around(batch, Some(local.received));
    let own = format!(",\"self\":{},\"late\":{}", chat.own, local.late);
    tail.splice(0..0, own.into_bytes());
    let mut i = 0;
    batch.each_line(|content| {
        append_line(batch, i, content, &head, &tail, out);
        i += 1;
    });
}

/// Lines of a batch, from its line `first` (from 0) on, each ended by `\n`: what was signed, without the fields that are this box's own.
pub fn append_past(batch: &Batch, first: u64, lines: &str, out: &mut Vec<u8>) {
    let (head, tail) = around(batch, None);
    for (i, content) in lines.split_terminator('\n').enumerate() {
        append_line(batch, first + i as u64, content, &head, &tail, out);
    }
}

/// What is the same in all lines of a batch is made once.
fn around(batch: &Batch, received: Option<Wall>) -> (Vec<u8>, Vec<u8>) {
    let peer = Peer {
        id: batch.log.author,
        nick: batch.username.clone(),
    };
    let mut head = Vec::with_capacity(384);
    let mut line = Object::new("chat", &mut head);
    line.plain("timestamp", format_args!("\"{}\"", batch.timestamp));
    if let Some(received) = received {
        line.plain("received", format_args!("\"{received}\""));
    }
    line.string("target", &batch.log.target.to_string());
    line.peer(&peer);
    line.plain(
        "incarnation",
        format_args!("\"{:016x}\"", batch.log.incarnation),
    );
    let action = if batch.action { ",\"action\":true" } else { "" };
    (head, format!("{action}}}\n").into_bytes())
}

fn append_line(batch: &Batch, i: u64, content: &str, head: &[u8], tail: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(head);
    let (sequence, lamport) = (batch.sequence + i, batch.lamport + i);
    let _ = write!(
        out,
        ",\"sequence\":{sequence},\"lamport\":{lamport},\"content\":"
    );
    quote(out, content);
    out.extend_from_slice(tail);
}

fn append_peer(view: &PeerView, out: &mut Vec<u8>) {
    let mut line = Object::new("peer", out);
    line.peer(&view.peer);
    match view.address {
        Some(address) => line.string("address", &address.to_string()),
        None => line.plain("address", "null"),
    }
    line.string("found", view.found.as_str());
    line.string("state", view.state.as_str());
    match view.rtt {
        Some(rtt) => line.plain("rtt_ms", rtt),
        None => line.plain("rtt_ms", "null"),
    }
    line.rooms(&view.rooms);
    if let Some(via) = &view.via {
        line.string("via", &via.to_string());
    }
    line.end();
}

/// One line being written: `{"type":…` already stands.
struct Object<'a>(&'a mut Vec<u8>);

impl Object<'_> {
    fn new<'a>(kind: &str, out: &'a mut Vec<u8>) -> Object<'a> {
        out.extend_from_slice(b"{\"type\":");
        quote(out, kind);
        Object(out)
    }

    fn string(&mut self, name: &str, value: &str) {
        let _ = write!(self.0, ",\"{name}\":");
        quote(self.0, value);
    }

    /// A value that needs no escape: a number, `null`, or a string that brings its quotes.
    fn plain(&mut self, name: &str, value: impl Display) {
        let _ = write!(self.0, ",\"{name}\":{value}");
    }

    fn id(&mut self, id: &PeerId) {
        self.plain("sender", format_args!("\"{id}\""));
    }

    fn peer(&mut self, peer: &Peer) {
        self.id(&peer.id);
        self.string("username", peer.nick.as_str());
        self.string("name", &peer.to_string());
    }

    fn rooms(&mut self, rooms: &[Room]) {
        self.0.extend_from_slice(b",\"rooms\":[");
        for (i, room) in rooms.iter().enumerate() {
            if i > 0 {
                self.0.push(b',');
            }
            quote(self.0, room.as_str());
        }
        self.0.push(b']');
    }

    fn end(self) {
        self.0.extend_from_slice(b"}\n");
    }
}

/// A JSON string. `serde_json` would leave DEL, C1 and the bidi controls as they are.
fn quote(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let special = |byte: u8| {
        (byte < 0x20)
            | (byte == b'"')
            | (byte == b'\\')
            | (byte == 0x7f)
            | (byte == 0xc2)
            | (byte == 0xe2)
    };
    if !text
        .bytes()
        .fold(false, |found, byte| found | special(byte))
    {
        out.extend_from_slice(text.as_bytes());
    } else {
        for c in text.chars() {
            let _ = match c {
                '"' | '\\' => write!(out, "\\{c}"),
                '\t' => write!(out, "\\t"),
                _ if text::is_control(c) => write!(out, "\\u{:04x}", c as u32),
                _ => write!(out, "{c}"),
            };
        }
    }
    out.push(b'"');
}

#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "type")]
    kind: String,
    target: Option<String>,
    content: Option<String>,
    #[serde(default)]
    action: bool,
}

/// A line of stdin with --json. Unknown fields are ignored.
///
/// # Errors
/// A sentence for an `error` line: the line is to be counted and skipped.
pub fn parse(line: &str) -> Result<Request, String> {
    // Of an array a struct could be made, too.
    if !line.trim_start().starts_with('{') {
        return Err(r#"a line must be an object such as {"type":"chat","content":"text"}"#.into());
    }
    let typed: Typed = serde_json::from_str(line).map_err(|error| {
        let what = error.to_string();
        // The place is always line 1, and the number of the line stands before the sentence anyway.
        let what = what.split(" at line ").next().unwrap_or_default();
        format!("not a JSON line that is understood here: {what}")
    })?;
    let content = typed
        .content
        .ok_or("the JSON line has no \"content\"".to_string())?;
    match typed.kind.as_str() {
        "chat" => match typed.target.as_deref() {
            None => command::say(None, &content, typed.action),
            Some(target) if target.starts_with('@') => {
                command::tell(target, &content, typed.action)
            }
            Some(target) => command::say(Some(command::room(target)?), &content, typed.action),
        },
        "command" if content.starts_with('/') => command::parse(&content),
        "command" => Err("the \"content\" of a command begins with /".into()),
        kind => Err(format!(
            "\"type\" is \"chat\" or \"command\", not \"{kind}\""
        )),
    }
}
