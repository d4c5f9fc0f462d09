//! The thread that brings to the medium what the loop wrote: five seconds after the first change, and asleep while nothing changes.
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::shell::os::thread;

/// What a power cut may take at most.
const DELAY: Duration = Duration::from_secs(5);
/// Files waiting at a time; with more, the delay is cut short.
const FILES_MAX: usize = 64;

struct Request {
    file: File,
    pending: Arc<AtomicBool>,
}

#[derive(Default)]
struct Waiting {
    requests: Vec<Request>,
    /// No more will come.
    ended: bool,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    failed: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The loop's side.
#[derive(Default)]
pub struct Fsync {
    shared: Arc<Shared>,
    runs: bool,
}

impl Fsync {
    /// Something was written to the file. `pending` says that this is known already, and is cleared before the file is synced.
    /// Never blocks: if the helper is behind, the next change asks again.
    pub fn changed(&mut self, file: &File, pending: &Arc<AtomicBool>) {
        if pending.swap(true, Ordering::AcqRel) {
            return;
        }
        self.runs = self.runs || start(Arc::clone(&self.shared));
        if !self.runs || !self.ask(file, pending) {
            pending.store(false, Ordering::Release);
        }
    }

    fn ask(&self, file: &File, pending: &Arc<AtomicBool>) -> bool {
        let mut waiting = self.shared.lock();
        let Some(file) = (waiting.requests.len() < FILES_MAX)
            .then(|| file.try_clone().ok())
            .flatten()
        else {
            return false;
        };
        let pending = Arc::clone(pending);
        waiting.requests.push(Request { file, pending });
        // Between the first and the last that it takes it sleeps.
        if [1, FILES_MAX].contains(&waiting.requests.len()) {
            self.shared.changed.notify_one();
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
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
    }
}

/// False if no thread can be had: then only the end syncs.
fn start(shared: Arc<Shared>) -> bool {
    thread::start("fsync", Box::new(move || run(&shared))).is_ok()
}

fn run(shared: &Shared) {
    loop {
        let batch = {
            let idle = |waiting: &mut Waiting| waiting.requests.is_empty() && !waiting.ended;
            let waiting = shared.changed.wait_while(shared.lock(), idle);
            let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
            let due = Instant::now() + DELAY;
            while !waiting.ended && waiting.requests.len() < FILES_MAX {
                let left = due.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                waiting = match shared.changed.wait_timeout(waiting, left) {
                    Ok((waiting, _)) => waiting,
                    Err(poisoned) => poisoned.into_inner().0,
                };
            }
            if waiting.requests.is_empty() {
                return;
            }
            std::mem::take(&mut waiting.requests)
        };
        for Request { file, pending } in batch {
            pending.store(false, Ordering::Release);
            if file.sync_data().is_err() {
                shared.failed.store(true, Ordering::Relaxed);
            }
        }
    }
}
