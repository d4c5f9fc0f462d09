//! Reports of missing lines: the notice of a gap, what peers lack of our lines, and how far these
//! are delivered.
use std::ops::RangeInclusive;

use super::batch::batch::Batch;
use super::event::notice::Notice;
use super::event::peer::Peer;
use super::name::Target;
use super::time::{Time, WallTime};

/// Builds the notice that lines of a log are missing. `batch` is any batch of this log, and
/// supplies the author's name. `lines` are the missing sequences.
pub fn gap_notice(batch: &Batch, lines: RangeInclusive<u64>, at: WallTime) -> Notice {
    Notice::Gap {
        target: batch.log.target.clone(),
        author: Peer {
            id: batch.log.author,
            nick: batch.username.clone(),
        },
        incarnation: batch.log.incarnation,
        from: *lines.start(),
        to: *lines.end(),
        at,
    }
}

/// Lines to one target that not enough peers store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// The room or the recipient.
    pub target: Target,
    /// As `Delivery::acked_peers`, for this target.
    pub acked_peers: u64,
    /// As `Delivery::required_peers`, for this target.
    pub required_peers: u64,
    /// The first few recipients or reachable room members that lack lines.
    pub lacking: Vec<Peer>,
    /// Whether the recipient is neither linked nor reachable through others. False for a room.
    pub is_recipient_absent: bool,
    /// Number of all such peers.
    pub lacking_peers: u64,
    /// Whether guests are in the room, and some of the lines were sent to none of them yet.
    pub is_lacked_by_guests: bool,
    /// Whether no guest took some of the lines, and none will.
    pub is_lost_to_guests: bool,
}

/// Whether those who are here hold all lines of ours, and we hold all of theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncState {
    /// Whether there is nothing left to exchange.
    pub is_complete: bool,
    /// Number of linked peers.
    pub linked_peers: u64,
    /// The first few peers with which lines are still to be exchanged.
    pub behind: Vec<Peer>,
    /// Number of all such peers.
    pub behind_peers: u64,
    /// When to compute this state again if no input arrives by then. `None`: no set time.
    pub recheck_at: Option<Time>,
}

/// How far the lines published in this run are delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Number of linked peers that should get the lines: room members and recipients.
    pub linked_peers: u64,
    /// Number of peers that acknowledged all lines to the room, even peers that have left. With
    /// several rooms, the room with the fewest such peers counts. Each recipient that acknowledged
    /// all its direct messages adds one.
    pub acked_peers: u64,
    /// Number of peers that must acknowledge all lines to the room. Each recipient of direct
    /// messages adds one. Compare with `acked_peers`.
    pub required_peers: u64,
    /// Does a recipient or a reachable room member lack lines? Also `true` while any room has no
    /// peer that stores all our lines.
    pub has_undelivered: bool,
    /// Were lines in a room of guests sent to none of them? No later run sends them.
    pub is_unsent_to_guests: bool,
    /// Is a line lost, because each guest of its room who was asked refused it, or gave no answer?
    /// Always `false` if a number of peers is required.
    pub is_lost_to_guests: bool,
    /// Do enough peers store the lines?
    pub is_settled: bool,
    /// When to compute this state again if no input arrives by then. `None`: no set time.
    pub recheck_at: Option<Time>,
}
