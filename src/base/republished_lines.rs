//! Which lines of a forked log another log publishes again.
use std::fmt;

use serde::Deserialize;

use super::hex;
use super::identity::Hash;

/// Lines of a forked log that its author publishes again in a new log. Each batch of the new log
/// contains this value. Line 1 of the new log repeats line `sequence` of the forked log. Line 2
/// repeats line `sequence + 1`, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct RepublishedLines {
    /// The incarnation of the forked log. Author and target are those of the new log.
    #[serde(with = "hex")]
    pub incarnation: u64,
    /// Sequence that the first republished line has in the forked log.
    pub sequence: u64,
    /// Hash of the last batch in the author's copy of the forked log. The hash identifies the
    /// author's branch of the fork.
    pub hash: Hash,
}

/// Formats the value as a JSON object.
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
