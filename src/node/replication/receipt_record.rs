//! The text form of the receipts that one run leaves to the next: one direct log a line, as
//! `target author incarnation acked_up_to carry_left_ms`.
use crate::base::batch::LogId;
use crate::base::name::Target;

/// Milliseconds of running time for which a log is carried: 7 days.
pub const CARRY_DURATION_MS: i64 = 7 * 24 * 3_600_000;

/// How far a direct log's recipient stores it, and how long it is carried.
pub struct ReceiptRecord {
    /// The direct log.
    pub log: LogId,
    /// The last line that the recipient acknowledged.
    pub acked_up_to: u64,
    /// Milliseconds of running time for which the log is still carried; negative: it is dropped,
    /// but the disk may still hold it. 0: it is not carried.
    pub carry_left_ms: i64,
}

impl ReceiptRecord {
    /// Appends the record as one line.
    pub fn write(&self, text: &mut String) {
        let LogId {
            target,
            author,
            incarnation,
        } = &self.log;
        let (acked, left) = (self.acked_up_to, self.carry_left_ms);
        *text += &format!("{target} {author} {incarnation:016x} {acked} {left}\n");
    }

    /// Parses one line; `None`: it is no record.
    pub fn parse(line: &str) -> Option<ReceiptRecord> {
        let mut words = line.split(' ');
        let log = LogId {
            target: Target::parse(words.next()?)?,
            author: words.next()?.parse().ok()?,
            incarnation: u64::from_str_radix(words.next()?, 16).ok()?,
        };
        let acked_up_to = words.next()?.parse().ok()?;
        let left: i64 = words.next()?.parse().ok()?;
        Some(ReceiptRecord {
            log,
            acked_up_to,
            carry_left_ms: left.clamp(-CARRY_DURATION_MS, CARRY_DURATION_MS),
        })
    }
}
