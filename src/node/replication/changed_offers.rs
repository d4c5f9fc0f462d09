//! Which offers or requests have changed. A small message thus costs the same, however many logs
//! are offered.
use crate::base::batch::batch::LogId;
use crate::base::table::SortedSet;

/// The logs whose offers or requests have changed.
#[derive(Default)]
pub struct ChangedOffers {
    /// The logs.
    pub logs: SortedSet<LogId>,
    /// All logs count as changed: a link or a shared room has ended, or time has passed.
    pub includes_all: bool,
}

impl ChangedOffers {
    /// Adds what has changed later.
    pub fn extend(&mut self, later: ChangedOffers) {
        self.logs.extend(later.logs);
        self.includes_all |= later.includes_all;
    }
}
