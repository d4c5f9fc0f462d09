//! The thread that brings to the medium what the loop wrote: five seconds after the first change, and asleep while nothing changes.
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

/// What a power cut may take at most.
const DELAY: Duration = Duration::from_secs(5);
/// Files waiting at a time; with more, the delay is cut short.
const FILES_MAX: usize = 64;

struct Request {
    file: File,
    pending: Arc<AtomicBool>,
}

/// The loop's side.
#[derive(Default)]
pub struct Fsync {
    requests: Option<Sender<Request>>,
    failed: Arc<AtomicBool>,
}

impl Fsync {
    /// Something was written to the file. `pending` says that this is known already, and is cleared before the file is synced.
    /// Never blocks: if the helper is behind, the next change asks again.
    pub fn changed(&mut self, file: &File, pending: &Arc<AtomicBool>) {
        if pending.swap(true, Ordering::AcqRel) {
            return;
        }
        if self.requests.is_none() {
            self.requests = start(Arc::clone(&self.failed));
        }
        let asked = self.requests.as_ref().is_some_and(|requests| {
            file.try_clone().is_ok_and(|file| {
                let pending = Arc::clone(pending);
                requests.try_send(Request { file, pending }).is_ok()
            })
        });
        if !asked {
            pending.store(false, Ordering::Release);
        }
    }

    /// Did the medium refuse something since this was last asked?
    pub fn take_failed(&self) -> bool {
        self.failed.swap(false, Ordering::Relaxed)
    }
}

/// `None` if no thread can be had: then only the end syncs.
fn start(failed: Arc<AtomicBool>) -> Option<Sender<Request>> {
    let (sender, requests) = bounded::<Request>(FILES_MAX);
    let run = move || {
        while let Ok(first) = requests.recv() {
            let due = Instant::now() + DELAY;
            let mut batch = vec![first];
            while batch.len() < FILES_MAX {
                match requests.recv_deadline(due) {
                    Ok(request) => batch.push(request),
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                }
            }
            for Request { file, pending } in batch {
                pending.store(false, Ordering::Release);
                if file.sync_data().is_err() {
                    failed.store(true, Ordering::Relaxed);
                }
            }
        }
    };
    let builder = thread::Builder::new()
        .name("fsync".into())
        .stack_size(64 * 1024);
    builder.spawn(run).ok().map(|_| sender)
}
