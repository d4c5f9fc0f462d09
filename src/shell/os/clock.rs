//! Clocks of this machine: a monotonic clock that includes suspended time, and the wall clock.
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use crate::base::time::{Now, Time, WallTime};

/// Counts milliseconds since the program started. Time while the machine is suspended counts as
/// well (`CLOCK_BOOTTIME`).
pub struct Clock {
    /// When the program started, on the boot clock.
    start_ms: i64,
    /// The boot clock when it was last read.
    last_ms: i64,
    boot_id: String,
    /// The wall clock minus the monotonic clock, in milliseconds. Measured when
    /// [`Clock::take_step`] last returned a moment.
    wall_offset_ms: Option<i64>,
}

/// A step of the wall clock is reported if it exceeds this many milliseconds. The wall clock steps
/// when its distance to the monotonic clock changes.
pub const CLOCK_STEP_MIN_MS: u64 = 1_000;
/// Stands for an unknown boot id. Two moments with this id do not count as moments of one boot.
const NO_BOOT_ID: &str = "00000000-0000-0000-0000-000000000000";

/// A moment on the clocks of this machine, in a form that later runs can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock.
    pub wall: WallTime,
    /// The kernel's random number for this boot: 36 characters.
    pub boot_id: String,
    /// Milliseconds since the machine booted, time in suspend included.
    pub boot_ms: i64,
}

/// A moment before all others, in an unknown boot.
impl Default for Moment {
    fn default() -> Moment {
        Moment {
            wall: WallTime::default(),
            boot_id: NO_BOOT_ID.to_owned(),
            boot_ms: 0,
        }
    }
}

impl Moment {
    /// Whether both moments lie in the same boot, so that their `boot_ms` can be compared.
    pub fn is_same_boot(&self, other: &Moment) -> bool {
        self.boot_id == other.boot_id && self.boot_id != NO_BOOT_ID
    }
}

impl Clock {
    /// Creates a clock that counts from now.
    pub fn start() -> Clock {
        let start_ms = boot_time_ms();
        Clock {
            start_ms,
            last_ms: start_ms,
            boot_id: read_boot_id().unwrap_or(NO_BOOT_ID.to_owned()),
            wall_offset_ms: None,
        }
    }

    /// Returns the moment `now` if the wall clock has stepped since the last returned moment. The
    /// first call always returns `now`, because the clock may have been set before the run.
    pub fn take_step(&mut self, now: Now) -> Option<Moment> {
        let offset_ms = now.wall.0.saturating_sub_unsigned(now.time.0);
        let last = self.wall_offset_ms;
        let is_set = last.is_none_or(|last| last.abs_diff(offset_ms) > CLOCK_STEP_MIN_MS);
        is_set.then(|| {
            self.wall_offset_ms = Some(offset_ms);
            self.moment(now)
        })
    }

    /// The moment at which this run started. Its wall-clock time is unknown.
    pub fn started(&self) -> Moment {
        self.moment(Now::default())
    }

    /// The moment `now` of this run, in a form that later runs can read.
    pub fn moment(&self, now: Now) -> Moment {
        Moment {
            wall: now.wall,
            boot_id: self.boot_id.clone(),
            boot_ms: self.start_ms.saturating_add_unsigned(now.time.0),
        }
    }

    /// Returns the time since the start, and the wall-clock time. Before 1970 the wall-clock time
    /// is negative.
    pub fn now(&mut self) -> Now {
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_millis() as i64,
            Err(before) => -(before.duration().as_millis() as i64),
        };
        Now {
            time: self.time_at(boot_time_ms()),
            wall: WallTime(wall),
        }
    }

    /// The time since the start when the boot clock shows `boot_ms`. The time never goes back. The
    /// boot clock does if a machine or a process is restored from a snapshot, and timers would
    /// then wait for as long as it went back.
    pub fn time_at(&mut self, boot_ms: i64) -> Time {
        self.start_ms -= (self.last_ms - boot_ms).max(0);
        self.last_ms = boot_ms;
        Time((boot_ms - self.start_ms) as u64)
    }
}

/// Reads the kernel's random number for this boot. `None`: the file in `/proc` is missing or
/// malformed.
fn read_boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = text.trim_end();
    let is_word = id.len() == NO_BOOT_ID.len() && id.bytes().all(|byte| byte.is_ascii_graphic());
    is_word.then(|| id.to_owned())
}

/// Milliseconds since the machine booted. Linux has `CLOCK_BOOTTIME` since 2.6.39.
fn boot_time_ms() -> i64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| Duration::from(time).as_millis() as i64)
}

/// The CPU time that all threads of this process have used. `None`: the kernel does not tell.
#[cfg(feature = "mdns")]
pub fn cpu_time() -> Option<Duration> {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    time.ok().map(Duration::from)
}
