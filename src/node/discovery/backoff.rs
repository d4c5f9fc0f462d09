//! Backoff: how long an address is not dialed after a failed dial.
use crate::base::time::Time;
use crate::node::context::Context;

/// Backoff after the first failed dial, in milliseconds. Each further failed dial doubles the
/// backoff.
pub const BACKOFF_MIN_MS: u64 = 1_000;
/// Longest backoff, in milliseconds.
pub const BACKOFF_MAX_MS: u64 = 64_000;
/// Longest time for which a peer that has banned us is not dialed, in milliseconds. The shortest is
/// half of it. A beacon of a new run ends it, and a peer that lifts its ban may dial us.
const BANNED_BACKOFF_MS: u64 = 128_000;
/// Longest backoff of an address from which beacons still arrive, in milliseconds. The peer runs
/// there, so what blocks its port may end at any time: a firewall that is still being loaded.
const BACKOFF_DISCOVERED_MAX_MS: u64 = 8_000;
/// That backoff is at least this many milliseconds times the number of discovered peers. On a
/// network that passes beacons only, a program then dials about once a second.
const BACKOFF_PER_PEER_MS: u64 = 1_000;

/// Longest backoff of an address from which beacons still arrive, in milliseconds.
pub fn discovered_max_ms(discovered_peers: usize) -> u64 {
    let by_count = BACKOFF_PER_PEER_MS.saturating_mul(discovered_peers as u64);
    by_count.clamp(BACKOFF_DISCOVERED_MAX_MS, BACKOFF_MAX_MS)
}

/// When to dial a peer again that has just refused us because its user has banned us.
pub fn after_ban(ctx: &mut Context) -> Time {
    ctx.now.time + ctx.jitter(BANNED_BACKOFF_MS)
}

/// The failed dials of one address, and the earliest time of the next dial.
#[derive(Clone, Copy)]
pub struct Backoff {
    /// Dials that failed since the last success.
    failures: u32,
    next_attempt: Time,
}

impl Backoff {
    /// The backoff of an address that was never dialed. The first dial is due at `next_attempt`.
    pub fn new(next_attempt: Time) -> Backoff {
        Backoff {
            failures: 0,
            next_attempt,
        }
    }

    /// The earliest time of the next dial.
    pub fn next_attempt(&self) -> Time {
        self.next_attempt
    }

    /// Number of dials that failed since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the last dial failed.
    pub fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Whether no backoff delays the next dial. Only a failed dial starts a backoff. The delays set
    /// by [`Backoff::new`] and [`Backoff::reset`] do not count.
    pub fn is_dialable(&self, now: Time) -> bool {
        !self.has_failed() || self.next_attempt <= now
    }

    /// Counts a failed dial. Delays the next dial by a random time between half of the backoff and
    /// all of it. The backoff is at most `longest_ms`.
    pub fn record_failure(&mut self, ctx: &mut Context, longest_ms: u64) {
        let backoff = (BACKOFF_MIN_MS << self.failures.min(10)).min(longest_ms);
        self.failures += 1;
        self.next_attempt = ctx.now.time + ctx.jitter(backoff);
    }

    /// Delays the next dial until this time at least.
    pub fn delay_until(&mut self, at: Time) {
        self.next_attempt = self.next_attempt.max(at);
    }

    /// Makes the next dial due, without forgetting the failed dials.
    pub fn retry_at(&mut self, now: Time) {
        self.next_attempt = self.next_attempt.min(now);
    }

    /// Forgets the failed dials. Delays the next dial by a random time of at most `delay_ms`.
    pub fn reset(&mut self, ctx: &mut Context, delay_ms: u64) {
        self.failures = 0;
        self.next_attempt = ctx.now.time + ctx.jitter(delay_ms);
    }
}
