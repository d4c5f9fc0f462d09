//! The two clocks: monotonic time for the core's decisions, and wall clock time for timestamps.
use std::fmt;
use std::ops::Add;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::base::text::decimal;

/// Milliseconds since the program started. The clock is monotonic and includes suspend
/// (`CLOCK_BOOTTIME`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Time {
    /// Milliseconds from `earlier` to `self`. 0 if `earlier` is after `self`.
    pub fn ms_since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Time {
    type Output = Time;
    fn add(self, ms: u64) -> Time {
        Time(self.0.saturating_add(ms))
    }
}

/// A duration in tenths of a millisecond. Its displayed form is in milliseconds, such as `0.3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenthsMs(pub u64);

impl fmt::Display for TenthsMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 / 10, self.0 % 10)
    }
}

/// Lamport numbers are microseconds since 1970 where clocks are sane.
const LAMPORTS_PER_MS: u64 = 1_000;

/// Wall clock time, in milliseconds since 1970-01-01T00:00:00Z. Serves for timestamps and Lamport
/// numbers. Also decides whether a line is news, if no monotonic clock can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime(pub i64);

impl WallTime {
    /// 0000-01-01T00:00:00Z, the earliest time in RFC 3339.
    pub const MIN: WallTime = WallTime(-62_167_219_200_000);
    /// 9999-12-31T23:59:59.999Z, the latest time in RFC 3339.
    pub const MAX: WallTime = WallTime(253_402_300_799_999);

    /// The time that a Lamport number stands for where clocks are sane.
    pub fn from_lamport(lamport: u64) -> WallTime {
        WallTime((lamport / LAMPORTS_PER_MS).cast_signed())
    }

    /// Parses an RFC 3339 time with any offset. Ignores fractions of a millisecond. Returns `None`
    /// if the text is no such time.
    pub fn parse(text: &str) -> Option<WallTime> {
        let mut rest = text.as_bytes();
        let year = take_digits(&mut rest, 4)? as i16;
        let month = take_separated_digits(&mut rest, b"-", 2)? as i8;
        let day = take_separated_digits(&mut rest, b"-", 2)? as i8;
        let hour = take_separated_digits(&mut rest, b"Tt ", 2)? as i8;
        let minute = take_separated_digits(&mut rest, b":", 2)? as i8;
        // jiff has no leap seconds, so second 60 becomes 59.
        let second = match take_separated_digits(&mut rest, b":", 2)? {
            60 => 59,
            second => second as i8,
        };
        let mut ms = 0;
        if let Some(mut fraction) = rest.strip_prefix(b".") {
            let end = fraction.iter().position(|b| !b.is_ascii_digit())?;
            (fraction, rest) = fraction.split_at(end);
            fraction.first()?;
            for place in 0..3 {
                let digit = fraction.get(place).map_or(0, |digit| digit - b'0');
                ms = ms * 10 + i64::from(digit);
            }
        }
        let offset_minutes = match take_one_of(&mut rest, b"Zz+-")? {
            b'Z' | b'z' => 0,
            sign => {
                let minutes =
                    take_digits(&mut rest, 2)? * 60 + take_separated_digits(&mut rest, b":", 2)?;
                if sign == b'-' { -minutes } else { minutes }
            }
        };
        let at = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
        // A `Timestamp` would end 26 hours before the year 9999 does.
        let at = at.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
        let seconds = at.as_secs() - i64::from(offset_minutes) * 60;
        rest.is_empty().then_some(WallTime(seconds * 1000 + ms))
    }

    /// Parses a time in the one form that peers write, such as `2026-11-21T10:31:04.123Z`. Returns
    /// `None` for any other form, since all receivers must agree on which batches are valid.
    pub fn parse_exact(text: &str) -> Option<WallTime> {
        let bytes = text.as_bytes();
        // `parse` allows other forms of only these: `T`, the number of decimals, the zone, and
        // second 60. A `Z` at its place shows three decimals too.
        let has_form = bytes.get(10) == Some(&b'T') && bytes.get(23) == Some(&b'Z');
        let is_leap_second = bytes.get(17..19) == Some(b"60");
        (has_form && !is_leap_second).then(|| WallTime::parse(text))?
    }

