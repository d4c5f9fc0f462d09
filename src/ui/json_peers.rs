//! Renders what peers do, and who is here, as JSON lines.
use super::json_line::JsonLine;
use crate::base::batch::batch::LogId;
use crate::base::event::notice::FlapKind;
use crate::base::event::peer::{Peer, PeerInfo};
use crate::base::name::{Nick, Room};
use crate::base::presence::away::AwayText;
use crate::base::presence::profile::HAS_PROFILE;
use crate::base::presence::typing::TypingTarget;
use crate::base::time::WallTime;
use crate::ui::profile::profile_json::append_profile;

pub(super) fn append_membership(
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

pub(super) fn append_flaps(
    room: &Room,
    peer: &Peer,
    kind: FlapKind,
    count: u64,
    at: WallTime,
    out: &mut Vec<u8>,
) {
    let mut line = JsonLine::new("presence", out);
    line.raw("timestamp", format_args!("\"{at}\""));
    line.string("target", room.as_str());
    line.peer(peer);
    let change = match kind {
        FlapKind::Membership => "join",
        FlapKind::Name => "nick",
        FlapKind::Away => "away",
    };
    line.string("change", change);
    line.raw("count", count);
    line.finish();
}

/// Appends that a peer is away, with what it says as `content`; or that it is back.
pub(super) fn append_presence(
    room: &Room,
    peer: &Peer,
    away: Option<&AwayText>,
    at: WallTime,
    out: &mut Vec<u8>,
) {
    let mut line = JsonLine::new("presence", out);
    line.raw("timestamp", format_args!("\"{at}\""));
    line.string("target", room.as_str());
    line.peer(peer);
    match away {
        Some(text) => {
            line.string("change", "away");
            line.string("content", text.as_str());
        }
        None => line.string("change", "back"),
    }
    line.finish();
}

/// Appends the request to say that our user types a line.
pub(super) fn append_typing(target: &TypingTarget, out: &mut Vec<u8>) {
    let mut line = JsonLine::new("typing", out);
    match target {
        TypingTarget::Room(room) => line.string("target", room.as_str()),
        TypingTarget::Peer(selector) => line.string("target", &selector.to_string()),
    }
    line.finish();
}

/// Appends a receipt as a JSON line. `kind` is `delivered` if `peer` stores the log up to
/// `sequence`. `kind` is `read` if `peer` has shown the log up to `sequence`.
pub(super) fn append_receipt(
    kind: &str,
    log: &LogId,
    sequence: u64,
    peer: &Peer,
    at: Option<WallTime>,
    out: &mut Vec<u8>,
) {
    let mut line = JsonLine::new(kind, out);
    line.log(log);
    line.raw("sequence", sequence);
    line.id(&peer.id);
    if let Some(at) = at {
        line.raw("timestamp", format_args!("\"{at}\""));
        line.name(peer);
    }
    line.finish();
}

pub(super) fn append_peer(view: &PeerInfo, out: &mut Vec<u8>) {
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
        line.raw("via_sender", format_args!("\"{}\"", via.id));
    }
    line.string("trust", view.familiarity.as_str());
    if let Some(at) = view.last_seen {
        line.raw("last_seen", format_args!("\"{at}\""));
    }
    if let Some(away) = &view.away {
        line.string("away", away.as_str());
    }
    if let Some(profile) = view.profile.as_ref().filter(|_| HAS_PROFILE) {
        append_profile(&mut line, profile);
    }
    line.finish();
}
