//! The thread that brings to the medium what the loop wrote: five seconds after the first change, and asleep while nothing changes.
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::shell::os::thread;

/// What a power cut may take at most.
const SYNC_DELAY: Duration = Duration::from_secs(5);
/// Files waiting at a time; with more, the delay is cut short.
const PENDING_FILES_MAX: usize = 64;

struct SyncRequest {
    file: File,
    pending: Arc<AtomicBool>,
}

#[derive(Default)]
struct SyncQueue {
    requests: Vec<SyncRequest>,
    /// No more will come.
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

/// The loop's side.
#[derive(Default)]
pub struct Fsync {
    shared: Arc<Shared>,
    is_running: bool,
}

impl Fsync {
    /// Something was written to the file. `pending` says that this is known already, and is cleared before the file is synced.
    /// Never blocks: if the helper is behind, the next change asks again.
    pub fn request_sync(&mut self, file: &File, pending: &Arc<AtomicBool>) {
        if pending.swap(true, Ordering::AcqRel) {
            return;
        }
        self.is_running = self.is_running || spawn_sync_thread(Arc::clone(&self.shared));
        if !self.is_running || !self.enqueue(file, pending) {
            pending.store(false, Ordering::Release);
        }
    }

    fn enqueue(&self, file: &File, pending: &Arc<AtomicBool>) -> bool {
        let mut waiting = self.shared.lock();
        let Some(file) = (waiting.requests.len() < PENDING_FILES_MAX)
            .then(|| file.try_clone().ok())
            .flatten()
        else {
            return false;
        };
        let pending = Arc::clone(pending);
        waiting.requests.push(SyncRequest { file, pending });
        // Between the first and the last that it takes it sleeps.
        if [1, PENDING_FILES_MAX].contains(&waiting.requests.len()) {
            self.shared.wakeup.notify_one();
        }
        true
    }

    /// Did the medium refuse something since this was last asked?
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

/// False if no thread can be had: then only the end syncs.
fn spawn_sync_thread(shared: Arc<Shared>) -> bool {
    thread::spawn_helper("fsync", Box::new(move || sync_loop(&shared))).is_ok()
}

fn sync_loop(shared: &Shared) {
    loop {
        let batch = {
            let idle = |waiting: &mut SyncQueue| waiting.requests.is_empty() && !waiting.is_closed;
            let waiting = shared.wakeup.wait_while(shared.lock(), idle);
            let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
            let due = Instant::now() + SYNC_DELAY;
            while !waiting.is_closed && waiting.requests.len() < PENDING_FILES_MAX {
                let left = due.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                waiting = match shared.wakeup.wait_timeout(waiting, left) {
                    Ok((waiting, _)) => waiting,
                    Err(poisoned) => poisoned.into_inner().0,
                };
            }
            if waiting.requests.is_empty() {
                return;
            }
            std::mem::take(&mut waiting.requests)
        };
        for SyncRequest { file, pending } in batch {
            pending.store(false, Ordering::Release);
            if file.sync_data().is_err() {
                shared.failed.store(true, Ordering::Relaxed);
            }
        }
    }
}
