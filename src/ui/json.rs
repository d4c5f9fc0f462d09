//! Renders the events and the requests of a session as JSON lines. `json_parser` reads them.
//!
//! [`write_json_string`] escapes control characters. The output loses nothing and cannot control a
//! terminal.
use std::io::Write as _;

use super::command::{UserCommand, format_history};
use super::guests::guest_json::{append_guest, append_guest_event};
use super::guests::lsnp_commands;
use super::json_line::JsonLine;
use super::json_parser::fields::TROUBLE_SUFFIX;
use super::json_peers::{
    append_flaps, append_membership, append_peer, append_presence, append_receipt, append_typing,
};
use super::profile::profile_command::format_profile_command;
use super::profile::profile_json::append_own_profile;
use super::request::{Listen, Request, RequestKind};
use super::session_event::{
    Arrival, ChatLines, DeliveryReport, Done, EventKind, FolderCursor, Ready, SessionEvent,
};
use super::trust_command::{TrustEntry, format_trust};
use crate::base::batch::batch::LogId;
use crate::base::batch::batch_content::write_json_string;
use crate::base::error_code::ErrorCode;
use crate::base::event::command::Command;
use crate::base::event::notice::Notice;
use crate::base::event::peer::Peer;
use crate::base::lines::Lines;
use crate::base::name::Room;
use crate::base::presence::profile::HAS_PROFILE;
use crate::base::text::line_form::LineForm;
use crate::base::trust::fingerprint::Fingerprint;
use crate::base::trust::level::HAS_TRUST;

/// Appends an event as JSON lines. `is_batch`: lines of one batch become one JSON line, whose
/// `content` is an array.
pub fn append_event(event: &SessionEvent, is_batch: bool, out: &mut Vec<u8>) {
    let start = out.len();
    match &*event.kind {
        EventKind::Ready(ready) => append_session_ready(ready, out),
        EventKind::Chat { chat, cursor } if is_batch => append_batch(chat, cursor.as_ref(), out),
        EventKind::Chat { chat, cursor } => append_chat(chat, cursor.as_ref(), out),
        EventKind::Position { folder, cursor } => {
            let mut line = JsonLine::new("position", out);
            line.string("target", folder.as_str());
            line.cursor("position", cursor);
            line.finish();
        }
        EventKind::Notice(notice) => append_notice(notice, out),
        EventKind::Own { own, code } => append_own(own, code, out),
        EventKind::Trust(entry) if HAS_TRUST => append_trust(entry, out),
        EventKind::Trust(_) => {}
        EventKind::Help(text) => {
            let mut line = JsonLine::new("help", out);
            line.string("content", text);
            line.finish();
        }
        EventKind::Known(peer) => {
            let mut line = JsonLine::new("known", out);
            line.peer(peer);
            line.finish();
        }
        EventKind::Delivery(report) => append_delivery(report, out),
        EventKind::Status(status) => {
            let mut line = JsonLine::new("status", out);
            line.raw("linked", status.has_linked_peer);
            line.raw("blocked", status.is_blocked);
            line.raw("here", status.others_here);
            line.finish();
        }
        EventKind::Done(done) => append_done(done, out),
    }
    if let Some(id) = &event.id {
        insert_id(id, start, out);
    }
}

/// Adds the field `id` at the end of each line after `start`.
fn insert_id(id: &str, start: usize, out: &mut Vec<u8>) {
    let lines = out.split_off(start);
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        out.extend_from_slice(line.strip_suffix(b"}\n").unwrap_or(line));
        let _ = writeln!(out, ",\"id\":{id}}}");
    }
}

