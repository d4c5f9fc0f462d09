//! Waiting for a condition, with a deadline.
use std::thread;
use std::time::{Duration, Instant};

/// Waits until the condition holds; polls it every 2 ms.
///
/// # Panics
/// The condition is still false after `limit`; the message names `what`.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
