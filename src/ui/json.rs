//! Renders notices as JSON lines, and parses JSON lines from stdin.
//!
//! Control characters that [`sanitize`] would replace are escaped instead. The output loses
//! nothing and cannot control a terminal.
use std::fmt::Display;
use std::io::Write as _;

use serde::Deserialize;

use super::command::{self, UserCommand};
use super::{diagnostic, sanitize};
use crate::base::batch::Batch;
use crate::base::batch::LogId;
use crate::base::error_code::ErrorCode;
use crate::base::event::{Chat, Notice, Peer, PeerInfo};
use crate::base::gap_notice::gap_notice;
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room};
use crate::base::time::WallTime;

/// Appends a receipt as a JSON line. `kind` is `delivered` if `peer` stores the log up to
/// `sequence`. `kind` is `read` if `peer` has shown the log up to `sequence`.
fn append_receipt(kind: &str, log: &LogId, sequence: u64, peer: &Peer, out: &mut Vec<u8>) {
    let mut line = JsonLine::new(kind, out);
    line.string("target", &log.target.to_string());
    line.raw("incarnation", format_args!("\"{:016x}\"", log.incarnation));
    line.raw("sequence", sequence);
    line.id(&peer.id);
    line.finish();
}

/// Appends a notice as one JSON line. A batch becomes one JSON line for each of its lines.
/// [`Notice::Settled`] and [`Notice::Resolved`] append nothing.
pub fn append_notice(notice: &Notice, out: &mut Vec<u8>) {
    match notice {
        Notice::Chat(chat) => append_chat(chat, out),
        Notice::Joined { room, peer, at } => append_membership("join", room, peer, None, *at, out),
        Notice::Left { room, peer, at } => append_membership("leave", room, peer, None, *at, out),
        Notice::Renamed {
            room,
            peer,
            old,
            at,
        } => append_membership("nick", room, peer, Some(old), *at, out),
        Notice::Delivered {
            log,
            sequence,
            peer,
        } => append_receipt("delivered", log, *sequence, peer, out),
        Notice::Read {
            log,
            sequence,
            peer,
            ..
        } => append_receipt("read", log, *sequence, peer, out),
        Notice::Gap {
            target,
            author,
            incarnation,
            from,
            to,
            ..
        } => {
            let mut line = JsonLine::new("gap", out);
            line.string("target", &target.to_string());
            line.id(&author.id);
            line.raw("incarnation", format_args!("\"{incarnation:016x}\""));
            line.raw("from", from);
            line.raw("to", to);
            line.finish();
        }
        Notice::Peers(views) => views.iter().for_each(|view| append_peer(view, out)),
        Notice::Rooms(rooms) => {
            let mut line = JsonLine::new("rooms", out);
            line.rooms(rooms);
            line.finish();
        }
        Notice::Stats(stats) => {
            let mut line = JsonLine::new("stats", out);
            stats
                .iter()
                .for_each(|(name, count)| line.raw(name, *count));
            line.finish();
        }
        Notice::Settled | Notice::Resolved { .. } => {}
        Notice::KeyMismatch { .. } => append_warning(ErrorCode::OtherKey, notice, out),
        Notice::DuplicateIdentity { .. } => {
            append_warning(ErrorCode::DuplicateIdentity, notice, out)
        }
        Notice::Error { code, content } => append_error(*code, content, out),
    }
}

/// Appends the `ready` line, which is the first line of a run.
pub fn append_ready(own: &Peer, port: u16, out: &mut Vec<u8>) {
    let mut line = JsonLine::new("ready", out);
    line.peer(own);
    line.raw("port", port);
    line.finish();
}

/// Appends the answer to `p2pchat whoami`. `code` is the connection code, if known.
pub fn append_whoami(own: &Peer, code: Option<&str>, out: &mut Vec<u8>) {
    let mut line = JsonLine::new("self", out);
    line.peer(own);
    line.string("fingerprint", &own.id.fingerprint());
    if let Some(code) = code {
        line.string("code", code);
    }
    line.finish();
}

/// Appends an `error` line. `content` is one sentence for the user.
pub fn append_error(code: ErrorCode, content: &str, out: &mut Vec<u8>) {
    let mut line = JsonLine::new("error", out);
    line.string("code", code.as_str());
    line.string("content", content);
    line.finish();
}

fn append_warning(code: ErrorCode, notice: &Notice, out: &mut Vec<u8>) {
    if let Some(sentence) = diagnostic::notice_warning(notice) {
        append_error(code, &sentence, out);
    }
}

fn append_membership(
    kind: &str,
    room: &Room,
    peer: &Peer,
    old: Option<&Nick>,
    at: WallTime,
    out: &mut Vec<u8>,
) {
    let mut line = JsonLine::new(kind, out);
    line.raw("timestamp", format_args!("\"{at}\""));
    line.string("target", room.as_str());
    line.peer(peer);
    if let Some(old) = old {
        line.string("old", old.as_str());
    }
    line.finish();
}

fn append_chat(chat: &Chat, out: &mut Vec<u8>) {
    let (batch, local) = (&chat.batch, &chat.local);
    if batch.is_withheld() {
        let lines = batch.sequence..=batch.last_sequence();
        return append_notice(&gap_notice(batch, lines, batch.timestamp), out);
    }
    let (head, mut tail) = shared_fields(batch, Some(local.received));
    let own = format!(",\"self\":{},\"late\":{}", chat.is_own, local.late);
    tail.splice(0..0, own.into_bytes());
    let mut i = 0;
    batch.for_each_line(|content| {
        append_line(batch, i, content, &head, &tail, out);
        i += 1;
    });
}

