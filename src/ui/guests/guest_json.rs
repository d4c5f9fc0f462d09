//! Guests as JSON lines.
use crate::base::event::peer::{Peer, PeerState};
use crate::base::guests::guest::{GuestInfo, GuestNetwork, HAS_GUESTS, guest_name};
use crate::base::guests::guest_event::{GuestEvent, GuestNotice};
use crate::base::name::{GUEST_PREFIX, Nick, Room};
use crate::base::presence::profile::{DISPLAY_NAME_FIELD, Profile, STATUS_FIELD};
use crate::ui::json_line::JsonLine;
use crate::ui::json_parser::fields::{Fields, parse_string};
use crate::ui::profile::profile_json::parse_avatar;

/// Appends a row of /users as a JSON line.
pub(in crate::ui) fn append_guest(guest: &GuestInfo, out: &mut Vec<u8>) {
    if !HAS_GUESTS {
        return;
    }
    let mut line = JsonLine::new("peer", out);
    line.guest_name(&guest.nick);
    line.string("address", &guest.address.to_string());
    line.string("found", guest.found_via.as_str());
    line.string("state", PeerState::of_guest(guest.is_gone).as_str());
    line.raw("rtt_ms", "null");
    line.rooms(&guest.rooms);
    line.raw("guest", true);
    let profile = &guest.profile;
    for (name, value) in [
        ("display_name", profile.get(DISPLAY_NAME_FIELD)),
        ("status", profile.get(STATUS_FIELD)),
    ] {
        if !value.is_empty() {
            line.string(name, value);
        }
    }
    if let Some(avatar) = &profile.avatar {
        line.string("avatar_type", avatar.kind());
        line.string("avatar", avatar.data());
    }
    line.finish();
}

/// Appends what a guest did as a JSON line.
pub(in crate::ui) fn append_guest_event(notice: &GuestNotice, out: &mut Vec<u8>) {
    if !HAS_GUESTS {
        return;
    }
    let kind = match &notice.event {
        GuestEvent::Joined(_) => "join",
        GuestEvent::Left(_) => "leave",
        GuestEvent::Remark { .. } => "remark",
        _ => "chat",
    };
    let at = notice.at;
    let mut line = JsonLine::new(kind, out);
    line.raw("timestamp", format_args!("\"{at}\""));
    if kind == "chat" {
        line.raw("received", format_args!("\"{at}\""));
    }
    match &notice.event {
        GuestEvent::Received {
            author,
            username,
            content,
        } => {
            line.string("target", &format!("@{}", guest_name(&notice.nick)));
            line.peer(&Peer {
                id: *author,
                nick: username.clone(),
            });
            line.string("content", content);
        }
        GuestEvent::Wrote { recipient, content } => {
            line.string("target", &format!("@{recipient}"));
            line.guest_name(&notice.nick);
            line.string("content", content);
        }
        GuestEvent::Posted { room, content } | GuestEvent::Remark { room, content } => {
            line.string("target", room.as_str());
            line.guest_name(&notice.nick);
            line.string("content", content);
        }
        GuestEvent::Joined(room) | GuestEvent::Left(room) => {
            line.string("target", room.as_str());
            line.guest_name(&notice.nick);
        }
    }
    if kind == "chat" {
        let is_own = matches!(notice.event, GuestEvent::Received { .. });
        line.raw("self", is_own);
        line.raw("late", false);
    }
    line.raw("guest", true);
    line.finish();
}

/// Parses a row of /users.
pub(in crate::ui) fn parse_guest(fields: &Fields<'_>) -> Option<GuestInfo> {
    let text = |name| fields.text(name).unwrap_or_default();
    let networks = [
        GuestNetwork::Lsnp,
        GuestNetwork::GoP2pchat,
        GuestNetwork::Grenache,
    ];
    let mut found = networks.into_iter().map(GuestNetwork::found_via);
    Some(GuestInfo {
        nick: fields.nick("username")?,
        address: fields.text("address")?.parse().ok()?,
        found_via: found.find(|found| Some(found.as_str()) == fields.text("found"))?,
        is_gone: fields.text("state")? == PeerState::Gone.as_str(),
        rooms: fields
            .texts("rooms")?
            .iter()
            .filter_map(|room| Room::parse_canonical(room))
            .collect(),
        profile: Profile::new(text("display_name"), text("status"), parse_avatar(fields)),
    })
}

/// Parses what a guest did. Returns `None` if the line is malformed.
pub(in crate::ui) fn parse_guest_event(fields: &Fields<'_>) -> Option<GuestNotice> {
    let target = fields.text("target")?;
    let room = || Room::parse_canonical(target);
    let content = || parse_string(fields.raw("content")?);
    let event = match fields.kind() {
        "join" => GuestEvent::Joined(room()?),
        "leave" => GuestEvent::Left(room()?),
        "remark" => GuestEvent::Remark {
            room: room()?,
            content: content()?,
        },
        "chat" if fields.id("sender").is_some() => GuestEvent::Received {
            author: fields.id("sender")?,
            username: fields.nick("username")?,
            content: content()?,
        },
        "chat" if target.starts_with('@') => GuestEvent::Wrote {
            recipient: target.strip_prefix('@')?.parse().ok()?,
            content: content()?,
        },
        "chat" => GuestEvent::Posted {
            room: room()?,
            content: content()?,
        },
        _ => return None,
    };
    let nick = match &event {
        GuestEvent::Received { .. } => {
            let name = target.strip_prefix('@')?.strip_prefix(GUEST_PREFIX)?;
            Nick::new_or_placeholder(name)
        }
        _ => fields.nick("username")?,
    };
    let at = fields.time("timestamp")?;
    Some(GuestNotice { nick, at, event })
}
