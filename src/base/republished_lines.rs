//! Which lines of a forked log another log publishes again.
use std::fmt;

use serde::Deserialize;

use super::hex;
use super::identity::Hash;

/// Lines of a forked log that its author publishes again in a new log. Each batch of the new log
/// names them. Line 1 of the new log repeats the line `sequence` of the forked log, line 2 the next
/// one, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct RepublishedLines {
    /// The incarnation of the forked log. Author and target are those of the new log.
    #[serde(with = "hex")]
    pub incarnation: u64,
    /// Sequence of the first such line in the forked log.
    pub sequence: u64,
    /// Hash of the last batch of the forked log, as the author stores it. It tells the author's
    /// branch of the fork from the other one.
    pub hash: Hash,
}

/// Formats the lines as a JSON object.
impl fmt::Display for RepublishedLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RepublishedLines {
            incarnation,
            sequence,
            hash,
        } = self;
        write!(
            f,
            "{{\"incarnation\":\"{incarnation:016x}\",\"sequence\":{sequence},\"hash\":\"{hash}\"}}"
        )
    }
}