/// Appends each line of `lines` as one JSON line. `lines` are stored lines of `batch`. The first of
/// these lines has the index `first` in the batch, counted from 0. The time of reception is
/// omitted, because only signed fields are output.
pub fn append_history(batch: &Batch, first: u64, lines: &str, out: &mut Vec<u8>) {
    let (head, tail) = shared_fields(batch, None);
    for (i, content) in lines.split_terminator('\n').enumerate() {
        append_line(batch, first + i as u64, content, &head, &tail, out);
    }
}

/// Returns the two parts of a JSON line that are the same for all lines of a batch. The first part
/// is the beginning of the JSON line, the second part is its end. The fields that differ from line
/// to line go between the two.
fn shared_fields(batch: &Batch, received: Option<WallTime>) -> (Vec<u8>, Vec<u8>) {
    let peer = Peer {
        id: batch.log.author,
        nick: batch.username.clone(),
    };
    let mut head = Vec::with_capacity(384);
    let mut line = JsonLine::new("chat", &mut head);
    line.raw("timestamp", format_args!("\"{}\"", batch.timestamp));
    if let Some(received) = received {
        line.raw("received", format_args!("\"{received}\""));
    }
    line.string("target", &batch.log.target.to_string());
    line.peer(&peer);
    line.raw(
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
    write_escaped_string(out, content);
    out.extend_from_slice(tail);
}

fn append_peer(view: &PeerInfo, out: &mut Vec<u8>) {
    let mut line = JsonLine::new("peer", out);
    line.peer(&view.peer);
    match view.address {
        Some(address) => line.string("address", &address.to_string()),
        None => line.raw("address", "null"),
    }
    line.string("found", view.found_via.as_str());
    line.string("state", view.state.as_str());
    match view.rtt {
        Some(rtt) => line.raw("rtt_ms", rtt),
        None => line.raw("rtt_ms", "null"),
    }
    line.rooms(&view.rooms);
    if let Some(via) = &view.via {
        line.string("via", &via.to_string());
    }
    line.finish();
}

/// Writes one JSON object, one field at a time. Begins with the field `type`.
struct JsonLine<'a>(&'a mut Vec<u8>);

impl JsonLine<'_> {
    fn new<'a>(kind: &str, out: &'a mut Vec<u8>) -> JsonLine<'a> {
        out.extend_from_slice(b"{\"type\":");
        write_escaped_string(out, kind);
        JsonLine(out)
    }

    fn string(&mut self, name: &str, value: &str) {
        let _ = write!(self.0, ",\"{name}\":");
        write_escaped_string(self.0, value);
    }

    /// Writes the field `name`. `value` must be valid JSON, so a string value must include its
    /// quotes.
    fn raw(&mut self, name: &str, value: impl Display) {
        let _ = write!(self.0, ",\"{name}\":{value}");
    }

    fn id(&mut self, id: &PeerId) {
        self.raw("sender", format_args!("\"{id}\""));
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
            write_escaped_string(self.0, room.as_str());
        }
        self.0.push(b']');
    }

    fn finish(self) {
        self.0.extend_from_slice(b"}\n");
    }
}

/// Writes a JSON string. Escapes more than JSON requires: DEL, C1 controls, line separators and
/// bidi controls.
fn write_escaped_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let needs_escape = |byte: u8| {
        sanitize::may_need_replacing(byte) | (byte == b'\t') | (byte == b'"') | (byte == b'\\')
    };
    if !text
        .bytes()
        .fold(false, |found, byte| found | needs_escape(byte))
    {
        out.extend_from_slice(text.as_bytes());
    } else {
        for c in text.chars() {
            let _ = match c {
                '"' | '\\' => write!(out, "\\{c}"),
                '\t' => write!(out, "\\t"),
                _ if sanitize::is_control(c) => write!(out, "\\u{:04x}", c as u32),
                _ => write!(out, "{c}"),
            };
        }
    }
    out.push(b'"');
}

#[derive(Deserialize)]
struct InputLine {
    #[serde(rename = "type")]
    kind: String,
    target: Option<String>,
    content: Option<String>,
    #[serde(default)]
    action: bool,
}

/// Parses a line from stdin with `--json`. Unknown fields are ignored.
///
/// # Errors
/// The line is no valid command. The error is a sentence for an `error` line. The caller skips the
/// input line and counts the failure.
pub fn parse(line: &str) -> Result<UserCommand, String> {
    // serde would also accept an array for a struct.
    if !line.trim_start().starts_with('{') {
        return Err(r#"a line must be an object such as {"type":"chat","content":"text"}"#.into());
    }
    let typed: InputLine = serde_json::from_str(line).map_err(|error| {
        let what = error.to_string();
        // Drops the position that serde appends. serde always reports line 1, and the caller adds
        // the line number on stdin.
        let what = what.split(" at line ").next().unwrap_or_default();
        format!("not a JSON line that is understood here: {what}")
    })?;
    let content = typed
        .content
        .ok_or("the JSON line has no \"content\"".to_string())?;
    match typed.kind.as_str() {
        "chat" => match typed.target.as_deref() {
            None => command::build_room_message(None, &content, typed.action),
            Some(target) if target.starts_with('@') => {
                command::build_direct_message(target, &content, typed.action)
            }
            Some(target) => command::build_room_message(
                Some(command::parse_room(target)?),
                &content,
                typed.action,
            ),
        },
        "command" if content.starts_with('/') => command::parse(&content),
        "command" => Err("the \"content\" of a command begins with /".into()),
        kind => Err(format!(
            "\"type\" is \"chat\" or \"command\", not \"{kind}\""
        )),
    }
}
