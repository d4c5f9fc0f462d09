//! Runs audits of folders in a helper thread, one at a time.
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::name::FolderName;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::shell::os::thread;
use crate::shell::store::audit::{Audit, AuditRequest};

/// Milliseconds from the opening of a folder to its first audit. The start of a program has better
/// things to do.
pub const FIRST_AUDIT_DELAY_MS: u64 = 2_000;
/// Least milliseconds between two audits of a folder. Damage may remain in the files if the disk is
/// full.
const AUDIT_INTERVAL_MS: u64 = 10_000;

/// The audits that are due, and the one that runs.
pub struct FolderAudits {
    wake: Arc<dyn Fn() + Send + Sync>,
    /// When to audit each folder.
    due: SortedMap<FolderName, Time>,
    /// When the last audit of each folder began.
    begun: SortedMap<FolderName, Time>,
    is_running: bool,
    result: Arc<Mutex<Option<Result<Audit, FolderName>>>>,
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
        let begun = self.begun.get(&folder).copied();
        let at = at.max(begun.map_or(Time(0), |begun| begun + AUDIT_INTERVAL_MS));
        let due = self.due.get_or_insert_with(folder, || at);
        *due = at.min(*due);
    }

    /// When the next audit begins.
    pub fn deadline(&self) -> Option<Time> {
        let due = self.due.values().copied().min();
        due.filter(|_| !self.is_running)
    }

    /// Takes a folder whose audit must begin now.
    pub fn take_due(&mut self, now: Time) -> Option<FolderName> {
        if self.deadline()? > now {
            return None;
        }
        let folder = self.due.iter().find(|(_, at)| **at <= now)?.0.clone();
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
