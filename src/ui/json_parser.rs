//! Parses the JSON lines of a session. Clients and scripts write requests, and a running program
//! writes events. Unknown fields are ignored.
use std::borrow::Cow;

use crate::base::batch::LogId;
use crate::base::batch_content::for_each_json_line;
use crate::base::error_code::ErrorCode;
use crate::base::event::command::Command;
use crate::base::event::notice::{FlapKind, Notice};
use crate::base::event::output::KnownPeer;
use crate::base::event::peer::{Peer, PeerInfo, PeerState};
use crate::base::guests::guest::HAS_GUESTS;
use crate::base::hex;
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::interface::FoundVia;
use crate::base::lines::Lines;
use crate::base::missing_lines::Delivery;
use crate::base::name::{FolderName, Nick, PeerSelector, Room, Target};
use crate::base::presence::away::AwayText;
use crate::base::presence::typing::TypingTarget;
use crate::base::request_id::RequestId;
use crate::base::text::line_form::LineForm;
use crate::base::time::{TenthsMs, WallTime};
use crate::base::timing::Timing;
use crate::base::trust::level::HAS_TRUST;
use crate::base::trust::level::{Familiarity, TrustLevel};
use crate::base::trust::misbehaviour::Misbehaviour;
use crate::ui::command::{self, UserCommand};
use crate::ui::guests::guest_json::{parse_guest, parse_guest_event};
use crate::ui::json_fields::{Field, Fields, TROUBLE_SUFFIX, parse_fields, parse_string};
use crate::ui::request::{Listen, Request, RequestKind};
use crate::ui::session_event::{
    Arrival, ChatLines, DeliveryReport, Done, EventKind, Ready, SessionEvent, Status, StoredLines,
};
use crate::ui::trust_command::{TrustEntry, TrustState};

/// A request that cannot be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRequest {
    /// The id of the request, if it has one.
    pub id: Option<String>,
    /// What is wrong: one sentence.
    pub message: String,
}

/// Parses a line of stdin with `--json`. Accepts only requests of type `chat` or `command`.
///
/// # Errors
/// The line is no such request. The caller reports the message, counts the error and skips the
/// line.
pub fn parse_input(line: &str) -> Result<Request, InvalidRequest> {
    let fields = parse_object(line)?;
    match fields.kind() {
        "chat" | "command" => finish_request(&fields),
        kind => Err(InvalidRequest {
            id: parse_id(&fields),
            message: format!("\"type\" is \"chat\" or \"command\", not \"{kind}\""),
        }),
    }
}

/// Parses a request on `control.sock`.
///
/// # Errors
/// The line is no request. The caller answers with the message and skips the line.
pub fn parse_request(line: &[u8]) -> Result<Request, InvalidRequest> {
    let line = std::str::from_utf8(line).map_err(|_| InvalidRequest {
        id: None,
        message: "the line is not UTF-8".to_owned(),
    })?;
    finish_request(&parse_object(line)?)
}

fn parse_object(line: &str) -> Result<Fields<'_>, InvalidRequest> {
    let invalid = |message: String| InvalidRequest { id: None, message };
    // serde would also accept an array for a struct.
    if !line.trim_start().starts_with('{') {
        let sentence = r#"a line must be an object such as {"type":"chat","content":"text"}"#;
        return Err(invalid(sentence.to_owned()));
    }
    let fields = parse_fields(line).map_err(|error| {
        let what = error.to_string();
        // Drops the position that serde appends. serde always reports line 1, and the caller adds
        // the line number on stdin.
        let what = what.split(" at line ").next().unwrap_or_default();
        invalid(format!("not a JSON line that is understood here: {what}"))
    })?;
    match fields.text("type") {
        Some(_) => Ok(fields),
        None => Err(invalid("the JSON line has no \"type\"".to_owned())),
    }
}

fn parse_id(fields: &Fields<'_>) -> Option<String> {
    let id = RequestId::parse(fields.raw("id")?)?;
    Some(id.as_str().to_owned())
}

fn finish_request(fields: &Fields<'_>) -> Result<Request, InvalidRequest> {
    let id = parse_id(fields);
    match parse_request_kind(fields) {
        Ok(kind) => Ok(Request { id, kind }),
        Err(message) => Err(InvalidRequest { id, message }),
    }
}