    /// Date and time of day in the time zone `zone`. A time that the crate `jiff` cannot represent
    /// becomes 1970-01-01T00:00:00Z.
    pub fn civil(self, zone: &TimeZone) -> DateTime {
        zone.to_datetime(Timestamp::from_millisecond(self.0).unwrap_or(Timestamp::UNIX_EPOCH))
    }
}

/// Removes `count` decimal digits from the front of `rest` and returns their value. Returns `None`
/// if `rest` does not begin with that many digits.
fn take_digits(rest: &mut &[u8], count: usize) -> Option<i32> {
    let (digits, remainder) = rest.split_at_checked(count)?;
    *rest = remainder;
    digits.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + i32::from(digit - b'0'))
    })
}

fn take_separated_digits(rest: &mut &[u8], separators: &[u8], count: usize) -> Option<i32> {
    take_one_of(rest, separators)?;
    take_digits(rest, count)
}

fn take_one_of(rest: &mut &[u8], allowed: &[u8]) -> Option<u8> {
    let (first, remainder) = rest.split_first()?;
    *rest = remainder;
    allowed.contains(first).then_some(*first)
}

/// Formats the time as RFC 3339 in UTC with milliseconds. A time before year 0, or outside the
/// range of the crate `jiff`, becomes 1970-01-01T00:00:00Z.
impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.civil(&TimeZone::UTC);
        if at.year() < 0 {
            return WallTime(0).fmt(f);
        }
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let fields = [
            (0..4, at.year()),
            (5..7, at.month().into()),
            (8..10, at.day().into()),
            (11..13, at.hour().into()),
            (14..16, at.minute().into()),
            (17..19, at.second().into()),
            (20..23, at.millisecond()),
        ];
        for (digits, number) in fields {
            decimal::fill(&mut text[digits], u64::from(number.unsigned_abs()));
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// Writes a number of milliseconds. A time before [`WallTime::MIN`] becomes `MIN`. A time after
/// [`WallTime::MAX`] becomes `MAX`.
impl Serialize for WallTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (*self)
            .clamp(WallTime::MIN, WallTime::MAX)
            .0
            .serialize(serializer)
    }
}

/// Fails unless the number lies between [`WallTime::MIN`] and [`WallTime::MAX`].
impl<'de> Deserialize<'de> for WallTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WallTime, D::Error> {
        let time = WallTime(i64::deserialize(deserializer)?);
        let fits = (WallTime::MIN..=WallTime::MAX).contains(&time);
        fits.then_some(time)
            .ok_or_else(|| D::Error::custom("not a time"))
    }
}

/// A timestamp that is this many milliseconds away from our wall clock shows that one of the two
/// clocks is wrong.
pub const CLOCK_ERROR_MAX_MS: u64 = 60_000;

/// When the reader of a room began: at the first `chat` or `listen` there, in this directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReaderStart {
    /// The reader began in the current boot of the machine.
    SameBoot {
        /// When the reader began, in milliseconds since our program started. Negative if the
        /// reader began before our program.
        at_ms: i64,
    },
    /// The reader began in an earlier boot.
    EarlierBoot {
        /// When the reader began, by our wall clock.
        wall: WallTime,
    },
}

impl ReaderStart {
    /// Whether this reader began before the other one, or with it. Both belong to this directory.
    pub fn is_no_later_than(self, other: ReaderStart) -> bool {
        match (self, other) {
            (ReaderStart::SameBoot { at_ms: own }, ReaderStart::SameBoot { at_ms: other }) => {
                own <= other
            }
            (ReaderStart::EarlierBoot { wall: own }, ReaderStart::EarlierBoot { wall: other }) => {
                own <= other
            }
            (ReaderStart::EarlierBoot { .. }, ReaderStart::SameBoot { .. }) => true,
            (ReaderStart::SameBoot { .. }, ReaderStart::EarlierBoot { .. }) => false,
        }
    }
}

/// Both clocks, read once at the beginning of each turn of the event loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The monotonic time.
    pub time: Time,
    /// The wall clock.
    pub wall: WallTime,
}

impl Now {
    /// What the wall clock showed at an earlier time, unless it was set since.
    pub fn wall_at(&self, earlier: Time) -> WallTime {
        WallTime(
            self.wall
                .0
                .saturating_sub_unsigned(self.time.ms_since(earlier)),
        )
    }
}
