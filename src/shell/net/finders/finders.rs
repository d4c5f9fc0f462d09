//! The finders of a run. Each runs in a helper thread, and reports to the event loop.
use std::borrow::Cow;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::base::interface::FoundVia;
use crate::base::time::Time;
use crate::shell::net::finders::reporter::{FinderStatus, Finding, Reporter, SharedState, lock};
use crate::shell::net::finders::service_list::ServiceList;
use crate::shell::os::thread;

/// Milliseconds between two lines about one finder with --debug.
const STATUS_INTERVAL_MS: u64 = 5_000;

/// Milliseconds for which beacons and static peers may find peers alone, before a finder starts
/// that waits for the need.
const NEED_DELAY_MS: u64 = 1_000;
/// Number of linked peers from which on such a finder is not needed. Among many programs, each
/// finder would also hear all others.
const ENOUGH_PEERS: usize = 8;
/// Milliseconds after which it is checked again whether such a finder is needed.
const NEED_INTERVAL_MS: u64 = 30_000;

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
    /// Whether the finder starts only if peers are lacking.
    waits_for_need: bool,
    /// The status that the last line of --debug has shown.
    shown: FinderStatus,
    /// Before this time, no further line is written.
    next_line_at: Time,
}

/// The finders of a run.
pub struct Finders {
    finders: Vec<Finder>,
    shared: Arc<Mutex<SharedState>>,
    /// Sets `has_news`, and wakes the event loop.
    wake: Arc<dyn Fn() + Send + Sync>,
    /// Whether a finder has reported something. Most turns of the event loop read nothing else.
    has_news: Arc<AtomicBool>,
    services: Arc<ServiceList>,
    /// When to write a line that had to wait.
    line_due_at: Option<Time>,
    /// When to check whether the finders that wait for the need must start. `None`: none waits, or
    /// the run has not begun.
    need_check_at: Option<Time>,
}

impl Finders {
    /// A run without finders. `wake` wakes the event loop.
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> Finders {
        let has_news = Arc::<AtomicBool>::default();
        let reported = Arc::clone(&has_news);
        let wake = move || {
            reported.store(true, Ordering::Release);
            wake();
        };
        Finders {
            finders: Vec::new(),
            shared: Arc::default(),
            wake: Arc::new(wake),
            has_news,
            services: Arc::default(),
            line_due_at: None,
            need_check_at: None,
        }
    }

    /// Adds a finder. Its thread starts with the run.
    pub fn add(&mut self, via: FoundVia, work: FinderWork) {
        self.push(via, work, false);
    }

    /// Adds a finder whose thread starts a second after the run, or later, if fewer than 8 peers
    /// are linked then. It does not stop again.
    pub fn add_for_need(&mut self, via: FoundVia, work: FinderWork) {
        self.push(via, work, true);
    }

    fn push(&mut self, via: FoundVia, work: FinderWork, waits_for_need: bool) {
        let shown = FinderStatus::default();
        lock(&self.shared).statuses.push(shown.clone());
        self.finders.push(Finder {
            via,
            work: Some(work),
            waits_for_need,
            shown,
            next_line_at: Time(0),
        });
    }

    /// Starts the threads of the finders whose time has come. Called at the start of the run, and
    /// in every turn. `linked_peers`: the number of peers that are linked now.
    pub fn start_due(&mut self, now: Time, linked_peers: usize) {
        if !HAS_FINDERS {
            return;
        }
        let is_due = self.need_check_at.is_some_and(|at| at <= now);
        let is_needed = is_due && linked_peers < ENOUGH_PEERS;
        for index in 0..self.finders.len() {
            if is_needed || !self.finders[index].waits_for_need {
                self.start(index);
            }
        }
        let delay_ms = if is_due {
            NEED_INTERVAL_MS
        } else {
            NEED_DELAY_MS
        };
        if is_due || self.need_check_at.is_none() {
            self.need_check_at = Some(now + delay_ms);
        }
    }

    fn start(&mut self, index: usize) {
        let finder = &mut self.finders[index];
        let Some(work) = finder.work.take() else {
            return;
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

    /// The services that finders announce and look up.
    pub fn services(&self) -> &Arc<ServiceList> {
        &self.services
    }

    /// Whether a finder has reported something since the last call, or a line of --debug is due
    /// that had to wait. Otherwise there is nothing to take. This waits for no finder.
    pub fn take_news(&mut self, now: Time) -> bool {
        // Without --debug nobody takes the line, and its time must not stay in the past.
        let is_line_due = self.line_due_at.take_if(|at| *at <= now).is_some();
        HAS_FINDERS && (self.has_news.swap(false, Ordering::Acquire) || is_line_due)
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
    /// in `STATUS_INTERVAL_MS` at most.
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

    /// When [`Finders::take_status_line`] has a line that had to wait, or [`Finders::start_due`]
    /// must be called.
    pub fn deadline(&self) -> Option<Time> {
        let is_waiting = self.finders.iter().any(|finder| finder.work.is_some());
        let check_at = self.need_check_at.filter(|_| is_waiting);
        self.line_due_at.into_iter().chain(check_at).min()
    }

    /// Withdraws what the finders have announced, as the program ends.
    pub fn withdraw(&self) {
        if HAS_FINDERS {
            let withdrawals = mem::take(&mut lock(&self.shared).withdrawals);
            withdrawals.into_iter().for_each(|(_, withdraw)| withdraw());
        }
    }
}