fn parse_request_kind(fields: &Fields<'_>) -> Result<RequestKind, String> {
    let missing = |name: &str| format!("the JSON line has no valid \"{name}\"");
    let folder = || {
        let name = fields.text("target")?;
        Some(FolderName::parse(name).filter(|folder| *folder != FolderName::carried()))
    };
    Ok(match fields.kind() {
        "chat" => {
            let command = parse_chat(fields)?;
            with_place(command, fields)
        }
        "command" => {
            let content = parse_text(fields)?;
            if !content.starts_with('/') {
                return Err("the \"content\" of a command begins with /".into());
            }
            with_place(command::parse(&content)?, fields)
        }
        "listen" => RequestKind::Listen(Listen {
            folder: match folder() {
                Some(None) => return Err(missing("target")),
                named => named.flatten(),
            },
            after: fields.cursor("after"),
            is_reader: fields.flag("reader").unwrap_or(false) || fields.text("reader").is_some(),
            reader_name: match fields.text("reader").map(Nick::new) {
                None => None,
                Some(Ok(name)) => Some(name),
                Some(Err(_)) => return Err(missing("reader")),
            },
            is_batch: fields.flag("batch").unwrap_or(false),
            has_echo: fields.flag("echo").unwrap_or(true),
            only_new: fields.flag("only_new").unwrap_or(false),
            seeks_end: match fields.text("seek") {
                None => false,
                Some("end") => true,
                Some(_) => return Err(missing("seek")),
            },
            backlog: fields.number("backlog").unwrap_or(0),
        }),
        "audit" => RequestKind::Audit,
        "known_peers" => RequestKind::ReloadKnownPeers,
        "end" => RequestKind::FindEnd(folder().flatten().ok_or_else(|| missing("target"))?),
        "printed" => RequestKind::Printed {
            folder: folder().flatten().ok_or_else(|| missing("target"))?,
            cursor: fields
                .cursor("position")
                .ok_or_else(|| missing("position"))?,
        },
        "dial" => RequestKind::Dial {
            host: fields
                .text("host")
                .ok_or_else(|| missing("host"))?
                .to_owned(),
            port: fields
                .number("port")
                .and_then(|port| port.try_into().ok())
                .ok_or_else(|| missing("port"))?,
            peer: fields.id("sender"),
        },
        "typing" => UserCommand::Core(Command::Type(parse_typing(fields)?)).into(),
        "finish" => RequestKind::Finish {
            required_peers: fields.number("need"),
            is_sync: fields.flag("sync").unwrap_or(false),
        },
        "await" | "read" => {
            let log =
                parse_log(fields, fields.id("sender")).ok_or_else(|| missing("incarnation"))?;
            let sequence = fields
                .number("sequence")
                .ok_or_else(|| missing("sequence"))?;
            UserCommand::Core(match fields.kind() {
                "await" => Command::AwaitDelivery {
                    log,
                    first: parse_first_line(fields, sequence),
                    sequence,
                },
                _ => Command::MarkRead { log, sequence },
            })
            .into()
        }
        kind => return Err(format!("\"{kind}\" is no type of a request")),
    })
}

/// Parses the target of a line that the user types.
fn parse_typing(fields: &Fields<'_>) -> Result<TypingTarget, String> {
    let target = fields.text("target").unwrap_or_default();
    Ok(match target.starts_with('@') {
        true => TypingTarget::Peer(
            PeerSelector::parse(target).map_err(|error| format!("the name {target} {error}"))?,
        ),
        false => TypingTarget::Room(command::parse_room(target)?),
    })
}

/// Parses the sequence of the first of several lines. `last`: the sequence of the last line.
fn parse_first_line(fields: &Fields<'_>, last: u64) -> u64 {
    let first = fields.number("from");
    first.map_or(last, |first| first.max(1).min(last))
}

fn with_place(command: UserCommand, fields: &Fields<'_>) -> RequestKind {
    match fields.cursor("after") {
        Some(after) => RequestKind::Resend { command, after },
        None => command.into(),
    }
}

fn parse_text(fields: &Fields<'_>) -> Result<String, String> {
    let content = fields
        .raw("content")
        .ok_or("the JSON line has no \"content\"")?;
    parse_string(content).ok_or_else(|| "\"content\" must be a string".to_owned())
}

/// What the lines of a request or an event are.
fn parse_form(fields: &Fields<'_>) -> LineForm {
    let flag = |name| fields.flag(name).unwrap_or(false);
    LineForm::from_flags(flag("action"), flag("block"))
}

