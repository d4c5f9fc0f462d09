//! Timers: the reasons for which the node acts without an input from outside.
use crate::base::time::Time;

/// The purpose of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// When to stop expecting a link from an unfinished handshake. The handshake itself may
    /// continue.
    ExpectLink,
    /// When to end an unfinished handshake, or to choose between two runs of one peer.
    Handshake,
    /// When to ping an idle link.
    Ping,
    /// When to close a link that did not answer its ping.
    Pong,
    /// When to show a peer as gone because it was unreachable for too long.
    AwaitReturn,
    /// When to summarize the changes of a flapping peer.
    SummarizeFlaps,
    /// When a peer no longer counts as typing.
    EndTyping,
    /// When to give up a profile that a peer does not send.
    FetchProfile,
    /// When to send changed routes to the neighbours.
    AdvertiseRoutes,
    /// When to accept routes to a lost member again, and when to forget it.
    HoldDown,
    /// When to announce us to guests, to send lines to them, or to show one as gone.
    Guests,
    /// When to send a recipient what we store of a log, because its author sends no earlier lines.
    EndFetching,
    /// When to broadcast our next beacon.
    Beacon,
    /// When to dial the next candidate.
    Dial,
    /// When to introduce newly linked peers to the others.
    IntroducePeers,
    /// When to save the addresses at which peers were linked.
    SaveAddresses,
    /// When to select the neighbours anew.
    UpdateTopology,
    /// When to decide which peer a name means.
    ResolveName,
    /// When to send the next acknowledgement or offer.
    SendAcks,
    /// When to request a log from another source.
    SwitchSource,
    /// When to request missing lines, or to give up such a request.
    RequestGap,
    /// When to retry the store after a failure.
    RetryStore,
    /// When to save the receipts to disk.
    PersistReceipts,
}

/// Collects the deadlines of all features and keeps the earliest.
#[derive(Default)]
pub struct Deadlines {
    next: Option<(Timer, Time)>,
}

impl Deadlines {
    /// Adds a deadline. Of two equal deadlines, the one added first is kept.
    pub fn add(&mut self, timer: Timer, at: Time) {
        if self.next.is_none_or(|(_, earliest)| at < earliest) {
            self.next = Some((timer, at));
        }
    }

    /// Adds a deadline unless it is `None`.
    pub fn add_some(&mut self, timer: Timer, at: Option<Time>) {
        if let Some(at) = at {
            self.add(timer, at);
        }
    }

    /// The earliest deadline, with its timer.
    pub fn next(&self) -> Option<(Timer, Time)> {
        self.next
    }
}
