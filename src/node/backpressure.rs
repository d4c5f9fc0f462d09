//! Backpressure: which lines of the host wait a little before they are published.
use crate::base::time::Time;
use crate::node::node::Node;

/// How long a peer that has just come goes before a pour, in milliseconds from the beginning of its
/// handshake. On a LAN a `send` is done by then.
const NEWCOMER_MS: u64 = 20;
/// How long lines wait for recipients that take no more, in milliseconds. A socket of a LAN takes
/// more within a few. Who reads slower, or has stopped, gets the lines from the store.
const CONGESTION_MS: u64 = 20;
/// How long pours go on after they were held up, in milliseconds. Whoever comes again and again
/// thus holds them up for half of the time.
const POURS_GO_MS: u64 = 20;
/// Lines that arrive together are poured in, and not typed, if they have at least this many bytes.
const POUR_MIN_BYTES: usize = 16 * 1024;

/// Which lines of the host should wait a little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backpressure {
    /// None.
    None,
    /// Those that are poured in, until this time: a peer has just come, and each turn spent on them
    /// delays it.
    Pours(Time),
    /// All: nobody takes more of what we publish. Lines that are published nevertheless are sent
    /// later, from the store.
    All,
}

impl Backpressure {
    /// Whether lines of `bytes` bytes that have arrived together should wait.
    pub fn holds(self, bytes: usize) -> bool {
        match self {
            Backpressure::None => false,
            Backpressure::Pours(_) => bytes >= POUR_MIN_BYTES,
            Backpressure::All => true,
        }
    }
}

/// Holds up lines under backpressure, but never for long.
#[derive(Debug, Default)]
pub struct LineHold {
    /// Until when pours are not held up again.
    pours_go_until: Time,
}

impl LineHold {
    /// Until when to hold up lines of `bytes` bytes that have just arrived together, unless the
    /// backpressure ends before. `None`: they need not wait.
    pub fn begin(&mut self, bytes: usize, backpressure: Backpressure, now: Time) -> Option<Time> {
        if !backpressure.holds(bytes) {
            return None;
        }
        let Backpressure::Pours(until) = backpressure else {
            return Some(now + CONGESTION_MS);
        };
        if now < self.pours_go_until {
            return None;
        }
        self.pours_go_until = until + POURS_GO_MS;
        Some(until)
    }
}

impl Node {
    /// Which lines should wait a little now. See [`LineHold`] for how long.
    pub fn backpressure(&self, now: Time) -> Backpressure {
        if self.replication.is_congested(&self.ctx) {
            return Backpressure::All;
        }
        match self.newcomer_until().filter(|until| now < *until) {
            Some(until) => Backpressure::Pours(until),
            None => Backpressure::None,
        }
    }

    /// Until when the peer that has come last goes before pours: one in its handshake, or a
    /// transient one that is linked. A program that is transient itself serves nobody.
    fn newcomer_until(&self) -> Option<Time> {
        if self.ctx.transient {
            return None;
        }
        let transient = self.ctx.links.values().filter(|link| link.transient);
        let linked_at = transient.map(|link| link.handshake_started_at);
        let started_at = linked_at.chain(self.handshakes.newest_started_at()).max()?;
        Some(started_at + NEWCOMER_MS)
    }
}