/// Parses a request to publish. `content` is a string, or an array of lines.
fn parse_chat(fields: &Fields<'_>) -> Result<UserCommand, String> {
    let form = parse_form(fields);
    let mut lines = Lines::default();
    match fields.raw("content") {
        Some(content) if content.starts_with('[') => {
            let mut text = String::with_capacity(content.len());
            for_each_json_line(content, &mut |line| {
                text.push_str(&form.without_line_ends(line));
                text.push('\n');
            })
            .map_err(|_| "\"content\" must be a string or an array of at most 4096 strings")?;
            lines = match Lines::parse(text.as_bytes()) {
                Some(lines) => lines,
                None if text.is_empty() => return Err("\"content\" is empty".to_owned()),
                None => return Err("a line is longer than 16 KiB, not sent".to_owned()),
            };
        }
        _ => {
            let text = parse_text(fields)?;
            let pushed = lines.push(form.without_line_ends(&text).as_bytes());
            pushed.map_err(|error| error.to_string())?;
        }
    }
    Ok(match fields.text("target") {
        Some(name) if name.starts_with('@') => UserCommand::SendToPeer {
            selector: PeerSelector::parse(name)
                .map_err(|error| format!("the name {name} {error}"))?,
            lines,
            form,
            timeout_ms: fields.number("wait_ms").unwrap_or(0),
        },
        target => UserCommand::SendToRoom {
            room: target.map(command::parse_room).transpose()?,
            lines,
            form,
        },
    })
}

/// Parses the fields that identify a log. `author` is the log's author.
fn parse_log(fields: &Fields<'_>, author: Option<PeerId>) -> Option<LogId> {
    Some(LogId {
        target: Target::parse(fields.text("target")?)?,
        author: author?,
        incarnation: hex::parse(fields.text("incarnation")?)?,
    })
}

/// Parses an event of a running program. `own` is the program's identity, known after the first
/// event. Some events name a log without its author. The author is then `own`.
///
/// Returns `None` if the event has an unknown type or is malformed.
pub fn parse_event(line: &[u8], own: Option<PeerId>) -> Option<SessionEvent> {
    let line = std::str::from_utf8(line).ok()?;
    let fields = parse_object(line).ok()?;
    let kind = match fields.kind() {
        "ready" => EventKind::Ready(Box::new(parse_ready(&fields)?)),
        _ if HAS_GUESTS && fields.flag("guest") == Some(true) => {
            parse_guest_notice(&fields)?.into()
        }
        "chat" => EventKind::Chat {
            chat: parse_chat_lines(&fields)?,
            cursor: fields.cursor("position"),
        },
        "position" => EventKind::Position {
            folder: FolderName::parse(fields.text("target")?)?,
            cursor: fields.cursor("position")?,
        },
        "stats" => parse_stats(&fields).into(),
        "help" => EventKind::Help(parse_text(&fields).ok()?),
        "self" => EventKind::Own {
            own: parse_peer(&fields)?,
            code: fields.text("code")?.to_owned(),
        },
        "trust" if HAS_TRUST => EventKind::Trust(parse_trust_entry(&fields)?),
        "known" => EventKind::Known(parse_peer(&fields)?),
        "delivery" => EventKind::Delivery(DeliveryReport {
            has_linked_peer: fields.flag("linked")?,
            delivery: Delivery {
                linked_peers: fields.number("members")?,
                acked_peers: fields.number("acked")?,
                required_peers: fields.number("need")?,
                has_undelivered: fields.flag("undelivered")?,
                is_unsent_to_guests: fields.flag("unsent_to_guests").unwrap_or(false),
                is_settled: fields.flag("settled")?,
                recheck_at: None,
            },
            undelivered: fields.text("reason").unwrap_or_default().to_owned(),
        }),
        "status" => EventKind::Status(Status {
            has_linked_peer: fields.flag("linked")?,
            is_blocked: fields.flag("blocked")?,
            others_here: fields.number("here").unwrap_or(0),
        }),
        "done" => EventKind::Done(Done {
            stored: fields.number("sequence").and_then(|sequence| {
                Some(StoredLines {
                    log: parse_log(&fields, own)?,
                    first: parse_first_line(&fields, sequence),
                    sequence,
                })
            }),
            rooms: parse_rooms(&fields),
            cursor: fields.cursor("position"),
        }),
        _ => parse_notice(&fields, own)?.into(),
    };
    let id = parse_id(&fields);
    Some(SessionEvent { id, kind })
}

fn parse_guest_notice(fields: &Fields<'_>) -> Option<Notice> {
    match fields.kind() {
        "peer" => Some(Notice::Guests(vec![parse_guest(fields)?])),
        _ => parse_guest_event(fields).map(Notice::Guest),
    }
}

