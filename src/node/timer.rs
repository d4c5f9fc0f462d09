//! Named timers: what the node does next although nothing happened.
use crate::base::time::Time;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// When to stop waiting for an unfinished handshake to become a link. It may go on.
    ExpectLink,
    /// When to end an unfinished handshake; one deferred behind another run's link, when to decide
    /// between the two.
    Handshake,
    /// When to ping an idle link.
    Ping,
    /// When to end a link that did not answer its ping.
    Pong,
    /// When to show a peer as gone whose link was replaced and did not come again.
    ReplaceLink,
    /// When to send the changed routes to the neighbours.
    AdvertiseRoutes,
    /// When to believe others' routes to a lost peer again.
    HoldDown,
    /// When to broadcast our next beacon.
    Beacon,
    /// When to dial the next candidate.
    Dial,
    /// When to select the neighbours anew.
    UpdateTopology,
    /// When to decide which peer a name means.
    ResolveName,
    /// When to send acknowledgements, requests and offers, or to store again after a failure.
    Replicate,
    /// When to note receipts, or to look again whether all is delivered.
    Delivery,
}

/// Collects the features' deadlines and keeps the earliest.
#[derive(Default)]
pub struct Deadlines {
    next: Option<(Timer, Time)>,
}

impl Deadlines {
    /// States one deadline. Of equal ones the first stated is kept.
    pub fn add(&mut self, timer: Timer, at: Time) {
        if self.next.is_none_or(|(_, earliest)| at < earliest) {
            self.next = Some((timer, at));
        }
    }

    /// States a deadline, if there is one.
    pub fn add_some(&mut self, timer: Timer, at: Option<Time>) {
        if let Some(at) = at {
            self.add(timer, at);
        }
    }

    /// The earliest deadline, and what it is for.
    pub fn next(&self) -> Option<(Timer, Time)> {
        self.next
    }
}
