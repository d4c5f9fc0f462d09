//! Syncs written files in a helper thread, at most five seconds after the first write. The thread
//! sleeps while nothing is written.
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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

struct SyncRequest {
    file: File,
    pending: SyncPending,
}

#[derive(Default)]
struct SyncQueue {
    requests: Vec<SyncRequest>,
    /// Whether no further request can come.
    is_closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<SyncQueue>,
    wakeup: Condvar,
    failed: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, SyncQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes requests for a sync to a helper thread. The first request starts the thread.
#[derive(Default)]
pub struct Fsync {
    shared: Arc<Shared>,
    is_running: bool,
}

impl Fsync {
    /// Requests a sync of a file. Never waits for the disk. Does nothing if `pending` says that a
    /// sync is already requested. Drops the request if `PENDING_FILES_MAX` files wait. Must be
    /// called after every write. The call after the next write then repeats a dropped request.
    pub fn request_sync(&mut self, file: &File, pending: &SyncPending) {
        if pending.0.swap(true, Ordering::AcqRel) {
            return;
        }
        self.is_running = self.is_running || spawn_sync_thread(Arc::clone(&self.shared));
        if !self.is_running || !self.enqueue(file, pending) {
            pending.0.store(false, Ordering::Release);
        }
    }

    fn enqueue(&self, file: &File, pending: &SyncPending) -> bool {
        let mut queue = self.shared.lock();
        let Some(file) = (queue.requests.len() < PENDING_FILES_MAX)
            .then(|| file.try_clone().ok())
            .flatten()
        else {
            return false;
        };
        let pending = pending.clone();
        queue.requests.push(SyncRequest { file, pending });
        // The first request starts the delay. The request that fills the queue ends it. The
        // thread sleeps in between.
        if [1, PENDING_FILES_MAX].contains(&queue.requests.len()) {
            self.shared.wakeup.notify_one();
        }
        true
    }

    /// Drops the requests for files that were removed. The system frees the space of such a file
    /// only when it is closed.
    pub fn drop_removed(&self) {
        self.shared.lock().requests.retain(|request| {
            let is_removed = request.file.metadata().is_ok_and(|meta| meta.nlink() == 0);
            if is_removed {
                request.pending.0.store(false, Ordering::Release);
            }
            !is_removed
        });
    }

    /// Whether a sync has failed since the previous call of this function.
    pub fn take_failed(&self) -> bool {
        self.shared.failed.swap(false, Ordering::Relaxed)
    }
}

impl Drop for Fsync {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.wakeup.notify_one();
    }
}

/// Starts the helper thread. Returns false if the thread can't be started.
fn spawn_sync_thread(shared: Arc<Shared>) -> bool {
    thread::spawn_helper("fsync", Box::new(move || sync_loop(&shared))).is_ok()
}

fn sync_loop(shared: &Shared) {
    loop {
        let requests = {
            let is_idle = |queue: &mut SyncQueue| queue.requests.is_empty() && !queue.is_closed;
            let queue = shared.wakeup.wait_while(shared.lock(), is_idle);
            let mut queue = queue.unwrap_or_else(PoisonError::into_inner);
            let deadline = Instant::now() + SYNC_DELAY;
            while !queue.is_closed && queue.requests.len() < PENDING_FILES_MAX {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                queue = match shared.wakeup.wait_timeout(queue, left) {
                    Ok((queue, _)) => queue,
                    Err(poisoned) => poisoned.into_inner().0,
                };
            }
            if queue.requests.is_empty() {
                return;
            }
            std::mem::take(&mut queue.requests)
        };
        for SyncRequest { file, pending } in requests {
            pending.0.store(false, Ordering::Release);
            if store_io::sync(&file).is_err() {
                shared.failed.store(true, Ordering::Relaxed);
            }
        }
    }
}
