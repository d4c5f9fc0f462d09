//! Guests: who they are, and how they are named.
use std::net::SocketAddr;

use crate::base::batch::batch::LogId;
use crate::base::interface::FoundVia;
use crate::base::lines::Lines;
use crate::base::name::{GUEST_PREFIX, Nick, Room};
use crate::base::presence::profile::Profile;
use crate::base::text::line_form::LineForm;
use crate::base::text::rfc4648::BASE64;

/// Whether this program is built with guests. Where this is false, the code for them is unused, and
/// the compiler leaves it out.
pub const HAS_GUESTS: bool = cfg!(feature = "guests");

/// A network of other programs, which speaks in the clear. Its people are guests of one room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GuestNetwork {
    /// LSNP, text over UDP.
    Lsnp,
    /// p2pchat in Go, JSON over TCP.
    GoP2pchat,
    /// Grenache, JSON over WebSocket.
    Grenache,
}

impl GuestNetwork {
    /// The room whose guests are the people of this network.
    pub fn room(self) -> Room {
        Room::of_guests(match self {
            GuestNetwork::Lsnp => "#lsnp",
            GuestNetwork::GoP2pchat => "#p2pchat-go",
            GuestNetwork::Grenache => "#grenache",
        })
    }

    /// How guests of this network are found.
    pub fn found_via(self) -> FoundVia {
        match self {
            GuestNetwork::Lsnp => FoundVia::Lsnp,
            GuestNetwork::GoP2pchat => FoundVia::GoP2pchat,
            GuestNetwork::Grenache => FoundVia::Grenache,
        }
    }
}

/// The number of a guest. No number is used twice in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuestId(pub u64);

/// Lines for one guest, to send in the clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestLines {
    /// The number that each [`GuestLinesResult`] about these lines contains.
    pub request_id: u64,
    /// The guest.
    pub guest: GuestId,
    /// The lines.
    pub lines: Lines,
    /// What the lines are.
    pub form: LineForm,
}

/// For whom a line of our user's is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineTarget {
    /// All guests of a room. The line has this place in our log.
    Room(LogId, u64),
    /// One guest.
    Guest {
        /// The guest.
        id: GuestId,
        /// The number of the request, from [`GuestLines::request_id`].
        request_id: u64,
    },
}

/// What became of lines for one guest. Each line is counted once, in one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestLinesResult {
    /// The number of the request, from [`GuestLines::request_id`].
    pub request_id: u64,
    /// Number of lines.
    pub lines: u64,
    /// Whether they were sent or, where guests answer, taken. Else the reason, without a subject:
    /// `guest/bob does not answer`.
    pub result: Result<(), String>,
}

/// The name under which a guest is shown: `guest/zed`.
pub fn guest_name(nick: &Nick) -> String {
    format!("{GUEST_PREFIX}{nick}")
}

/// Longest picture in base64, in bytes: 45 KiB of a file. It fits into a datagram of LSNP, with the
/// rest of a profile.
pub const PICTURE_MAX_BYTES: usize = 60 * 1024;

/// Whether this is a picture in base64, of a permitted size.
pub fn is_picture(text: &str) -> bool {
    let fits = (1..=PICTURE_MAX_BYTES).contains(&text.len());
    fits && BASE64.decode(text.as_bytes()).is_some()
}

/// What `p2pchat peers` and `/users` show about one guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestInfo {
    /// The name that the guest claims.
    pub nick: Nick,
    /// Where the guest listens.
    pub address: SocketAddr,
    /// How the guest was found.
    pub found_via: FoundVia,
    /// Whether the guest said goodbye, or was silent for too long.
    pub is_gone: bool,
    /// The room whose guest it is.
    pub rooms: Vec<Room>,
    /// What the guest says about itself.
    pub profile: Profile,
}
