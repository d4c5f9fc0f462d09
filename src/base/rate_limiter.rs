//! Limits the rate of events.
use crate::base::time::Time;

/// A leaky bucket. Each event raises the level by one, and every `drain_interval_ms` the level
/// falls by one.
pub struct RateLimiter {
    drain_interval_ms: u64,
    level: u64,
    drained_at: Time,
}

impl RateLimiter {
    /// An empty bucket.
    pub fn new(drain_interval_ms: u64) -> RateLimiter {
        RateLimiter {
            drain_interval_ms,
            level: 0,
            drained_at: Time(0),
        }
    }

    /// Lowers the level by one for each whole interval that has passed. If any has passed, returns
    /// `true` and begins a new interval.
    pub fn drain(&mut self, now: Time) -> bool {
        let drained = now.ms_since(self.drained_at) / self.drain_interval_ms;
        if drained > 0 {
            self.level = self.level.saturating_sub(drained);
            self.drained_at = now;
        }
        drained > 0
    }

    /// Counts one event.
    pub fn add(&mut self) {
        self.level += 1;
    }

    /// Takes back one event.
    pub fn remove(&mut self) {
        self.level = self.level.saturating_sub(1);
    }

    /// The current level. The level falls only when [`RateLimiter::drain`] is called.
    pub fn level(&self) -> u64 {
        self.level
    }

    /// When the level next falls.
    pub fn next_drain_at(&self) -> Time {
        self.drained_at + self.drain_interval_ms
    }
}
