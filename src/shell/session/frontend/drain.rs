//! The wait of a run for its last output.
use crate::base::time::Time;
use crate::shell::stdio::output_writer::OutputWriter;

/// How long the end of a run waits while the reader of stdout reads nothing, in milliseconds. Then
/// the run is aborted.
const STDOUT_STALL_TIMEOUT_MS: u64 = 5_000;

/// The wait of a run for the session's last lines, and for stdout to take all output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    /// How many bytes were written to stdout by the last check.
    written_bytes: u64,
    /// The time at which the run aborts.
    pub(super) deadline: Time,
}

impl Drain {
    /// Begins the wait, or continues `drain`. Postpones the deadline whenever bytes are written to
    /// stdout.
    pub(super) fn update(drain: Option<Drain>, stdout: &OutputWriter, now: Time) -> Drain {
        let written_bytes = stdout.written_bytes();
        let deadline = match drain {
            // While stdout has nothing to write, its reader is not to blame.
            Some(drain) if drain.written_bytes == written_bytes && !stdout.is_idle() => {
                drain.deadline
            }
            _ => now + STDOUT_STALL_TIMEOUT_MS,
        };
        Drain {
            written_bytes,
            deadline,
        }
    }
}
