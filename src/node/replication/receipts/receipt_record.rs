//! The text form of the receipts that one run leaves to the next. Each direct log is one line:
//! `target author incarnation acked_up_to carry_left_ms`.
use crate::base::batch::batch::LogId;
use crate::base::hex;
use crate::base::name::Target;

/// How long a log is carried: 7 days, in milliseconds. Only time in which our program runs counts.
pub const CARRY_DURATION_MS: i64 = 7 * 24 * 3_600_000;

/// The saved state of one direct log: its recipient's acknowledgement and its remaining carrying
/// time.
pub struct ReceiptRecord {
    /// The direct log.
    pub log: LogId,
    /// Sequence of the last line that the recipient acknowledged; 0 if none.
    pub acked_up_to: u64,
    /// Milliseconds for which the log is still carried. Only time in which our program runs counts.
    /// Negative: the carrying ended this long ago, but the lines may still be on the disk. 0 if we
    /// wrote the log.
    pub carry_left_ms: i64,
}

impl ReceiptRecord {
    /// Appends the record to the text, as one line of the text.
    pub fn write(&self, text: &mut String) {
        let LogId {
            target,
            author,
            incarnation,
        } = &self.log;
        let (acked, left) = (self.acked_up_to, self.carry_left_ms);
        *text += &format!("{target} {author} {incarnation:016x} {acked} {left}\n");
    }

    /// Parses a record from one line of the text. `None`: the line is not a valid record.
    pub fn parse(line: &str) -> Option<ReceiptRecord> {
        let mut words = line.split(' ');
        let log = LogId {
            target: Target::parse(words.next()?)?,
            author: words.next()?.parse().ok()?,
            incarnation: hex::parse(words.next()?)?,
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
