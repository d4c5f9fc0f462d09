//! A peer as users see it.
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::base::identity::PeerId;
use crate::base::interface::FoundVia;
use crate::base::name::{Nick, Room};
use crate::base::presence::away::AwayText;
use crate::base::presence::profile::Profile;
use crate::base::time::{TenthsMs, WallTime};
use crate::base::trust::level::Familiarity;

/// A peer: its key and the name that it claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The key.
    pub id: PeerId,
    /// The claimed name.
    pub nick: Nick,
}

/// Formats the peer as its name, `~`, and [`PeerId::short`]: `bob~k7mq`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{}", self.nick, self.id.short())
    }
}

/// What `p2pchat peers` and `/users` show about one peer.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerInfo {
    /// The peer.
    pub peer: Peer,
    /// The address of the link. If there is no link, the last discovered address of the peer.
    /// `None` if the peer is reachable only through another peer.
    pub address: Option<SocketAddr>,
    /// How the peer was found.
    pub found_via: FoundVia,
    /// The linked peer through which this peer is reachable. `None` if this peer is linked, or
    /// known only by its beacon.
    pub via: Option<Peer>,
    /// Why the peer is away. `None`: it is not, as far as known.
    pub away: Option<AwayText>,
    /// What the peer says about itself, as far as it has come. Only /whois shows it.
    pub profile: Option<Arc<Profile>>,
    /// How well the peer is known.
    pub familiarity: Familiarity,
    /// Is the peer linked, known or gone?
    pub state: PeerState,
    /// Round-trip time of the link. `None` without a link, or before the first measurement.
    pub rtt: Option<TenthsMs>,
    /// Rooms that both this program and the peer have joined, as far as known.
    pub rooms: Vec<Room>,
    /// When the peer was last heard, over its link or by its beacon. `None`: never in this run.
    pub last_seen: Option<WallTime>,
}

/// Whether a peer can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// A link to the peer exists.
    Linked,
    /// The peer has no link. Its beacon is recent, or a linked peer has a route to the peer.
    Known,
    /// The peer has neither a link nor a route, and its beacon has expired.
    Gone,
}

impl PeerState {
    /// The state of a guest, which is never linked.
    pub fn of_guest(is_gone: bool) -> PeerState {
        match is_gone {
            true => PeerState::Gone,
            false => PeerState::Known,
        }
    }

    /// The word for this state in the output of `p2pchat peers`.
    pub fn as_str(self) -> &'static str {
        match self {
            PeerState::Linked => "linked",
            PeerState::Known => "known",
            PeerState::Gone => "gone",
        }
    }
}
