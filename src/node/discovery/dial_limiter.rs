//! Limits the rate of dials, so that no beacons make us dial without end.
use crate::base::rate_limiter::RateLimiter;
use crate::base::time::Time;

/// Milliseconds between dials, on average: 20 dials a second.
const DIAL_INTERVAL_MS: u64 = 50;
/// Maximum number of dials that may start at once, after a time without dials. Of 50 programs that
/// start together, those with the smallest ids dial nearly all others.
const DIAL_BURST_MAX: u64 = 40;
/// Milliseconds between dials that do not count, on average: 200 dials a second. Each has led to a
/// transient peer. Many `send` in a row are thus served at once, and lies do not cost much.
const UNCOUNTED_INTERVAL_MS: u64 = 5;
/// Maximum number of such dials at once.
const UNCOUNTED_BURST_MAX: u64 = 20;

/// The rate at which we dial.
pub struct DialLimiter {
    dials: RateLimiter,
    uncounted: RateLimiter,
}

impl Default for DialLimiter {
    fn default() -> DialLimiter {
        DialLimiter {
            dials: RateLimiter::new(DIAL_INTERVAL_MS),
            uncounted: RateLimiter::new(UNCOUNTED_INTERVAL_MS),
        }
    }
}

impl DialLimiter {
    /// Whether a dial may start now.
    pub fn can_dial(&mut self, now: Time) -> bool {
        self.dials.drain(now);
        self.dials.level() < DIAL_BURST_MAX
    }

    /// Counts a dial.
    pub fn record(&mut self) {
        self.dials.add();
    }

    /// Handles that a dial has led to a transient peer. It does not count, unless many such dials
    /// came before.
    pub fn record_transient(&mut self, now: Time) {
        self.uncounted.drain(now);
        if self.uncounted.level() < UNCOUNTED_BURST_MAX {
            self.uncounted.add();
            self.dials.remove();
        }
    }

    /// When the next dial may start. `None`: now.
    pub fn next_at(&self) -> Option<Time> {
        let is_full = self.dials.level() >= DIAL_BURST_MAX;
        is_full.then(|| self.dials.next_drain_at())
    }
}