fn append_session_ready(ready: &Ready, out: &mut Vec<u8>) {
    let mut line = JsonLine::new("ready", out);
    line.raw("protocol", ready.protocol);
    line.peer(&ready.me);
    line.raw("port", ready.port);
    line.raw("uptime_ms", ready.uptime_ms);
    line.raw("linked", ready.has_linked_peer);
    line.raw("network", format_args!("\"{}\"", ready.network));
    if let Some(group) = ready.multicast {
        line.raw("multicast", format_args!("\"{group}\""));
    }
    line.strings("interfaces", ready.interfaces.iter().map(String::as_str));
    if ready.maps_port {
        line.raw("nat", true);
    }
    if let Some(mapped) = ready.mapped {
        line.raw("mapped", format_args!("\"{mapped}\""));
    }
    // Without beacons there is no multicast DNS either.
    if ready.multicast.is_some() && !ready.uses_mdns {
        line.raw("no_mdns", true);
    }
    if let Some(target) = &ready.scan {
        line.string("scan", target);
    }
    if ready.speaks_lsnp {
        line.raw("lsnp", true);
    }
    if let Some(interval_ms) = ready.timing.interval_ms {
        line.raw("interval_ms", interval_ms);
    }
    if let Some(patience_ms) = ready.timing.patience_ms {
        line.raw("patience_ms", patience_ms);
    }
    if ready.speaks_go {
        line.raw("go", true);
    }
    if let Some(room) = &ready.lsnp_room {
        line.string("lsnp_room", room.as_str());
    }
    if !ready.grapes.is_empty() {
        line.strings("grapes", ready.grapes.iter().map(String::as_str));
    }
    if ready.uses_dht {
        line.raw("dht", true);
    }
    if !ready.dht_bootstrap.is_empty() {
        let nodes = ready.dht_bootstrap.iter().map(String::as_str);
        line.strings("dht_bootstrap", nodes);
    }
    line.finish();
}

fn append_delivery(report: &DeliveryReport, out: &mut Vec<u8>) {
    let delivery = &report.delivery;
    let mut line = JsonLine::new("delivery", out);
    line.raw("settled", delivery.is_settled);
    line.raw("acked", delivery.acked_peers);
    line.raw("need", delivery.required_peers);
    line.raw("members", delivery.linked_peers);
    line.raw("undelivered", delivery.has_undelivered);
    line.raw("linked", report.has_linked_peer);
    if delivery.is_unsent_to_guests {
        line.raw("unsent_to_guests", true);
    }
    if delivery.is_lost_to_guests {
        line.raw("lost_to_guests", true);
    }
    if report.delivered_lines > 0 {
        line.raw("delivered", report.delivered_lines);
    }
    if !report.undelivered.is_empty() {
        line.string("reason", &report.undelivered);
    }
    line.finish();
}

fn append_done(done: &Done, out: &mut Vec<u8>) {
    let mut line = JsonLine::new("done", out);
    if let Some(stored) = &done.stored {
        line.log(&stored.log);
        append_first_line(&mut line, stored.first, stored.sequence);
        line.raw("sequence", stored.sequence);
    }
    if let Some(rooms) = &done.rooms {
        line.rooms(rooms);
    }
    if let Some(cursor) = &done.cursor {
        line.cursor("position", cursor);
    }
    line.finish();
}

/// Appends a request as one JSON line. Internal commands of the core have no JSON form, and append
/// nothing.
pub fn append_request(request: &Request, out: &mut Vec<u8>) {
    let start = out.len();
    match &*request.kind {
        RequestKind::Command(command) => append_command(command, None, out),
        RequestKind::Resend { command, after } => append_command(command, Some(after), out),
        RequestKind::Listen(listen) => append_listen(listen, out),
        RequestKind::Audit => JsonLine::new("audit", out).finish(),
        RequestKind::ReloadKnownPeers => JsonLine::new("known_peers", out).finish(),
        RequestKind::Finish {
            required_peers,
            is_sync,
        } => {
            let mut line = JsonLine::new("finish", out);
            if *is_sync {
                line.raw("sync", true);
            }
            if let Some(need) = required_peers {
                line.raw("need", need);
            }
            line.finish();
        }
        RequestKind::FindEnd(folder) => {
            let mut line = JsonLine::new("end", out);
            line.string("target", folder.as_str());
            line.finish();
        }
        RequestKind::Printed { folder, cursor } => {
            let mut line = JsonLine::new("printed", out);
            line.string("target", folder.as_str());
            line.cursor("position", cursor);
            line.finish();
        }
        RequestKind::Dial { host, port, peer } => {
            let mut line = JsonLine::new("dial", out);
            line.string("host", host);
            line.raw("port", port);
            if let Some(peer) = peer {
                line.id(peer);
            }
            line.finish();
        }
    }
    if let Some(id) = &request.id {
        insert_id(id, start, out);
    }
}

