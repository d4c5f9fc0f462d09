//! Syncs written files in a helper thread, at most five seconds after the first write, and closes
//! removed ones there. The thread starts with the first of these: a program that ends earlier needs
//! none.
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::shell::os::thread;
use crate::shell::store::store_io;

/// A sync of waiting files begins at most this long after the first request. A power cut may lose
/// writes that are not synced.
const SYNC_DELAY: Duration = Duration::from_secs(5);
/// Maximum number of files that wait for a sync. If this many files wait, the sync begins at once.
const PENDING_FILES_MAX: usize = 64;

/// Whether a sync of one file is requested and has not begun yet.
#[derive(Clone, Default)]
pub struct SyncPending(Arc<AtomicBool>);

impl SyncPending {
    /// Withdraws the request: the file has been synced, or is removed.
    pub fn withdraw(&self) {
        self.0.store(false, Ordering::Release);
    }
}

struct SyncRequest {
    file: File,
    pending: SyncPending,
}

/// What the helper thread does.
enum Job {
    Sync(Vec<SyncRequest>),
    Close(File),
}

/// Collects requests for a sync, and passes them to a helper thread.
#[derive(Default)]
pub struct Fsync {
    requests: Vec<SyncRequest>,
    /// When to pass the requests to the thread. `None`: there are none.
    due_at: Option<Instant>,
    /// The helper thread. `None`: it has not been started.
    thread: Option<Sender<Job>>,
    /// What the thread reports.
    reports: Arc<Reports>,
}

#[derive(Default)]
struct Reports {
    is_busy: AtomicBool,
    has_failed: AtomicBool,
}

impl Fsync {
    /// Requests a sync of a file. Never waits for the disk. Does nothing if `pending` says that a
    /// sync is already requested. Drops the request if `PENDING_FILES_MAX` files wait. Must be
    /// called after every write. The call after the next write then repeats a dropped request.
    pub fn request_sync(&mut self, file: &File, pending: &SyncPending) {
        if pending.0.swap(true, Ordering::AcqRel) {
            return;
        }
        let has_room = self.requests.len() < PENDING_FILES_MAX;
        let Some(file) = has_room.then(|| file.try_clone().ok()).flatten() else {
            return pending.withdraw();
        };
        let pending = pending.clone();
        self.requests.push(SyncRequest { file, pending });
        let now = Instant::now();
        self.due_at.get_or_insert(now + SYNC_DELAY);
        if self.requests.len() == PENDING_FILES_MAX {
            self.due_at = Some(now);
            self.begin_due();
        }
    }

    /// How long it is until [`Fsync::begin_due`] must be called. `None`: no sync is requested.
    pub fn due_in(&self) -> Option<Duration> {
        let due_at = self.due_at?;
        Some(due_at.saturating_duration_since(Instant::now()))
    }

    /// Passes the requests to the helper thread, if they have waited long enough. While the disk
    /// is busy with earlier ones, they wait once more.
    pub fn begin_due(&mut self) {
        let now = Instant::now();
        if self.due_at.is_none_or(|at| at > now) {
            return;
        }
        self.due_at = None;
        if self.requests.is_empty() {
            return;
        }
        self.start_thread();
        if let Some(thread) = &self.thread
            && !self.reports.is_busy.swap(true, Ordering::AcqRel)
        {
            // The channel has room, as no other sync waits there.
            let sync = Job::Sync(std::mem::take(&mut self.requests));
            if let Err(refused) = thread.try_send(sync)
                && let Job::Sync(requests) = refused.into_inner()
            {
                self.reports.is_busy.store(false, Ordering::Release);
                self.requests = requests;
                self.due_at = Some(now + SYNC_DELAY);
            }
        } else {
            self.due_at = Some(now + SYNC_DELAY);
        }
    }

    fn start_thread(&mut self) {
        let reports = &self.reports;
        self.thread = self.thread.take().or_else(|| spawn(Arc::clone(reports)));
    }

    /// Closes a removed file in the helper thread: the system frees its space only then, and may
    /// wait for the disk. While the thread has other work waiting, closes the file here.
    pub fn close_removed(&mut self, file: File) {
        self.start_thread();
        if let Some(thread) = self.thread.as_ref().filter(|it| it.is_empty()) {
            // A file that comes back is closed.
            let _ = thread.try_send(Job::Close(file));
        }
    }

    /// Syncs the files that wait and whose requests were not withdrawn. Blocks until their data is
    /// on disk.
    ///
    /// # Errors
    /// The disk reports an error. The other files are synced. Returns the first error.
    pub fn sync_waiting(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        for SyncRequest { file, pending } in self.requests.drain(..) {
            if pending.0.swap(false, Ordering::AcqRel) {
                result = result.and(store_io::sync(&file));
            }
        }
        result
    }

    /// Drops the requests for files that were removed, and closes these files.
    pub fn drop_removed(&mut self) {
        let requests = std::mem::take(&mut self.requests);
        for request in requests {
            if request.file.metadata().is_ok_and(|meta| meta.nlink() == 0) {
                request.pending.withdraw();
                self.close_removed(request.file);
            } else {
                self.requests.push(request);
            }
        }
    }

    /// Whether a sync has failed since the previous call of this function.
    pub fn take_failed(&self) -> bool {
        self.reports.has_failed.swap(false, Ordering::Relaxed)
    }
}

/// Starts the helper thread. `None`: the system refuses it.
fn spawn(reports: Arc<Reports>) -> Option<Sender<Job>> {
    // At most one sync waits, and one file that is to be closed.
    let (sender, receiver) = crossbeam_channel::bounded(2);
    let run = Box::new(move || run_jobs(&receiver, &reports));
    thread::spawn_helper("fsync", run).ok().map(|_| sender)
}

fn run_jobs(jobs: &Receiver<Job>, reports: &Reports) {
    for job in jobs {
        let requests = match job {
            Job::Sync(requests) => requests,
            Job::Close(file) => {
                drop(file);
                continue;
            }
        };
        for SyncRequest { file, pending } in requests {
            pending.withdraw();
            if store_io::sync(&file).is_err() {
                reports.has_failed.store(true, Ordering::Relaxed);
            }
        }
        reports.is_busy.store(false, Ordering::Release);
    }
}
