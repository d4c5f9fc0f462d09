//! What a finder reports from its thread: findings, and how it fares.
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;

use crate::base::identity::PeerId;
use crate::base::interface::FoundVia;

/// Maximum number of characters of a finder's trouble. The rest is cut off.
const TROUBLE_MAX_CHARS: usize = 200;

/// What a finder found: addresses, and perhaps the peer that may answer there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which finder.
    pub via: FoundVia,
    /// The only peer that may answer. `None`: any peer.
    pub peer: Option<PeerId>,
    /// The addresses, the best ones first.
    pub addresses: Vec<SocketAddr>,
}

/// How a finder fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinderStatus {
    /// How often the finder announced this program.
    pub announced: u64,
    /// Number of findings.
    pub found: u64,
    /// Number of findings that were dropped, because the event loop was busy.
    pub dropped: u64,
    /// What last went wrong, as a sentence without a full stop. `None`: all is well.
    pub trouble: Option<String>,
}

/// What the thread of a finder shares with the event loop.
#[derive(Default)]
pub struct SharedState {
    /// How the finder fares.
    pub status: FinderStatus,
    /// Withdraws what the finder has announced. Called once, as the program ends.
    pub withdraw: Option<Box<dyn FnOnce() + Send>>,
}

/// Locks the state, also if a thread has panicked with it.
pub fn lock(shared: &Mutex<SharedState>) -> MutexGuard<'_, SharedState> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reports the findings of one finder, and how it fares. Never blocks.
#[derive(Clone)]
pub struct Reporter {
    pub(super) via: FoundVia,
    pub(super) findings: Sender<Finding>,
    pub(super) shared: Arc<Mutex<SharedState>>,
    pub(super) wake: Arc<dyn Fn() + Send + Sync>,
}

impl Reporter {
    /// Reports addresses, the best ones first, and perhaps the only peer that may answer there.
    pub fn report(&self, peer: Option<PeerId>, addresses: Vec<SocketAddr>) {
        let via = self.via;
        let finding = Finding {
            via,
            peer,
            addresses,
        };
        let is_passed = self.findings.try_send(finding).is_ok();
        let mut shared = lock(&self.shared);
        match is_passed {
            true => shared.status.found += 1,
            false => shared.status.dropped += 1,
        }
        drop(shared);
        (self.wake)();
    }

    /// Records that the finder has announced this program.
    pub fn record_announced(&self) {
        lock(&self.shared).status.announced += 1;
        (self.wake)();
    }

    /// Records what is wrong, or that all is well again.
    pub fn set_trouble(&self, trouble: Option<String>) {
        let trouble = trouble.map(|it| it.chars().take(TROUBLE_MAX_CHARS).collect());
        let mut shared = lock(&self.shared);
        let is_changed = shared.status.trouble != trouble;
        shared.status.trouble = trouble;
        drop(shared);
        if is_changed {
            (self.wake)();
        }
    }

    /// Sets how to withdraw what the finder has announced. The program calls it once, as it ends,
    /// and waits for its return.
    pub fn set_withdraw(&self, withdraw: Box<dyn FnOnce() + Send>) {
        lock(&self.shared).withdraw = Some(withdraw);
    }
}
