//! Runs audits of folders in a helper thread, one at a time.
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::event::load::Position;
use crate::base::name::FolderName;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::shell::os::thread;
use crate::shell::store::audit::{Audit, AuditRequest};

/// Before the first audit of a folder, its end is looked at every so many milliseconds. The audit
/// begins when it has not moved: the start of a program, a pour and a newcomer that catches up have
/// better things to do.
const FIRST_AUDIT_QUIET_MS: u64 = 2_000;
/// Milliseconds from the opening of a folder to the latest beginning of its first audit.
const FIRST_AUDIT_MAX_DELAY_MS: u64 = 60_000;
/// Least milliseconds between two audits of a folder. Damage may remain in the files if the disk is
/// full.
const AUDIT_INTERVAL_MS: u64 = 10_000;

/// The audits that are due, and the one that runs.
pub struct FolderAudits {
    wake: Arc<dyn Fn() + Send + Sync>,
    /// The next audit of each folder.
    due: SortedMap<FolderName, DueAudit>,
    /// When the last audit of each folder began.
    begun: SortedMap<FolderName, Time>,
    is_running: bool,
    result: Arc<Mutex<Option<Result<Audit, FolderName>>>>,
}

/// The next audit of a folder.
struct DueAudit {
    /// When to begin it.
    at: Time,
    /// `None`: it begins even if the folder grows.
    quiet: Option<QuietWait>,
}

/// How a first audit waits until the folder grows no more.
struct QuietWait {
    /// When the audit begins, even if the folder grows.
    latest: Time,
    /// The end of the folder when it was last looked at.
    end: Position,
}

impl FolderAudits {
    /// Creates an empty queue. The helper thread calls `wake` when an audit has ended.
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> FolderAudits {
        FolderAudits {
            wake,
            due: SortedMap::new(),
            begun: SortedMap::new(),
            is_running: false,
            result: Arc::default(),
        }
    }

    /// Schedules an audit of a folder at this time, or as soon as the interval between two audits
    /// allows it. Keeps an earlier time.
    pub fn schedule(&mut self, folder: FolderName, at: Time) {
        let at = self.earliest(&folder, at);
        let audit = DueAudit { at, quiet: None };
        let due = self.due.get_or_insert_with(folder, || audit);
        (due.at, due.quiet) = (at.min(due.at), None);
    }

    /// Schedules the first audit of a folder that is opened now. `end`: the end of the folder.
    pub fn schedule_first(&mut self, folder: FolderName, now: Time, end: Position) {
        let audit = DueAudit {
            at: self.earliest(&folder, now + FIRST_AUDIT_QUIET_MS),
            quiet: Some(QuietWait {
                latest: now + FIRST_AUDIT_MAX_DELAY_MS,
                end,
            }),
        };
        self.due.get_or_insert_with(folder, || audit);
    }

    /// When an audit of a folder may begin that should begin at `at`.
    fn earliest(&self, folder: &FolderName, at: Time) -> Time {
        let begun = self.begun.get(folder).copied();
        at.max(begun.map_or(Time(0), |begun| begun + AUDIT_INTERVAL_MS))
    }

    /// When the next audit begins.
    pub fn deadline(&self) -> Option<Time> {
        let due = self.due.values().map(|due| due.at).min();
        due.filter(|_| !self.is_running)
    }

    /// Takes a folder whose audit must begin now. Postpones first audits of folders that grow.
    /// `end` returns the end of a folder.
    pub fn take_due(
        &mut self,
        now: Time,
        end: &dyn Fn(&FolderName) -> Position,
    ) -> Option<FolderName> {
        if self.deadline()? > now {
            return None;
        }
        let due = self.due.iter_mut().find_map(|(folder, due)| {
            let must_begin = due.at <= now && !due.postpone(now, end(folder));
            must_begin.then(|| folder.clone())
        });
        let folder = due?;
        self.due.remove(&folder);
        self.begun.insert(folder.clone(), now);
        Some(folder)
    }

    /// Starts an audit in a helper thread. If there is no thread for it, it starts later.
    pub fn start(&mut self, request: AuditRequest) {
        let (wake, result) = (Arc::clone(&self.wake), Arc::clone(&self.result));
        let folder = request.folder.clone();
        let name = folder.clone();
        let work = move || {
            let audit = request.run().map_err(|_| name);
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(audit);
            wake();
        };
        self.is_running = thread::spawn_helper("audit", Box::new(work)).is_ok();
        if !self.is_running {
            self.schedule(folder, Time(0));
        }
    }

    /// Takes the result of the audit that has ended. The error is a folder that could not be read,
    /// because file descriptors or memory ran out. The caller schedules it again.
    pub fn take_result(&mut self) -> Option<Result<Audit, FolderName>> {
        let result = self.result.lock();
        let result = result.unwrap_or_else(PoisonError::into_inner).take()?;
        self.is_running = false;
        Some(result)
    }
}

impl DueAudit {
    /// Postpones the audit if the folder has grown to `end` since it was last looked at. Returns
    /// whether it was postponed.
    fn postpone(&mut self, now: Time, end: Position) -> bool {
        let quiet = self.quiet.as_mut();
        let Some(quiet) = quiet.filter(|it| it.end != end && now < it.latest) else {
            return false;
        };
        quiet.end = end;
        self.at = quiet.latest.min(now + FIRST_AUDIT_QUIET_MS);
        true
    }
}
