//! The clocks of this box: one that counts through suspend, and the wall clock.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use crate::base::time::{Now, Time, WallTime};

/// Counts milliseconds since the program started, through suspend too (`CLOCK_BOOTTIME`).
pub struct Clock {
    start_ms: i64,
}

impl Clock {
    /// A clock that reads zero now.
    pub fn start() -> Clock {
        Clock {
            start_ms: boot_time_ms(),
        }
    }

    /// The time since start, never negative, and the wall clock, negative before 1970.
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

/// Milliseconds since the box started. Linux has this clock since 2.6.39.
fn boot_time_ms() -> i64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| Duration::from(time).as_millis() as i64)
}
