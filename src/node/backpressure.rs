//! Backpressure: who must wait for its turn before its lines are published.
use crate::base::time::Time;
use crate::node::link::Link;
use crate::node::node::Node;

/// How long a peer that has just come goes before a pour, in milliseconds from the beginning of its
/// handshake. On a LAN a `send` is done by then.
const NEWCOMER_MS: u64 = 20;

/// Lines that arrive together are poured in, and not typed, if they have at least this many bytes.
const POUR_MIN_BYTES: usize = 16 * 1024;

/// Which lines of the host should wait a little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backpressure {
    /// None.
    None,
    /// Those that are poured in: a peer has just come, and each turn spent on them delays it.
    Pours,
    /// All: nobody takes more of what we publish. Lines that are published nevertheless are sent
    /// later, from the store.
    All,
}

impl Backpressure {
    /// Whether lines of `bytes` bytes that have arrived together should wait.
    pub fn holds(self, bytes: usize) -> bool {
        match self {
            Backpressure::None => false,
            Backpressure::Pours => bytes >= POUR_MIN_BYTES,
            Backpressure::All => true,
        }
    }
}

impl Node {
    /// Which lines should wait a little now, and not for long: a peer that stops reading, or comes
    /// again and again, must not keep the host from speaking.
    pub fn backpressure(&self, now: Time) -> Backpressure {
        if self.replication.is_congested(&self.ctx) {
            return Backpressure::All;
        }
        match self.serves_newcomer(now) {
            true => Backpressure::Pours,
            false => Backpressure::None,
        }
    }

    /// Whether a peer is in its handshake, or is transient and was linked only now.
    fn serves_newcomer(&self, now: Time) -> bool {
        let is_newcomer =
            |link: &Link| link.transient && now < link.handshake_started_at + NEWCOMER_MS;
        self.handshakes.is_expecting_link(now, NEWCOMER_MS)
            || self.ctx.links.values().any(is_newcomer)
    }
}
