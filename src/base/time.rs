//! Time as the core sees it, and the wall clock as a mere stamp.
use std::fmt;
use std::ops::Add;

/// Milliseconds since the program started, from a clock that runs on in suspend and never jumps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Time {
    /// Milliseconds since `earlier`; 0 if that lies ahead.
    pub fn since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Time {
    type Output = Time;
    fn add(self, ms: u64) -> Time {
        Time(self.0.saturating_add(ms))
    }
}

/// A wall clock's reading: milliseconds since 1970-01-01 UTC. It stamps lines and decides nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wall(pub i64);

impl Wall {
    /// RFC 3339 with any offset; `None` if it is not such a time, or outside the years −9999 to 9999.
    pub fn parse(text: &str) -> Option<Wall> {
        let stamp: jiff::Timestamp = text.parse().ok()?;
        Some(Wall(stamp.as_millisecond()))
    }
}

/// RFC 3339 in UTC with milliseconds. A reading that no calendar holds is shown as the epoch.
impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stamp =
            jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        write!(f, "{stamp:.3}")
    }
}

/// Both clocks, read once at the beginning of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    pub time: Time,
    pub wall: Wall,
}
