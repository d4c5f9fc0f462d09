//! Clocks of this machine: a monotonic clock that includes suspended time, and the wall clock.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use crate::base::time::{Now, Time, WallTime};

/// Counts milliseconds since the program started. Time while the machine is suspended counts as
/// well (`CLOCK_BOOTTIME`).
pub struct Clock {
    start_ms: i64,
}

impl Clock {
    /// Creates a clock that counts from now.
    pub fn start() -> Clock {
        Clock {
            start_ms: boot_time_ms(),
        }
    }

    /// Returns the time since the start, and the wall-clock time. Before 1970 the wall-clock time
    /// is negative.
    pub fn now(&self) -> Now {
        let time = Time((boot_time_ms() - self.start_ms).max(0) as u64);
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_millis() as i64,
            Err(before) => -(before.duration().as_millis() as i64),
        };
        Now {
            time,
            wall: WallTime(wall),
        }
    }
}

/// Milliseconds since the machine booted. Linux has `CLOCK_BOOTTIME` since 2.6.39.
fn boot_time_ms() -> i64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| Duration::from(time).as_millis() as i64)
}
