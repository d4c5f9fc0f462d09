//! Helpers for tests of the presentation: peers, notices and rendered text.

use std::sync::Arc;

use p2pchat::base::batch::batch::{Batch, LocalFields, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::event::notice::{Chat, FlapKind, Notice};
use p2pchat::base::event::peer::{Peer, PeerInfo, PeerState};
use p2pchat::base::identity::{Identity, NetworkTag};
use p2pchat::base::interface::FoundVia;
use p2pchat::base::lines::Lines;
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::presence::away::AwayText;
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::{TenthsMs, WallTime};
use p2pchat::base::trust::level::Familiarity;
use p2pchat::ui::command::UserCommand;
use p2pchat::ui::session_event::{ChatLines, EventKind, SessionEvent};
use p2pchat::ui::text::TextRenderer;

/// The identity with this seed.
pub fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

/// A peer with the identity of this seed.
pub fn peer(n: u8, nick: &str) -> Peer {
    Peer {
        id: identity(n).id(),
        nick: Nick::new(nick).unwrap(),
    }
}

/// Parses an RFC 3339 timestamp.
pub fn wall_time(stamp: &str) -> WallTime {
    WallTime::parse(stamp).unwrap()
}

pub fn lines(text: &[&str]) -> Lines {
    let mut lines = Lines::default();
    for line in text {
        lines.push(line.as_bytes()).unwrap();
    }
    lines
}

/// The fields of a chat notice in which tests differ.
pub struct ChatFields<'a> {
    /// Seed and nick of the author.
    pub by: (u8, &'a str),
    pub target: Target,
    pub form: LineForm,
    pub late: bool,
    pub text: &'a [&'a str],
}

/// A chat notice for alice, whose seed is 1.
pub fn chat(fields: ChatFields<'_>) -> Notice {
    let identity = identity(fields.by.0);
    let sealed = fields.target.recipient().map(|_| "AAAA");
    let draft = UnsignedBatch {
        log: LogId {
            target: fields.target,
            author: identity.id(),
            incarnation: 0x9f,
        },
        username: Nick::new(fields.by.1).unwrap(),
        sequence: 1,
        lamport: 99,
        timestamp: wall_time("2026-11-20T08:00:00Z"),
        run: 1,
        uptime: 0,
        republishes: None,
        salt: 9,
        previous: None,
        form: fields.form,
        lines: &lines(fields.text),
        sealed,
    };
    Notice::Chat(Chat {
        batch: Arc::new(Batch::sign(&identity, &NetworkTag::OPEN, draft)),
        local: LocalFields {
            received: wall_time("2026-11-21T10:31:04.123Z"),
            late: fields.late,
            ..LocalFields::default()
        },
        is_own: fields.by.0 == 1,
    })
}

pub fn general() -> Target {
    Target::Room(Room::general())
}

/// A message of bob in #general.
pub fn bob_says<'a>(text: &'a [&'a str]) -> ChatFields<'a> {
    ChatFields {
        by: (2, "bob"),
        target: general(),
        form: LineForm::Text,
        late: false,
        text,
    }
}

/// The event that a session makes of a notice.
pub fn event(notice: &Notice) -> SessionEvent {
    let kind = match notice {
        Notice::Chat(chat) => EventKind::Chat {
            chat: ChatLines::from(chat),
            cursor: None,
        },
        notice => notice.clone().into(),
    };
    SessionEvent::new(None, kind)
}

/// The text of a notice.
pub fn rendered(renderer: &mut TextRenderer, notice: &Notice) -> String {
    let mut out = Vec::new();
    match notice {
        Notice::Chat(chat) => {
            renderer.append_chat(&ChatLines::from(chat), WallTime::default(), &mut out);
        }
        notice => renderer.append_notice(notice, &mut out),
    }
    String::from_utf8(out).unwrap()
}

/// The short id of the identity with this seed.
pub fn short(n: u8) -> String {
    identity(n).id().short()
}

/// Notices that this peer joined and left #general.
pub fn joined_and_left(peer: &Peer, at: WallTime) -> [Notice; 2] {
    let (room, peer) = (Room::general(), peer.clone());
    let joined = Notice::Joined {
        room: room.clone(),
        peer: peer.clone(),
        at,
    };
    [joined, Notice::Left { room, peer, at }]
}

/// A notice that this peer changed 412 times in #general.
pub fn flapped(peer: &Peer, kind: FlapKind, at: WallTime) -> Notice {
    Notice::Flapped {
        room: Room::general(),
        peer: peer.clone(),
        kind,
        count: 412,
        at,
    }
}

/// In `#general`, a peer is away, or back.
pub fn presence(peer: &Peer, away: Option<&str>, at: WallTime) -> Notice {
    Notice::Presence {
        room: Room::general(),
        peer: peer.clone(),
        away: away.map(AwayText::cut),
        at,
    }
}

/// Bob, linked over multicast, in two rooms.
pub fn bob_info() -> PeerInfo {
    PeerInfo {
        profile: None,
        peer: peer(2, "bob"),
        address: Some("10.0.0.7:9999".parse().unwrap()),
        found_via: FoundVia::Multicast,
        via: None,
        away: None,
        familiarity: Familiarity::Known,
        state: PeerState::Linked,
        rtt: Some(TenthsMs(3)),
        rooms: vec![Room::general(), Room::new("ops").unwrap()],
        last_seen: Some(WallTime(1_795_257_064_123)),
    }
}

/// The command that sends lines to a room, or to the current one.
pub fn say(room: Option<&str>, text: &[&str], form: LineForm) -> UserCommand {
    UserCommand::SendToRoom {
        room: room.map(|r| Room::new(r).unwrap()),
        lines: lines(text),
        form,
    }
}