fn parse_peer(fields: &Fields<'_>) -> Option<Peer> {
    Some(Peer {
        id: fields.id("sender")?,
        nick: fields.nick("username")?,
    })
}

fn parse_trust_entry(fields: &Fields<'_>) -> Option<TrustEntry> {
    let Peer { id, nick } = parse_peer(fields)?;
    let state = TrustState::parse(fields.text("state")?)?;
    let known = KnownPeer {
        nick,
        id,
        first_seen: WallTime::parse(fields.text("since")?)?,
        trust: match state {
            TrustState::Known(trust) => trust,
            _ => TrustLevel::Seen,
        },
    };
    let count = |name| fields.number(name).unwrap_or(0);
    let misbehaviour = Misbehaviour {
        violations: count("violations"),
        floods: count("floods"),
        forks: count("forks"),
    };
    Some(TrustEntry {
        misbehaviour,
        ..TrustEntry::new(known, state)
    })
}

fn parse_rooms(fields: &Fields<'_>) -> Option<Vec<Room>> {
    let rooms = fields.texts("rooms")?.into_iter();
    Some(
        rooms
            .filter_map(|room| Room::parse_canonical(&room))
            .collect(),
    )
}

fn parse_ready(fields: &Fields<'_>) -> Option<Ready> {
    Some(Ready {
        protocol: fields.number("protocol")?,
        me: parse_peer(fields)?,
        port: fields.number("port")?.try_into().ok()?,
        uptime_ms: fields.number("uptime_ms")?,
        has_linked_peer: fields.flag("linked")?,
        network: NetworkTag::parse(fields.text("network")?)?,
        multicast: fields
            .text("multicast")
            .and_then(|group| group.parse().ok()),
        interfaces: fields.texts("interfaces")?,
        maps_port: fields.flag("nat").unwrap_or(false),
        mapped: fields.text("mapped").and_then(|it| it.parse().ok()),
        uses_mdns: fields.text("multicast").is_some() && fields.flag("no_mdns") != Some(true),
        scan: fields.text("scan").map(str::to_owned),
        speaks_lsnp: fields.flag("lsnp").unwrap_or(false),
        speaks_go: fields.flag("go").unwrap_or(false),
        timing: Timing {
            interval_ms: fields.number("interval_ms"),
            patience_ms: fields.number("patience_ms"),
        },
        lsnp_room: fields.text("lsnp_room").and_then(Room::parse_canonical),
        grapes: fields.texts("grapes").unwrap_or_default(),
        uses_dht: fields.flag("dht").unwrap_or(false),
        dht_bootstrap: fields.texts("dht_bootstrap").unwrap_or_default(),
    })
}

fn parse_chat_lines(fields: &Fields<'_>) -> Option<ChatLines> {
    let content = fields.raw("content")?;
    let form = parse_form(fields);
    let mut text = String::with_capacity(content.len());
    for_each_json_line(content, &mut |line| {
        text.push_str(&form.without_line_ends(line));
        text.push('\n');
    })
    .ok()?;
    let received = fields.time("received");
    Some(ChatLines {
        log: parse_log(fields, fields.id("sender"))?,
        username: fields.nick("username")?,
        sequence: fields.number("sequence")?,
        lamport: fields.number("lamport")?,
        timestamp: fields.time("timestamp")?,
        form,
        arrival: received.map(|received| Arrival {
            received,
            late: fields.flag("late").unwrap_or(false),
            is_own: fields.flag("self").unwrap_or(false),
            is_backlog: fields.flag("backlog").unwrap_or(false),
        }),
        text,
    })
}