fn append_listen(listen: &Listen, out: &mut Vec<u8>) {
    let mut line = JsonLine::new("listen", out);
    if let Some(folder) = &listen.folder {
        line.string("target", folder.as_str());
    }
    if let Some(after) = &listen.after {
        line.cursor("after", after);
    }
    match &listen.reader_name {
        Some(name) => line.string("reader", name.as_str()),
        None => line.raw("reader", listen.is_reader),
    }
    line.raw("batch", listen.is_batch);
    line.raw("echo", listen.has_echo);
    line.raw("only_new", listen.only_new);
    line.raw("backlog", listen.backlog);
    if listen.seeks_end {
        line.string("seek", "end");
    }
    line.finish();
}

fn append_command(command: &UserCommand, after: Option<&FolderCursor>, out: &mut Vec<u8>) {
    let typed = match command {
        UserCommand::History { lines, before } => format_history(*lines, *before),
        UserCommand::Search(text) => format!("/search {text}"),
        UserCommand::Rooms => "/rooms".to_owned(),
        UserCommand::Code => "/code".to_owned(),
        UserCommand::Connect(text) => format!("/connect {text}"),
        UserCommand::Trust(command) if HAS_TRUST => format!("/trust {}", format_trust(command)),
        UserCommand::Trust(_) => return,
        UserCommand::Help => "/help".to_owned(),
        UserCommand::Clear => "/clear".to_owned(),
        UserCommand::Verbose => "/verbose".to_owned(),
        UserCommand::Quit => "/quit".to_owned(),
        UserCommand::Avatar { selector, .. } => format!("/avatar {selector}"),
        // The frontend executes it.
        UserCommand::Set { .. } | UserCommand::AvatarFile(_) => String::new(),
        UserCommand::SendToRoom { room, lines, form } => {
            let target = room.as_ref().map(Room::as_str);
            return append_send(target, lines, *form, None, after, out);
        }
        UserCommand::SendToPeer {
            selector,
            lines,
            form,
            timeout_ms,
        } => {
            let target = Some(selector.to_string());
            let (target, wait) = (target.as_deref(), Some(*timeout_ms));
            return append_send(target, lines, *form, wait, after, out);
        }
        UserCommand::Core(command) => match command {
            Command::Join(room) => format!("/join {room}"),
            Command::Part(Some(room)) => format!("/part {room}"),
            Command::Part(None) => "/part".to_owned(),
            Command::Nick(nick) => format!("/nick {nick}"),
            Command::Away(Some(text)) => format!("/away {}", text.as_str()),
            Command::Away(None) => "/back".to_owned(),
            Command::Peers => "/users".to_owned(),
            Command::Stats => "/stats".to_owned(),
            Command::AwaitDelivery {
                log,
                first,
                sequence,
            } => return append_log_request("await", log, *first, *sequence, out),
            Command::MarkRead { log, sequence } => {
                return append_log_request("read", log, *sequence, *sequence, out);
            }
            Command::Type(target) => return append_typing(target, out),
            Command::Profile(command) if HAS_PROFILE => format_profile_command(command),
            Command::Profile(_) => return,
            Command::Lsnp(request) => lsnp_commands::format_request(request),
            Command::Publish { .. }
            | Command::SendToGuest(_)
            | Command::Resolve { .. }
            | Command::FetchProfile { .. }
            | Command::AskHeard
            | Command::Sync
            | Command::Leave => return,
        },
    };
    let mut line = JsonLine::new("command", out);
    line.string("content", &typed);
    if let Some(after) = after {
        line.cursor("after", after);
    }
    line.finish();
}

fn append_log_request(kind: &str, log: &LogId, first: u64, sequence: u64, out: &mut Vec<u8>) {
    let mut line = JsonLine::new(kind, out);
    line.id(&log.author);
    line.log(log);
    append_first_line(&mut line, first, sequence);
    line.raw("sequence", sequence);
    line.finish();
}

