//! The places for the logs of one room, or for all direct logs. [`eviction`] fills them.
//!
//! [`eviction`]: crate::node::replication::logs::eviction
use crate::base::batch::batch::LogId;
use crate::base::identity::PeerId;
use crate::node::standing::{Standing, UsageTable};

/// How many places are free, and which logs give up theirs when none is.
#[derive(Default)]
pub struct LogPlaces {
    /// Number of further logs that surely find a place. At 0 the logs are counted anew.
    pub free: usize,
    /// The logs to evict, the next one last. May contain logs that are gone.
    pub queue: Vec<(Standing, LogId)>,
    /// How many logs each author has.
    pub usage: UsageTable,
}

impl LogPlaces {
    /// Drops the next logs to evict as long as `is_outdated` selects them.
    pub fn drop_outdated(&mut self, is_outdated: impl Fn(&Standing, &LogId) -> bool) {
        while self
            .queue
            .pop_if(|(standing, log)| is_outdated(standing, log))
            .is_some()
        {}
    }

    /// Takes the next log to evict, so that a new log of this author finds a place. `None`: the
    /// next log does not [give way](UsageTable::gives_way) to the author.
    pub fn evict_for(&mut self, author: &PeerId, standing: &Standing) -> Option<LogId> {
        let usage = &self.usage;
        let (evicted, log) = self
            .queue
            .pop_if(|(evicted, log)| usage.gives_way((&log.author, evicted), (author, standing)))?;
        self.usage.subtract(log.author, &evicted, 1);
        self.usage.add(*author, standing, 1);
        Some(log)
    }
}