fn parse_notice(fields: &Fields<'_>, own: Option<PeerId>) -> Option<Notice> {
    if fields.kind() == "error" {
        return Some(Notice::Error {
            code: fields.text("code")?.parse().unwrap_or(ErrorCode::Failed),
            content: parse_text(fields).ok()?,
        });
    }
    if fields.kind() == "rooms" {
        return Some(Notice::Rooms(parse_rooms(fields)?));
    }
    if fields.kind() == "peer" {
        return Some(Notice::Peers(vec![parse_peer_info(fields)?]));
    }
    if fields.kind() == "delivered" {
        return Some(Notice::Delivered {
            log: parse_log(fields, own)?,
            sequence: fields.number("sequence")?,
            peer: Peer {
                id: fields.id("sender")?,
                nick: Nick::new_or_placeholder(""),
            },
        });
    }
    let peer = parse_peer(fields)?;
    if fields.kind() == "typing" {
        return Some(Notice::Typing {
            target: Target::parse(fields.text("target")?)?,
            peer,
            is_typing: fields.flag("typing")?,
        });
    }
    let at = fields.time("timestamp")?;
    let target = Target::parse(fields.text("target")?)?;
    if fields.kind() == "read" {
        return Some(Notice::Read {
            log: parse_log(fields, own)?,
            sequence: fields.number("sequence")?,
            peer,
            at,
        });
    }
    if fields.kind() == "gap" {
        return Some(Notice::Gap {
            incarnation: parse_log(fields, own)?.incarnation,
            target,
            author: peer,
            from: fields.number("from")?,
            to: fields.number("to")?,
            at,
        });
    }
    let room = target.room()?.clone();
    Some(match fields.kind() {
        "join" => Notice::Joined { room, peer, at },
        "leave" => Notice::Left { room, peer, at },
        "nick" => Notice::Renamed {
            room,
            peer,
            old: fields.nick("old")?,
            at,
        },
        "presence" if fields.number("count").is_none() => Notice::Presence {
            room,
            peer,
            away: match fields.text("change")? {
                "away" => Some(AwayText::cut(&parse_text(fields).ok()?)),
                "back" => None,
                _ => return None,
            },
            at,
        },
        "presence" => Notice::Flapped {
            room,
            peer,
            kind: match fields.text("change")? {
                "nick" => FlapKind::Name,
                "away" => FlapKind::Away,
                _ => FlapKind::Membership,
            },
            count: fields.number("count")?,
            at,
        },
        _ => return None,
    })
}

fn parse_peer_info(fields: &Fields<'_>) -> Option<PeerInfo> {
    let via = fields.id("via_sender").zip(fields.text("via"));
    Some(PeerInfo {
        peer: parse_peer(fields)?,
        address: match fields.text("address") {
            Some(address) => Some(address.parse().ok()?),
            None => None,
        },
        found_via: parse_found_via(fields.text("found")?)?,
        via: via.map(|(id, name)| Peer {
            id,
            nick: Nick::new_or_placeholder(name.rsplit_once('~').map_or(name, |(nick, _)| nick)),
        }),
        away: fields.text("away").map(AwayText::cut),
        familiarity: Familiarity::parse(fields.text("trust").unwrap_or_default()),
        state: parse_state(fields.text("state")?)?,
        rtt: fields.raw("rtt_ms").and_then(parse_tenths),
        rooms: parse_rooms(fields)?,
        last_seen: fields.time("last_seen"),
    })
}

fn parse_found_via(word: &str) -> Option<FoundVia> {
    let all = [
        FoundVia::Multicast,
        FoundVia::Static,
        FoundVia::Incoming,
        FoundVia::Neighbour,
        FoundVia::Exchange,
        FoundVia::Remembered,
        FoundVia::Mdns,
        FoundVia::Scan,
        FoundVia::Dht,
        FoundVia::Grenache,
    ];
    all.into_iter().find(|found| found.as_str() == word)
}

fn parse_state(word: &str) -> Option<PeerState> {
    let all = [PeerState::Linked, PeerState::Known, PeerState::Gone];
    all.into_iter().find(|state| state.as_str() == word)
}

/// Parses milliseconds with at most one decimal.
fn parse_tenths(text: &str) -> Option<TenthsMs> {
    let (whole, tenth) = text.split_once('.').unwrap_or((text, "0"));
    let whole: u64 = whole.parse().ok()?;
    let tenth: u64 = tenth.parse().ok().filter(|tenth| *tenth < 10)?;
    Some(TenthsMs(whole.checked_mul(10)?.checked_add(tenth)?))
}

/// Parses the counters of `{"type":"stats","links":1,…}`. The name of each field is the name of a
/// counter.
fn parse_stats(fields: &Fields<'_>) -> Notice {
    let troubles = fields.0.iter().filter_map(|Field { name, text, .. }| {
        let finder = name.strip_suffix(TROUBLE_SUFFIX)?.to_owned();
        Some((Cow::Owned(finder), text.clone()?))
    });
    let troubles = troubles.collect();
    let counters = fields.0.iter().filter_map(|Field { name, value, .. }| {
        let count = value.get().parse().ok().filter(|_| name != "id")?;
        Some((Cow::Owned(name.clone()), count))
    });
    let counters = counters.collect();
    Notice::Stats { counters, troubles }
}
