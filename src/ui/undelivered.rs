//! Says in which rooms lines are undelivered, and who lacks them.
use std::fmt::Write as _;

use crate::base::event::peer::Peer;
use crate::base::missing_lines::{SyncState, Undelivered};
use crate::base::name::Target;

/// How many targets are named.
const TARGETS_NAMED_MAX: usize = 3;

/// Whether any peer is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connectivity {
    /// At least one peer is linked.
    Linked,
    /// No peer is linked.
    Unlinked {
        /// Number of peers whose beacons arrive.
        heard_peers: usize,
    },
}

/// Describes undelivered lines, such as `#ops: bob~k7mq lacks lines, 1 of 2 peers have received
/// all`. Without any link, also says whether peers were heard: a firewall may block the links.
pub fn describe(undelivered: &[Undelivered], connectivity: Connectivity) -> String {
    let has_linked_peer = connectivity == Connectivity::Linked;
    let mut text = String::new();
    for (i, of_target) in undelivered.iter().take(TARGETS_NAMED_MAX).enumerate() {
        if i > 0 {
            text.push_str("; ");
        }
        append_target(of_target, has_linked_peer, &mut text);
    }
    if let more @ 1.. = undelivered.len().saturating_sub(TARGETS_NAMED_MAX) {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "; and {more} more");
    }
    if undelivered.iter().any(|it| !lack_only_guests(it)) {
        append_heard(connectivity, &mut text);
    }
    text
}

/// Describes what is still to be exchanged, such as `bob~k7mq and 1 more: not all lines are
/// exchanged`. Without any link, also says whether peers were heard.
pub fn describe_sync(state: &SyncState, connectivity: Connectivity) -> String {
    let mut text = String::new();
    match (connectivity, state.behind_peers) {
        (Connectivity::Unlinked { .. }, _) => text.push_str("no peer is connected"),
        (_, 0) => text.push_str("a peer is not connected yet, or the store is full"),
        (_, peers) => {
            append_names(&state.behind, peers, &mut text);
            text.push_str(": not all lines are exchanged");
        }
    }
    append_heard(connectivity, &mut text);
    text
}

/// Without any link, appends whether peers were heard.
fn append_heard(connectivity: Connectivity, text: &mut String) {
    let Connectivity::Unlinked { heard_peers } = connectivity else {
        return;
    };
    // Writing to a `String` cannot fail.
    let _ = match heard_peers {
        0 => write!(text, "; none was heard"),
        1 => write!(
            text,
            "; 1 was heard, but it does not answer on TCP (a firewall?)"
        ),
        n => write!(
            text,
            "; {n} were heard, but none answers on TCP (a firewall?)"
        ),
    };
}

fn append_target(of_target: &Undelivered, has_linked_peer: bool, text: &mut String) {
    let acked = of_target.acked_peers;
    // All known peers may have acknowledged the lines. At least one more peer then lacks them: a
    // peer that is away.
    let required = of_target.required_peers.max(acked + 1);
    let _ = match (&of_target.target, &of_target.lacking[..]) {
        (Target::Peer(_), [recipient, ..]) => write!(text, "@{recipient}: "),
        (target, _) => write!(text, "{target}: "),
    };
    let _ = match &of_target.lacking[..] {
        [] if of_target.is_lost_to_guests => write!(
            text,
            "no guest took all lines: each service refused one, or gave no answer"
        ),
        _ if lack_only_guests(of_target) => write!(text, "not all lines were sent to the guests"),
        _ if !has_linked_peer => write!(text, "no peer is connected"),
        _ if of_target.is_recipient_absent => write!(text, "this peer is not here"),
        [] if acked == 0 => write!(text, "nobody in the room is connected"),
        [] => write!(text, "{acked} of {required} peers have received all lines"),
        _ if of_target.target.room().is_none() => write!(text, "the lines have not arrived"),
        _ => {
            append_names(&of_target.lacking, of_target.lacking_peers, text);
            text.push_str(match of_target.lacking_peers {
                1 => " lacks",
                _ => " lack",
            });
            write!(
                text,
                " lines, {acked} of {required} peers have received all"
            )
        }
    };
}

/// Whether the lines lack nothing but to be sent to guests.
fn lack_only_guests(of_target: &Undelivered) -> bool {
    let concerns_guests = of_target.is_lacked_by_guests || of_target.is_lost_to_guests;
    concerns_guests && of_target.lacking.is_empty()
}

/// Appends names, such as `bob~k7mq, carol~x2fe and 4 more`. `count`: how many peers there are.
fn append_names(named: &[Peer], count: u64, text: &mut String) {
    let more = count.saturating_sub(named.len() as u64);
    for (i, peer) in named.iter().enumerate() {
        let separator = match i {
            0 => "",
            _ if more == 0 && i + 1 == named.len() => " and ",
            _ => ", ",
        };
        let _ = write!(text, "{separator}{peer}");
    }
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
}
