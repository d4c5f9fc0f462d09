//! A gateway, and users of LSNP on its network that exist only as datagrams.
use std::net::{Ipv4Addr, SocketAddrV4};

use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::guests::guest_event::{GuestEvent, GuestNotice};
use p2pchat::base::guests::lsnp::{LsnpConfig, LsnpInput};
use p2pchat::wire::lsnp::{LsnpContent, LsnpMessage};

use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;

/// The port of the gateways.
pub const GATEWAY_PORT: u16 = 8_500;

/// Alice, who speaks LSNP, and is in `#lsnp`.
pub fn gateway(seed: u64, repeat_room: Option<&str>) -> (Lan, PeerIndex) {
    let mut lan = Lan::new(seed);
    let alice = lan.add_peer("alice");
    lan.peers[alice].lsnp = Some(LsnpConfig {
        port: GATEWAY_PORT,
        repeat_room: repeat_room.and_then(|room| p2pchat::Room::new(room).ok()),
    });
    lan.start(alice);
    lan.join(alice, "#lsnp");
    lan.run_for(2_000);
    lan.peers[alice].lsnp_sent.clear();
    (lan, alice)
}

/// The gateway is about to repeat these lines in `#general`.
pub fn expect_repeated(lan: &mut Lan, who: PeerIndex, lines: &[String]) {
    let room = p2pchat::Room::general();
    lan.invariants.record_said(who, &room, lines);
}

/// A user of LSNP on the network of the gateway.
#[derive(Clone, Copy)]
pub struct Foreigner {
    pub name: &'static str,
    pub ip: [u8; 4],
    pub port: u16,
}

impl Foreigner {
    /// A user on the host with this number, whose program listens at the port 9000.
    pub const fn new(name: &'static str, host: u8) -> Foreigner {
        Foreigner {
            name,
            ip: [10, 0, 9, host],
            port: 9_000,
        }
    }

    pub fn address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::from(self.ip), self.port)
    }

    pub fn user(&self) -> String {
        format!("{}@{}", self.name, Ipv4Addr::from(self.ip))
    }

    /// Sends a message to the gateway alone.
    pub fn send(&self, lan: &mut Lan, to: PeerIndex, content: LsnpContent<'_>) {
        self.deliver(lan, to, false, content);
    }

    /// Sends a message to everybody.
    pub fn broadcast(&self, lan: &mut Lan, to: PeerIndex, content: LsnpContent<'_>) {
        self.deliver(lan, to, true, content);
    }

    /// Tells everybody that it is here.
    pub fn discover(&self, lan: &mut Lan, to: PeerIndex) {
        let port = self.port;
        self.broadcast(lan, to, LsnpContent::Discovery { port });
    }

    fn deliver(&self, lan: &mut Lan, to: PeerIndex, is_to_all: bool, content: LsnpContent<'_>) {
        let message = LsnpMessage {
            user: &self.user(),
            timestamp_s: 1_795_230_890,
            message_id: "",
            gateway: None,
            content,
        };
        deliver_bytes(lan, to, 1, self.address(), is_to_all, &message.encode());
    }
}

/// Delivers a datagram of LSNP to a peer.
pub fn deliver_bytes(
    lan: &mut Lan,
    to: PeerIndex,
    interface: u32,
    source: SocketAddrV4,
    is_to_all: bool,
    bytes: &[u8],
) {
    let input = LsnpInput {
        interface,
        source,
        is_to_all,
        bytes,
    };
    lan.feed(to, Input::Lsnp(input));
}

/// The messages that a peer sent since the last call, as `RECIPIENT TYPE TEXT`. The recipient is
/// `all`, or an address.
pub fn take_sent(lan: &mut Lan, who: PeerIndex) -> Vec<String> {
    let sent = std::mem::take(&mut lan.peers[who].lsnp_sent);
    let shown = sent.into_iter().map(|(to, bytes)| {
        let to = to.map_or("all".to_owned(), |to| to.to_string());
        let message = LsnpMessage::parse(&bytes).expect("a message");
        assert_eq!(message.user, "alice@10.0.0.1");
        match message.content {
            LsnpContent::Discovery { port } => format!("{to} PEER_DISCOVERY {port}"),
            LsnpContent::ListRequest => format!("{to} PEER_LIST_REQUEST"),
            LsnpContent::ListResponse(users) => {
                format!("{to} PEER_LIST_RESPONSE {}", users.join(" "))
            }
            LsnpContent::Post(line) => format!("{to} POST {line}"),
            LsnpContent::Direct { to: user, line } => format!("{to} DM {user} {line}"),
            LsnpContent::Profile {
                display_name,
                status,
                ..
            } => format!("{to} PROFILE {display_name} {status}"),
            LsnpContent::Revoke => format!("{to} REVOKE"),
        }
    });
    shown.collect()
}

/// What a peer showed of guests in its present run.
pub fn shown(lan: &Lan, who: PeerIndex) -> Vec<String> {
    let notices = lan.peers[who].notices_of_run();
    let events = notices.filter_map(|notice| match notice {
        Notice::Guest(GuestNotice { nick, event, .. }) => Some(match event {
            GuestEvent::Joined(room) => format!("{room} {nick} joined"),
            GuestEvent::Left(room) => format!("{room} {nick} left"),
            GuestEvent::Posted { room, content } => format!("{room} {nick}: {content}"),
            GuestEvent::Remark { room, content } => format!("{room} {nick} {content}"),
            GuestEvent::Wrote { content, .. } => format!("{nick} -> us: {content}"),
            GuestEvent::Received { content, .. } => format!("us -> {nick}: {content}"),
        }),
        _ => None,
    });
    events.collect()
}

/// The sentence of the last error that a peer reported.
pub fn last_error(lan: &Lan, who: PeerIndex) -> &str {
    let errors = lan.peers[who].notices_of_run();
    let errors = errors.filter_map(|notice| match notice {
        Notice::Error { content, .. } => Some(&**content),
        _ => None,
    });
    errors.last().unwrap_or("")
}

/// How many guests a peer lists.
pub fn guest_count(lan: &mut Lan, who: PeerIndex) -> usize {
    lan.feed(who, Input::Command(Command::Peers));
    let notices = lan.peers[who].notices_of_run().collect::<Vec<_>>();
    let lists = notices.iter().rev().find_map(|notice| match notice {
        Notice::Guests(guests) => Some(guests.len()),
        _ => None,
    });
    lists.unwrap_or(0)
}
