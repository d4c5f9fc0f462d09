//! Helpers for tests of the presentation: peers, notices and rendered text.

use std::sync::Arc;

use p2pchat::base::batch::{Batch, LocalFields, LogId, UnsignedBatch};
use p2pchat::base::event::{Chat, Command, FoundVia, Notice, Peer, PeerInfo, PeerState};
use p2pchat::base::identity::{Identity, NetworkTag};
use p2pchat::base::lines::Lines;
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::time::{TenthsMs, WallTime};
use p2pchat::ui::command::UserCommand;
use p2pchat::ui::text::TextRenderer;

pub fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

pub fn peer(n: u8, nick: &str) -> Peer {
    Peer {
        id: identity(n).id(),
        nick: Nick::new(nick).unwrap(),
    }
}

pub fn wall(stamp: &str) -> WallTime {
    WallTime::parse(stamp).unwrap()
}

pub fn lines(text: &[&str]) -> Lines {
    let mut lines = Lines::default();
    for line in text {
        lines.push(line.as_bytes()).unwrap();
    }
    lines
}

pub struct Said<'a> {
    pub by: (u8, &'a str),
    pub target: Target,
    pub action: bool,
    pub late: bool,
    pub text: &'a [&'a str],
}

pub fn chat(said: Said<'_>) -> Notice {
    let identity = identity(said.by.0);
    let sealed = said.target.recipient().map(|_| "AAAA");
    let draft = UnsignedBatch {
        log: LogId {
            target: said.target,
            author: identity.id(),
            incarnation: 0x9f,
        },
        username: Nick::new(said.by.1).unwrap(),
        sequence: 1,
        lamport: 99,
        timestamp: wall("2026-11-20T08:00:00Z"),
        previous: None,
        action: said.action,
        lines: &lines(said.text),
        sealed,
    };
    Notice::Chat(Chat {
        batch: Arc::new(Batch::sign(&identity, &NetworkTag::OPEN, draft)),
        local: LocalFields {
            received: wall("2026-11-21T10:31:04.123Z"),
            late: said.late,
            ..LocalFields::default()
        },
        is_own: said.by.0 == 1,
        since_start: true,
    })
}

pub fn general() -> Target {
    Target::Room(Room::general())
}

pub fn bob_says<'a>(text: &'a [&'a str]) -> Said<'a> {
    Said {
        by: (2, "bob"),
        target: general(),
        action: false,
        late: false,
        text,
    }
}

pub fn shown(transcript: &mut TextRenderer, notice: &Notice) -> String {
    let mut out = Vec::new();
    transcript.append_notice(notice, &mut out);
    String::from_utf8(out).unwrap()
}

pub fn short(n: u8) -> String {
    identity(n).id().short()
}

/// This peer comes into #general, and goes.
pub fn comes_and_goes(peer: &Peer, at: WallTime) -> [Notice; 2] {
    let (room, peer) = (Room::general(), peer.clone());
    let joined = Notice::Joined {
        room: room.clone(),
        peer: peer.clone(),
        at,
    };
    [joined, Notice::Left { room, peer, at }]
}

pub fn view() -> PeerInfo {
    PeerInfo {
        peer: peer(2, "bob"),
        address: Some("10.0.0.7:9999".parse().unwrap()),
        found_via: FoundVia::Multicast,
        via: None,
        state: PeerState::Linked,
        rtt: Some(TenthsMs(3)),
        rooms: vec![Room::general(), Room::new("ops").unwrap()],
    }
}

pub fn say(room: Option<&str>, text: &[&str], action: bool) -> UserCommand {
    UserCommand::Core(Command::SendToRoom {
        room: room.map(|r| Room::new(r).unwrap()),
        lines: lines(text),
        action,
    })
}
