//! Our hybrid logical clock, which orders lines (Kulkarni, Demirbas, Madappa, Avva and Leone:
//! "Logical Physical Clocks", OPODIS 2014). It counts microseconds since 1970.
//!
//! Each published line gets the time of our wall clock as its number. If we know an equal or higher
//! number, the line gets one more than the highest known number. So lines of peers with sane clocks
//! are in the order of time, even if their authors never met. A line always comes after each line
//! that its author knew. With a wrong wall clock, the order is still that of an ordinary logical
//! clock (Lamport, 1978).
use crate::base::batch::batch::MAX_SAFE_INTEGER;
use crate::base::time::WallTime;

/// The earliest plausible wall clock, in milliseconds since 1970: 2026-01-01. This source is not
/// older, so an earlier clock is wrong. Machines without a clock battery start in 1970.
const PLAUSIBLE_MIN_MS: i64 = 1_767_225_600_000;
/// A wall clock at or above this value is wrong. In milliseconds since 1970, in the year 2112.
/// [`TRUSTED_MAX`] is the same time in microseconds.
const PLAUSIBLE_END_MS: i64 = (TRUSTED_MAX / 1000).cast_signed();
/// Our clock adopts observed numbers up to this value at once. The value, 2^52 µs since 1970, lies
/// in the year 2112.
pub const TRUSTED_MAX: u64 = 1 << 52;
/// Maximum step by which one batch moves our clock above [`TRUSTED_MAX`], in microseconds. Without
/// this bound, a lying author could use up all numbers.
const STEP_MAX: u64 = 1 << 20;
/// No observed number moves our clock above this value. The numbers above are reserved for our own
/// lines.
const OBSERVED_MAX: u64 = MAX_SAFE_INTEGER - STEP_MAX;

/// The highest number that we observed or assigned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HybridClock(u64);

impl HybridClock {
    /// The number of our next line. After building a batch, the caller must call
    /// [`HybridClock::observe`] with the number of the last line.
    pub fn next(&self, wall: WallTime) -> u64 {
        HybridClock::lowest_at(wall).max(self.0 + 1)
    }

    /// A line that its author signs at `wall`, by the author's wall clock, has this number or a
    /// higher one. 0 if that clock is not plausible: the line may then have any number.
    pub fn lowest_at(wall: WallTime) -> u64 {
        match (PLAUSIBLE_MIN_MS..PLAUSIBLE_END_MS).contains(&wall.0) {
            true => wall.0.unsigned_abs() * 1000,
            false => 0,
        }
    }

    /// Moves the clock forward to a number that we assigned ourselves in an earlier run.
    pub fn restore(&mut self, lamport: u64) {
        self.0 = self.0.max(lamport.min(OBSERVED_MAX));
    }

    /// Moves the clock forward to the number of the last line of a batch. Above 2^52, one call
    /// moves the clock by a bounded step only.
    pub fn observe(&mut self, lamport: u64) {
        let limit = self.0.max(TRUSTED_MAX).saturating_add(STEP_MAX);
        self.0 = self.0.max(lamport.min(limit).min(OBSERVED_MAX));
    }
}