/// Appends the field `from`, unless the first line is the last one as well.
fn append_first_line(line: &mut JsonLine<'_>, first: u64, sequence: u64) {
    if first != sequence {
        line.raw("from", first);
    }
}

fn append_send(
    target: Option<&str>,
    lines: &Lines,
    form: LineForm,
    wait_ms: Option<u64>,
    after: Option<&FolderCursor>,
    out: &mut Vec<u8>,
) {
    out.reserve(lines.len() + lines.len() / 16);
    let mut line = JsonLine::new("chat", out);
    if let Some(target) = target {
        line.string("target", target);
    }
    line.strings(
        "content",
        lines.iter().map(|line| form.with_line_ends(line)),
    );
    if let Some(flag) = form.flag() {
        line.raw(flag, true);
    }
    if let Some(wait_ms) = wait_ms {
        line.raw("wait_ms", wait_ms);
    }
    if let Some(after) = after {
        line.cursor("after", after);
    }
    line.finish();
}

/// Appends a notice as one JSON line. Appends nothing for notices that no session emits.
fn append_notice(notice: &Notice, out: &mut Vec<u8>) {
    match notice {
        Notice::Joined { room, peer, at } => append_membership("join", room, peer, None, *at, out),
        Notice::Left { room, peer, at } => append_membership("leave", room, peer, None, *at, out),
        Notice::Renamed {
            room,
            peer,
            old,
            at,
        } => append_membership("nick", room, peer, Some(old), *at, out),
        Notice::Typing {
            target,
            peer,
            is_typing,
        } => {
            let mut line = JsonLine::new("typing", out);
            line.string("target", &target.to_string());
            line.peer(peer);
            line.raw("typing", is_typing);
            line.finish();
        }
        Notice::Presence {
            room,
            peer,
            away,
            at,
        } => append_presence(room, peer, away.as_ref(), *at, out),
        Notice::Flapped {
            room,
            peer,
            kind,
            count,
            at,
        } => append_flaps(room, peer, *kind, *count, *at, out),
        Notice::Delivered {
            log,
            sequence,
            peer,
        } => append_receipt("delivered", log, *sequence, peer, None, out),
        Notice::Read {
            log,
            sequence,
            peer,
            at,
        } => append_receipt("read", log, *sequence, peer, Some(*at), out),
        Notice::Gap {
            target,
            author,
            incarnation,
            from,
            to,
            at,
        } => {
            let mut line = JsonLine::new("gap", out);
            line.string("target", &target.to_string());
            line.id(&author.id);
            line.raw("incarnation", format_args!("\"{incarnation:016x}\""));
            line.raw("from", from);
            line.raw("to", to);
            line.raw("timestamp", format_args!("\"{at}\""));
            line.name(author);
            line.finish();
        }
        Notice::Peers(views) => views.iter().for_each(|view| append_peer(view, out)),
        Notice::Guests(guests) => guests.iter().for_each(|guest| append_guest(guest, out)),
        Notice::Guest(notice) => append_guest_event(notice, out),
        Notice::OwnProfile(profile) => append_own_profile(profile, out),
        Notice::Rooms(rooms) => {
            let mut line = JsonLine::new("rooms", out);
            line.rooms(rooms);
            line.finish();
        }
        Notice::Stats { counters, troubles } => {
            let mut line = JsonLine::new("stats", out);
            for (name, count) in counters {
                line.raw(name, *count);
            }
            for (finder, trouble) in troubles {
                line.string(&format!("{finder}{TROUBLE_SUFFIX}"), trouble);
            }
            line.finish();
        }
        // A session makes events of its own of these.
        Notice::Chat(_)
        | Notice::Resolved { .. }
        | Notice::SentToGuest(_)
        | Notice::KeyMismatch { .. }
        | Notice::DuplicateIdentity { .. } => {}
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

/// Appends the answer to `whoami` and /code. `code` is the connection code.
pub fn append_own(own: &Peer, code: &str, out: &mut Vec<u8>) {
    let mut line = JsonLine::new("self", out);
    line.peer(own);
    line.string("fingerprint", &Fingerprint::of(&own.id).to_string());
    line.string("code", code);
    line.finish();
}

/// Appends a known peer.
pub fn append_trust(entry: &TrustEntry, out: &mut Vec<u8>) {
    let known = &entry.known;
    let mut line = JsonLine::new("trust", out);
    line.peer(&Peer {
        id: known.id,
        nick: known.nick.clone(),
    });
    line.string("state", entry.state.as_str());
    line.raw("since", format_args!("\"{}\"", known.first_seen));
    line.string("fingerprint", &Fingerprint::of(&known.id).to_string());
    let counts = entry.misbehaviour;
    if counts.total() > 0 {
        line.raw("violations", counts.violations);
        line.raw("floods", counts.floods);
        line.raw("forks", counts.forks);
    }
    line.string("trust", entry.familiarity.as_str());
    line.finish();
}

/// Appends an `error` line. `content` is one sentence for the user.
pub fn append_error(code: ErrorCode, content: &str, out: &mut Vec<u8>) {
    let mut line = JsonLine::new("error", out);
    line.string("code", code.as_str());
    line.string("content", content);
    line.finish();
}

/// Appends each line as one JSON line. Only the last one has the cursor.
fn append_chat(chat: &ChatLines, cursor: Option<&FolderCursor>, out: &mut Vec<u8>) {
    let (head, tail) = shared_fields(chat);
    for (i, content) in (0..).zip(chat.text.lines()) {
        out.extend_from_slice(&head);
        let (sequence, lamport) = (chat.sequence + i, chat.lamport + i);
        let _ = write!(
            out,
            ",\"sequence\":{sequence},\"lamport\":{lamport},\"content\":"
        );
        write_json_string(out, &chat.form.with_line_ends(content));
        out.extend_from_slice(&tail);
    }
    if let Some(cursor) = cursor
        && out.ends_with(b"}\n")
    {
        out.truncate(out.len() - 2);
        let _ = writeln!(out, ",\"position\":\"{cursor}\"}}");
    }
}

/// Appends all lines as one JSON line.
fn append_batch(chat: &ChatLines, cursor: Option<&FolderCursor>, out: &mut Vec<u8>) {
    let (head, tail) = shared_fields(chat);
    out.extend_from_slice(&head);
    let mut line = JsonLine::resume(out);
    line.raw("sequence", chat.sequence);
    line.raw("lamport", chat.lamport);
    if let Some(cursor) = cursor {
        line.cursor("position", cursor);
    }
    let lines = chat.text.lines();
    line.strings("content", lines.map(|line| chat.form.with_line_ends(line)));
    out.extend_from_slice(&tail);
}

/// Returns the beginning and the end that all JSON lines of a batch share. The caller writes the
/// other fields between these two parts. Without an arrival, both parts have only signed fields.
fn shared_fields(chat: &ChatLines) -> (Vec<u8>, Vec<u8>) {
    let peer = Peer {
        id: chat.log.author,
        nick: chat.username.clone(),
    };
    let mut head = Vec::with_capacity(384);
    let mut line = JsonLine::new("chat", &mut head);
    line.raw("timestamp", format_args!("\"{}\"", chat.timestamp));
    if let Some(arrival) = &chat.arrival {
        line.raw("received", format_args!("\"{}\"", arrival.received));
    }
    line.string("target", &chat.log.target.to_string());
    line.peer(&peer);
    line.raw(
        "incarnation",
        format_args!("\"{:016x}\"", chat.log.incarnation),
    );
    let mut tail = Vec::new();
    if let Some(arrival) = &chat.arrival {
        let Arrival { late, is_own, .. } = arrival;
        let _ = write!(tail, ",\"self\":{is_own},\"late\":{late}");
        if arrival.is_backlog {
            tail.extend_from_slice(b",\"backlog\":true");
        }
    }
    if let Some(flag) = chat.form.flag() {
        let _ = write!(tail, ",\"{flag}\":true");
    }
    tail.extend_from_slice(b"}\n");
    (head, tail)
}
