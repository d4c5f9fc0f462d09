//! Backoff after failed dials: 1 s after the first, doubled by each further one up to 64 s.
use crate::base::time::Time;
use crate::node::context::Context;

/// Milliseconds of backoff after the first failed dial; doubled by each further one.
pub const BACKOFF_MIN_MS: u64 = 1_000;
/// Longest backoff, in milliseconds.
const BACKOFF_MAX_MS: u64 = 64_000;

/// When to dial an address, after the dials that failed.
pub struct Backoff {
    /// Dials that failed since the last that succeeded.
    failures: u32,
    next_attempt: Time,
}

impl Backoff {
    /// The backoff of an address that was never dialed.
    pub fn new(next_attempt: Time) -> Backoff {
        Backoff {
            failures: 0,
            next_attempt,
        }
    }

    /// The address is not dialed before this time.
    pub fn next_attempt(&self) -> Time {
        self.next_attempt
    }

    /// The last dial failed.
    pub fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// The last dial did not fail, or the backoff has passed.
    pub fn is_dialable(&self, now: Time) -> bool {
        !self.has_failed() || self.next_attempt <= now
    }

    /// Counts a failed dial: exponential backoff with jitter.
    pub fn record_failure(&mut self, ctx: &mut Context) {
        let backoff = (BACKOFF_MIN_MS << self.failures.min(6)).min(BACKOFF_MAX_MS);
        self.failures += 1;
        self.next_attempt = ctx.now.time + ctx.jitter(backoff);
    }

    /// Forgets the failures. The next dial follows after `delay_ms` with jitter.
    pub fn reset(&mut self, ctx: &mut Context, delay_ms: u64) {
        self.failures = 0;
        self.next_attempt = ctx.now.time + ctx.jitter(delay_ms);
    }
}
