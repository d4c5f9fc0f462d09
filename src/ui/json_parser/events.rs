//! Parses the events of a running program. Unknown fields are ignored.
use std::borrow::Cow;
use std::sync::Arc;

use crate::base::batch::batch_content::for_each_json_line;
use crate::base::error_code::ErrorCode;
use crate::base::event::notice::{FlapKind, Notice};
use crate::base::event::output::KnownPeer;
use crate::base::event::peer::{Peer, PeerInfo, PeerState};
use crate::base::guests::guest::HAS_GUESTS;
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::interface::FoundVia;
use crate::base::missing_lines::Delivery;
use crate::base::name::{FolderName, Nick, Room, Target};
use crate::base::presence::away::AwayText;
use crate::base::time::{TenthsMs, WallTime};
use crate::base::timing::Timing;
use crate::base::trust::level::{Familiarity, HAS_TRUST, TrustLevel};
use crate::base::trust::misbehaviour::Misbehaviour;
use crate::ui::guests::guest_json::{parse_guest, parse_guest_event};
use crate::ui::json_parser::fields::{
    Field, Fields, TROUBLE_SUFFIX, parse_first_line, parse_form, parse_id, parse_log, parse_object,
    parse_text,
};
use crate::ui::profile::profile_json::parse_profile;
use crate::ui::session_event::{
    Arrival, ChatLines, DeliveryReport, Done, EventKind, Ready, SessionEvent, Status, StoredLines,
};
use crate::ui::trust_command::{TrustEntry, TrustState};

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
                is_lost_to_guests: fields.flag("lost_to_guests").unwrap_or(false),
                is_settled: fields.flag("settled")?,
                recheck_at: None,
            },
            undelivered: fields.text("reason").unwrap_or_default().to_owned(),
            delivered_lines: fields.number("delivered").unwrap_or(0),
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
    Some(SessionEvent::new(id, kind))
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
        familiarity: Familiarity::parse(fields.text("trust").unwrap_or_default()),
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
        text: text.into(),
    })
}

fn parse_notice(fields: &Fields<'_>, own: Option<PeerId>) -> Option<Notice> {
    if fields.kind() == "error" {
        return Some(Notice::Error {
            code: fields.text("code")?.parse().unwrap_or(ErrorCode::Failed),
            content: parse_text(fields).ok()?,
        });
    }
    if fields.kind() == "profile" {
        return parse_profile(fields).map(Notice::OwnProfile);
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
        profile: parse_profile(fields).map(Arc::new),
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
