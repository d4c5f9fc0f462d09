//! How often a program lets itself be heard, and how long it waits to hear others.

/// The user's limits for links that are slow, costly or often interrupted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Longest time between two of our beacons, in milliseconds. `None`: 10 s, and 5 s while no
    /// peer is linked.
    pub interval_ms: Option<u64>,
    /// How long a silent linked peer counts as here, in milliseconds. `None`: 28 s, or 15 s if its
    /// path fails.
    pub patience_ms: Option<u64>,
}
