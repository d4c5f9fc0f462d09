//! The finders of a run. Each runs in a helper thread, and reports through a bounded channel.
use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::interface::FoundVia;
use crate::base::time::Time;
use crate::shell::net::finders::reporter::{FinderStatus, Finding, Reporter, SharedState, lock};
use crate::shell::os::thread;

/// Maximum number of findings that wait for the event loop. Further ones are dropped and counted.
const FINDINGS_MAX: usize = 64;
/// Milliseconds between two lines about one finder with --debug.
const STATUS_INTERVAL_MS: u64 = 5_000;

/// What a finder does in its thread, until the program ends.
pub type FinderWork = Box<dyn FnOnce(Reporter) + Send>;

/// One finder.
struct Finder {
    via: FoundVia,
    /// What to do in the thread. `None`: it has started.
    work: Option<FinderWork>,
    shared: Arc<Mutex<SharedState>>,
    /// The status that the last line of --debug has shown.
    shown: FinderStatus,
    /// Before this time, no further line is written.
    next_line_at: Time,
}

/// The finders of a run.
pub struct Finders {
    finders: Vec<Finder>,
    sender: Sender<Finding>,
    findings: Receiver<Finding>,
    wake: Arc<dyn Fn() + Send + Sync>,
    /// When to write a line that had to wait.
    line_due_at: Option<Time>,
}

impl Finders {
    /// A run without finders. `wake` wakes the event loop.
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> Finders {
        let (sender, findings) = bounded(FINDINGS_MAX);
        Finders {
            finders: Vec::new(),
            sender,
            findings,
            wake,
            line_due_at: None,
        }
    }

    /// Adds a finder. Its thread starts with [`Finders::start`].
    pub fn add(&mut self, via: FoundVia, work: FinderWork) {
        self.finders.push(Finder {
            via,
            work: Some(work),
            shared: Arc::default(),
            shown: FinderStatus::default(),
            next_line_at: Time(0),
        });
    }

    /// Starts the threads of the finders that were added.
    pub fn start(&mut self) {
        for finder in &mut self.finders {
            let Some(work) = finder.work.take() else {
                continue;
            };
            let reporter = Reporter {
                via: finder.via,
                findings: self.sender.clone(),
                shared: Arc::clone(&finder.shared),
                wake: Arc::clone(&self.wake),
            };
            let failed = reporter.clone();
            let work = Box::new(move || work(reporter));
            if let Err(error) = thread::spawn_helper(finder.via.as_str(), work) {
                failed.set_trouble(Some(format!("its thread cannot be started: {error}")));
            }
        }
    }

    /// Takes the findings that wait, at most [`FINDINGS_MAX`]. A finder that finds more meanwhile
    /// wakes the event loop again, and does not hold it up.
    pub fn take_findings(&self) -> Vec<Finding> {
        self.findings.try_iter().take(FINDINGS_MAX).collect()
    }

    /// The counters of all finders, each with its name.
    pub fn counters(&self) -> Vec<(Cow<'static, str>, u64)> {
        let counters = self.finders.iter().flat_map(|finder| {
            let status = lock(&finder.shared).status.clone();
            [
                ("announced", status.announced),
                ("found", status.found),
                ("dropped", status.dropped),
            ]
            .map(|(what, count)| (Cow::Owned(format!("{}_{what}", finder.via.as_str())), count))
        });
        counters.collect()
    }

    /// What is wrong with each finder that has a trouble.
    pub fn troubles(&self) -> Vec<(Cow<'static, str>, String)> {
        let troubles = self.finders.iter().filter_map(|finder| {
            let trouble = lock(&finder.shared).status.trouble.clone()?;
            Some((Cow::Borrowed(finder.via.as_str()), trouble))
        });
        troubles.collect()
    }

    /// Takes a line for --debug about a finder whose status has changed. Each finder has one line
    /// in [`STATUS_INTERVAL_MS`] at most.
    pub fn take_status_line(&mut self, now: Time) -> Option<String> {
        self.line_due_at = None;
        for finder in &mut self.finders {
            let status = lock(&finder.shared).status.clone();
            if status == finder.shown {
                continue;
            }
            if finder.next_line_at > now {
                let due_at = self.line_due_at.get_or_insert(finder.next_line_at);
                *due_at = finder.next_line_at.min(*due_at);
                continue;
            }
            finder.next_line_at = now + STATUS_INTERVAL_MS;
            finder.shown = status.clone();
            let trouble = status.trouble.map(|it| format!("; {it}"));
            return Some(format!(
                "{}: announced {}, found {}, dropped {}{}",
                finder.via.as_str(),
                status.announced,
                status.found,
                status.dropped,
                trouble.unwrap_or_default()
            ));
        }
        None
    }

    /// When [`Finders::take_status_line`] has a line that had to wait.
    pub fn deadline(&self) -> Option<Time> {
        self.line_due_at
    }

    /// Withdraws what the finders have announced, as the program ends.
    pub fn withdraw(&mut self) {
        for finder in &self.finders {
            let withdraw = lock(&finder.shared).withdraw.take();
            if let Some(withdraw) = withdraw {
                withdraw();
            }
        }
    }
}
