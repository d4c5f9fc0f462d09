//! Keeps a panic of `mainline` in its own thread. The program is built to abort on a panic, and
//! what a node of the DHT sends shall end at most the finder.
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// The name of the thread of a node.
const THREAD_NAME: &str = "Mainline Dht actor thread";

static HAS_FAILED: AtomicBool = AtomicBool::new(false);

/// From now on, a thread of `mainline` that panics sleeps instead until the program ends.
pub fn contain() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if thread::current().name() == Some(THREAD_NAME) {
                HAS_FAILED.store(true, Ordering::Release);
                // The abort follows the return of the hook.
                loop {
                    thread::park();
                }
            }
            previous(info);
        }));
    });
}

/// Whether a thread of `mainline` has panicked. It has a socket still, so no other is started.
pub fn has_failed() -> bool {
    HAS_FAILED.load(Ordering::Acquire)
}
