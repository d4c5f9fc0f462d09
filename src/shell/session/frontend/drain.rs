//! The wait of an ended run for its last output.
use crate::base::time::Time;

/// The wait of an ended run for the session's last lines, and for stdout to take all output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    /// How many bytes were written to stdout by the last check.
    pub(super) written_bytes: u64,
    /// The time at which the run aborts. Postponed whenever bytes are written to stdout.
    pub(super) deadline: Time,
}
