//! Whether the store works, and what waits for it.
//!
//! After a failed save, our lines wait in memory and nothing is requested. The store is then tried
//! again with our first waiting lines, in a turn that sends nothing: a write behind a failed save
//! would cost its stream. If nothing of ours waits, others' lines are requested again.
use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::batch::batch::Batch;
use crate::base::name::Room;
use crate::base::time::Time;
use crate::node::replication::logs::publication::Publication;

/// Milliseconds from a store failure to the next attempt to store lines of ours.
const STORE_RETRY_MS: u64 = 1_000;
/// Milliseconds from a store failure to the next request, if no lines of ours wait. If the store
/// still fails then, streams are aborted.
const STORE_RETRY_IDLE_MS: u64 = 5_000;
/// A store failure is not reported within this many milliseconds of the previous failure. The user
/// knows of the failure already.
const STORE_REPORT_INTERVAL_MS: u64 = 10_000;

/// What the last saves showed.
#[derive(Default)]
enum Health {
    /// The store works.
    #[default]
    Works,
    /// A save has failed. The store is tried again at this time.
    Failed(Time),
    /// These batches are being saved, in the turn that began at this time. If the save has not
    /// failed by the next turn, the store works again.
    Tried(Time, Vec<Arc<Batch>>),
}

/// What to do at the time of [`StoreHealth::deadline`].
pub enum Retry {
    /// Save these lines, and send nothing in this turn. Then call [`StoreHealth::begin_trial`].
    Save(Publication),
    /// The store works again.
    Resume {
        /// The batches that were saved to try the store. They are not sent yet.
        saved: Vec<Arc<Batch>>,
        /// The lines that waited.
        waiting: VecDeque<Publication>,
    },
}

/// The state of the store, and the lines that wait for it.
#[derive(Default)]
pub struct StoreHealth {
    health: Health,
    /// Lines that the store refused, and lines that were published since.
    unpublished: VecDeque<Publication>,
    /// When the store last failed. `None`: it has not failed in this run.
    failed_at: Option<Time>,
}

impl StoreHealth {
    /// Adds lines that wait until the store works.
    pub fn queue(&mut self, now: Time, publication: Publication) {
        self.unpublished.push_back(publication);
        self.hasten_retry(now);
    }

    /// Adds lines before those that wait already.
    pub fn queue_first(&mut self, now: Time, publication: Publication) {
        self.unpublished.push_front(publication);
        self.hasten_retry(now);
    }

    fn hasten_retry(&mut self, now: Time) {
        if let Health::Failed(retry_at) = &mut self.health {
            *retry_at = (*retry_at).min(now + STORE_RETRY_MS);
        }
    }

    /// Drops the lines that wait for a room. Returns whether there were any.
    pub fn drop_lines_to(&mut self, room: &Room) -> bool {
        let before = self.unpublished.len();
        self.unpublished
            .retain(|waiting| waiting.target.room() != Some(room));
        self.unpublished.len() < before
    }

    /// Whether a save of this turn shows whether the store works. Nothing may be sent until then.
    pub fn is_tried(&self) -> bool {
        matches!(self.health, Health::Tried(..))
    }

    /// Whether the store works.
    pub fn is_working(&self) -> bool {
        matches!(self.health, Health::Works)
    }

    /// When to try the store again, or to take it for working. `None`: it works.
    pub fn deadline(&self) -> Option<Time> {
        match self.health {
            Health::Works => None,
            Health::Failed(at) | Health::Tried(at, _) => Some(at),
        }
    }

    /// Records a failed save. Returns whether the user should be told.
    pub fn record_failure(&mut self, now: Time) -> bool {
        self.health = Health::Failed(now + STORE_RETRY_IDLE_MS);
        if !self.unpublished.is_empty() {
            self.hasten_retry(now);
        }
        let previous = self.failed_at.replace(now);
        previous.is_none_or(|previous| now.ms_since(previous) > STORE_REPORT_INTERVAL_MS)
    }

    /// Tries the store again, if it is time: with the first of our waiting lines. If none waits, or
    /// the trial has not failed, the store counts as working again.
    pub fn retry(&mut self, now: Time) -> Option<Retry> {
        self.deadline().filter(|at| *at <= now)?;
        if !self.is_tried()
            && let Some(first) = self.unpublished.pop_front()
        {
            return Some(Retry::Save(first));
        }
        let saved = match std::mem::take(&mut self.health) {
            Health::Tried(_, batches) => batches,
            Health::Works | Health::Failed(_) => Vec::new(),
        };
        let waiting = std::mem::take(&mut self.unpublished);
        Some(Retry::Resume { saved, waiting })
    }

    /// Records that these batches are being saved, to try the store.
    pub fn begin_trial(&mut self, now: Time, batches: Vec<Arc<Batch>>) {
        self.health = Health::Tried(now, batches);
    }
}
