//! The place of a line in the total order of all lines.
use std::fmt;
use std::str::FromStr;

use super::batch::batch::Batch;
use super::hex;
use super::identity::PeerId;

/// The place of a line in the total order. A lower key comes first. Two lines of different targets
/// have the same key only if their author misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineKey {
    /// Lamport number of the line.
    pub lamport: u64,
    /// The author.
    pub author: PeerId,
    /// Incarnation of the line's log.
    pub incarnation: u64,
    /// Sequence of the line in its log.
    pub sequence: u64,
}

impl LineKey {
    /// A key that no line reaches.
    pub const MAX: LineKey = LineKey {
        lamport: u64::MAX,
        author: PeerId([u8::MAX; 32]),
        incarnation: u64::MAX,
        sequence: u64::MAX,
    };

    /// The key of a line in a batch. `index` counts the lines of the batch from 0.
    pub fn in_batch(batch: &Batch, index: u64) -> LineKey {
        let first = LineKey {
            lamport: batch.lamport,
            author: batch.log.author,
            incarnation: batch.log.incarnation,
            sequence: batch.sequence,
        };
        first.advanced_by(index)
    }

    /// The key of the line that is `lines` lines after this one in the same batch.
    pub fn advanced_by(self, lines: u64) -> LineKey {
        LineKey {
            lamport: self.lamport.saturating_add(lines),
            sequence: self.sequence.saturating_add(lines),
            ..self
        }
    }

    /// The key of the line that is `lines` lines before this one in the same batch.
    pub fn moved_back_by(self, lines: u64) -> LineKey {
        LineKey {
            lamport: self.lamport.saturating_sub(lines),
            sequence: self.sequence.saturating_sub(lines),
            ..self
        }
    }

    /// The lowest key above this one.
    pub fn successor(self) -> LineKey {
        LineKey {
            sequence: self.sequence.saturating_add(1),
            ..self
        }
    }

    /// Returns how many lines of a batch precede the line `other` in the total order. Counts from
    /// the line with the key `self` on. The count may exceed the rest of the batch, because a key
    /// does not contain the batch's length.
    pub fn lines_before(&self, other: &LineKey) -> u64 {
        let between = other.lamport.saturating_sub(self.lamport);
        between.saturating_add(u64::from(self.advanced_by(between) < *other))
    }
}

impl fmt::Display for LineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LineKey {
            lamport,
            author,
            incarnation,
            sequence,
        } = self;
        write!(f, "{lamport}.{author}.{incarnation:016x}.{sequence}")
    }
}

/// The text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseLineKeyError;

impl FromStr for LineKey {
    type Err = ParseLineKeyError;
    fn from_str(text: &str) -> Result<LineKey, ParseLineKeyError> {
        parse(text).ok_or(ParseLineKeyError)
    }
}

fn parse(text: &str) -> Option<LineKey> {
    let mut parts = text.split('.');
    Some(LineKey {
        lamport: parts.next()?.parse().ok()?,
        author: parts.next()?.parse().ok()?,
        incarnation: hex::parse(parts.next()?)?,
        sequence: parts.next()?.parse().ok()?,
    })
}
