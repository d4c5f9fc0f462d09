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
    /// When to send the next acknowledgement or offer.
    SendAcks,
    /// When to request a log from another source.
    SwitchSource,
    /// When to query for missing lines, or to give up a request for them.
    RequestGap,
    /// When to store again after the store failed.
    RetryStore,
    /// When to look again whether all lines are delivered.
    RecheckDelivery,
    /// When to persist the receipts.
    PersistReceipts,
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
