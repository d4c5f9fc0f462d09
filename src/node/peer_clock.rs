//! The two clocks of a peer's process, relative to our monotonic clock.
use crate::base::batch::batch::MAX_SAFE_INTEGER;
use crate::base::time::{Time, WallTime};

/// The monotonic clock and the wall clock of a peer's process. Learned from its hello, or from a
/// neighbour that relays what the hello said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerClock {
    /// When the process started, in milliseconds of our monotonic clock. Negative if it started
    /// before ours.
    started_at_ms: i64,
    /// The peer's wall clock minus our monotonic clock, in milliseconds.
    wall_offset_ms: i64,
}

impl PeerClock {
    /// The clocks of a process that began `age_ms` ago and whose wall clock now shows `wall`.
    pub fn new(now: Time, age_ms: u64, wall: WallTime) -> PeerClock {
        let now_ms = now.0.cast_signed();
        PeerClock {
            started_at_ms: now_ms.saturating_sub_unsigned(age_ms),
            wall_offset_ms: wall.0.saturating_sub(now_ms),
        }
    }

    /// Combines these clocks with newer values from the same process. Keeps the later start.
    ///
    /// The start seems to move back if our monotonic clock stood still, as in a paused virtual
    /// machine. With the earlier start, lines published during the pause would seem too old.
    pub fn updated(self, new: PeerClock) -> PeerClock {
        PeerClock {
            started_at_ms: self.started_at_ms.max(new.started_at_ms),
            ..new
        }
    }

    /// The time at which the process reached this uptime, in milliseconds of our monotonic clock.
    pub fn time_of_uptime(&self, uptime_ms: u64) -> i64 {
        self.started_at_ms.saturating_add_unsigned(uptime_ms)
    }

    /// The time at which the peer's wall clock showed `wall`, in milliseconds of our monotonic
    /// clock. Wrong if the wall clock was set between that time and the hello.
    pub fn time_of_wall(&self, wall: WallTime) -> i64 {
        wall.0.saturating_sub(self.wall_offset_ms)
    }

    /// Milliseconds since the process started. At most [`MAX_SAFE_INTEGER`].
    pub fn age_ms(&self, now: Time) -> u64 {
        let age_ms = now.0.cast_signed().saturating_sub(self.started_at_ms);
        age_ms.max(0).unsigned_abs().min(MAX_SAFE_INTEGER)
    }

    /// What the peer's wall clock shows now, unless it was set meanwhile.
    pub fn wall(&self, now: Time) -> WallTime {
        WallTime(now.0.cast_signed().saturating_add(self.wall_offset_ms))
    }
}
