//! The finders of a run. Each runs in a helper thread, and reports to the event loop.
use std::borrow::Cow;
use std::mem;
use std::sync::{Arc, Mutex};

use crate::base::interface::FoundVia;
use crate::base::time::Time;
use crate::shell::net::finders::reporter::{FinderStatus, Finding, Reporter, SharedState, lock};
use crate::shell::os::thread;

/// Milliseconds between two lines about one finder with --debug.
const STATUS_INTERVAL_MS: u64 = 5_000;

/// Whether this build has any finder. In the smallest one, the compiler leaves out what serves
/// them.
const HAS_FINDERS: bool = cfg!(feature = "finders");

/// What a finder does in its thread, until the program ends.
pub type FinderWork = Box<dyn FnOnce(Reporter) + Send>;

/// One finder.
struct Finder {
    via: FoundVia,
    /// What to do in the thread. `None`: it has started.
    work: Option<FinderWork>,
    /// The status that the last line of --debug has shown.
    shown: FinderStatus,
    /// Before this time, no further line is written.
    next_line_at: Time,
}

/// The finders of a run.
pub struct Finders {
    finders: Vec<Finder>,
    shared: Arc<Mutex<SharedState>>,
    wake: Arc<dyn Fn() + Send + Sync>,
    /// When to write a line that had to wait.
    line_due_at: Option<Time>,
}

impl Finders {
    /// A run without finders. `wake` wakes the event loop.
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> Finders {
        Finders {
            finders: Vec::new(),
            shared: Arc::default(),
            wake,
            line_due_at: None,
        }
    }

    /// Adds a finder. Its thread starts with [`Finders::start`].
    pub fn add(&mut self, via: FoundVia, work: FinderWork) {
        let shown = FinderStatus::default();
        lock(&self.shared).statuses.push(shown.clone());
        self.finders.push(Finder {
            via,
            work: Some(work),
            shown,
            next_line_at: Time(0),
        });
    }

    /// Starts the threads of the finders that were added.
    pub fn start(&mut self) {
        for (index, finder) in self.finders.iter_mut().enumerate() {
            let Some(work) = finder.work.take().filter(|_| HAS_FINDERS) else {
                continue;
            };
            let reporter = Reporter {
                via: finder.via,
                index,
                shared: Arc::clone(&self.shared),
                wake: Arc::clone(&self.wake),
            };
            let failed = reporter.clone();
            let work = Box::new(move || work(reporter));
            if let Err(error) = thread::spawn_helper(finder.via.as_str(), work) {
                failed.set_trouble(Some(format!("its thread cannot be started: {error}")));
            }
        }
    }

    /// Takes the findings that wait. Finders that find more meanwhile wake the event loop again,
    /// and do not hold it up.
    pub fn take_findings(&self) -> Vec<Finding> {
        match HAS_FINDERS {
            true => mem::take(&mut lock(&self.shared).findings),
            false => Vec::new(),
        }
    }

    /// Takes the sentences for the user.
    pub fn take_sentences(&self) -> Vec<String> {
        match HAS_FINDERS {
            true => mem::take(&mut lock(&self.shared).sentences),
            false => Vec::new(),
        }
    }

    /// The counters of all finders, each with its name, and what is wrong with those that have a
    /// trouble.
    pub fn add_stats(
        &self,
        counters: &mut Vec<(Cow<'static, str>, u64)>,
        troubles: &mut Vec<(Cow<'static, str>, String)>,
    ) {
        if !HAS_FINDERS {
            return;
        }
        for (finder, status) in self.finders.iter().zip(&lock(&self.shared).statuses) {
            let name = finder.via.as_str();
            let counts = [
                ("announced", status.announced),
                ("found", status.found),
                ("dropped", status.dropped),
            ];
            for (what, count) in counts {
                counters.push((Cow::Owned([name, "_", what].concat()), count));
            }
            if let Some(trouble) = &status.trouble {
                troubles.push((Cow::Borrowed(name), trouble.clone()));
            }
        }
    }

    /// Takes a line for --debug about a finder whose status has changed. Each finder has one line
    /// in [`STATUS_INTERVAL_MS`] at most.
    pub fn take_status_line(&mut self, now: Time) -> Option<String> {
        if !HAS_FINDERS {
            return None;
        }
        self.line_due_at = None;
        for (finder, status) in self.finders.iter_mut().zip(&lock(&self.shared).statuses) {
            if *status == finder.shown {
                continue;
            }
            if finder.next_line_at > now {
                let due_at = self.line_due_at.get_or_insert(finder.next_line_at);
                *due_at = finder.next_line_at.min(*due_at);
                continue;
            }
            finder.next_line_at = now + STATUS_INTERVAL_MS;
            finder.shown = status.clone();
            return Some(format!("{}: {status}", finder.via.as_str()));
        }
        None
    }

    /// When [`Finders::take_status_line`] has a line that had to wait.
    pub fn deadline(&self) -> Option<Time> {
        self.line_due_at
    }

    /// Withdraws what the finders have announced, as the program ends.
    pub fn withdraw(&self) {
        if HAS_FINDERS {
            let withdrawals = mem::take(&mut lock(&self.shared).withdrawals);
            withdrawals.into_iter().for_each(|(_, withdraw)| withdraw());
        }
    }
}
