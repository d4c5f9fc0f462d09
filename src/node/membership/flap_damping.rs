//! Flap damping: a peer that joins, leaves or renames itself again and again is shown only a
//! bounded number of times in a minute (compare RFC 2439). A summary then stands for the rest.
use crate::base::time::Time;

/// Length of a window, in milliseconds. The summaries say "in the last minute".
const FLAP_WINDOW_MS: u64 = 60_000;

/// The changes within one minute, which begins with a change. `S` is the state that changes.
pub struct FlapWindow<S> {
    /// How many changes of a window are shown.
    shown_max: u64,
    /// When the window ends. In the past: the next change begins a new window.
    ends_at: Time,
    /// Number of changes in the window, shown or not.
    count: u64,
    /// The state after the last change that was not shown. `None`: all changes were shown.
    unshown: Option<S>,
}

impl<S: PartialEq> FlapWindow<S> {
    /// A window without changes, of which `shown_max` will be shown.
    pub fn new(shown_max: u64) -> FlapWindow<S> {
        FlapWindow {
            shown_max,
            ends_at: Time(0),
            count: 0,
            unshown: None,
        }
    }

    /// Whether the next change may be shown. After a change that was not shown, none is shown until
    /// the summary.
    pub fn can_show(&self, now: Time) -> bool {
        self.is_over(now) || self.unshown.is_none() && self.count < self.shown_max
    }

    /// Whether the window has ended and needs no summary.
    pub fn is_over(&self, now: Time) -> bool {
        self.ends_at <= now && self.unshown.is_none()
    }

    /// Counts shown changes.
    pub fn record_shown(&mut self, now: Time, changes: u64) {
        if self.is_over(now) {
            self.count = 0;
            self.ends_at = now + FLAP_WINDOW_MS;
        }
        self.count += changes;
    }

    /// Records the present state, which is not shown. Counts a change if the state differs from the
    /// one of the last call, or from the `shown` one.
    pub fn record_unshown(&mut self, state: S, shown: &S) {
        if *self.unshown.as_ref().unwrap_or(shown) != state {
            self.count += 1;
            self.unshown = Some(state);
        }
    }

    /// When [`FlapWindow::take_summary`] is due.
    pub fn summary_at(&self) -> Option<Time> {
        self.unshown.is_some().then_some(self.ends_at)
    }

    /// If the window has ended and not all changes were shown, returns the number of its changes.
    /// The caller must then show the present state.
    pub fn take_summary(&mut self, now: Time) -> Option<u64> {
        let is_due = self.summary_at().is_some_and(|at| at <= now);
        is_due.then(|| {
            self.unshown = None;
            self.count
        })
    }
}
