//! What a finder reports from its thread: findings, and how it fares.
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::identity::PeerId;
use crate::base::interface::FoundVia;

/// Maximum number of findings that wait for the event loop. Further ones are dropped and counted.
const FINDINGS_MAX: usize = 64;
/// Maximum number of sentences that wait for the event loop.
const SENTENCES_MAX: usize = 8;
/// Maximum number of characters of a finder's trouble. The rest is cut off.
const TROUBLE_MAX_CHARS: usize = 200;

/// What a finder found: addresses, and perhaps the peer that may answer there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which finder.
    pub via: FoundVia,
    /// The only peer that may answer. `None`: any peer.
    pub peer: Option<PeerId>,
    /// The service of Grenache that has these addresses. `None`: they may be those of peers.
    pub service: Option<String>,
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

impl fmt::Display for FinderStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (announced, found, dropped) = (self.announced, self.found, self.dropped);
        write!(f, "announced {announced}, found {found}, dropped {dropped}")?;
        self.trouble.iter().try_for_each(|it| write!(f, "; {it}"))
    }
}

/// Withdraws what a finder has announced.
pub type Withdrawal = Box<dyn FnOnce() + Send>;

/// What the threads of the finders share with the event loop.
#[derive(Default)]
pub struct SharedState {
    /// Findings that wait for the event loop.
    pub findings: Vec<Finding>,
    /// Sentences for the user.
    pub sentences: Vec<String>,
    /// How each finder fares.
    pub statuses: Vec<FinderStatus>,
    /// Withdraws what finders have announced, by their indices. Each is called once, as the program
    /// ends.
    pub withdrawals: Vec<(usize, Withdrawal)>,
}

/// Locks the state, even if a thread has panicked while it held the lock.
pub fn lock(shared: &Mutex<SharedState>) -> MutexGuard<'_, SharedState> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reports the findings of one finder, and how it fares. Never blocks for long.
#[derive(Clone)]
pub struct Reporter {
    pub(super) via: FoundVia,
    /// The index of the finder's status.
    pub(super) index: usize,
    pub(super) shared: Arc<Mutex<SharedState>>,
    pub(super) wake: Arc<dyn Fn() + Send + Sync>,
}

impl Reporter {
    /// Reports addresses, the best ones first, and perhaps the only peer that may answer there.
    pub fn report(&self, peer: Option<PeerId>, addresses: Vec<SocketAddr>) {
        self.push(Finding {
            via: self.via,
            peer,
            service: None,
            addresses,
        });
    }

    /// Reports addresses of a service of Grenache.
    pub fn report_service(&self, service: &str, addresses: Vec<SocketAddr>) {
        self.push(Finding {
            via: self.via,
            peer: None,
            service: Some(service.to_owned()),
            addresses,
        });
    }

    fn push(&self, finding: Finding) {
        let mut shared = lock(&self.shared);
        let has_room = shared.findings.len() < FINDINGS_MAX;
        if has_room {
            shared.findings.push(finding);
        }
        drop(shared);
        self.update(|status| match has_room {
            true => status.found += 1,
            false => status.dropped += 1,
        });
    }

    /// Records that the finder has found what it was asked for, and answered itself.
    pub fn record_found(&self) {
        self.update(|status| status.found += 1);
    }

    /// Records that the finder has announced this program.
    pub fn record_announced(&self) {
        self.update(|status| status.announced += 1);
    }

    /// Records what is wrong, or that all is well again.
    pub fn set_trouble(&self, trouble: Option<String>) {
        let trouble = trouble.map(|it| it.chars().take(TROUBLE_MAX_CHARS).collect());
        self.update(|status| status.trouble = trouble);
    }

    /// Says a sentence to the user, on stderr. Dropped if `SENTENCES_MAX` wait.
    pub fn say(&self, sentence: String) {
        let sentences = &mut lock(&self.shared).sentences;
        if sentences.len() < SENTENCES_MAX {
            sentences.push(sentence);
        }
        (self.wake)();
    }

    fn update(&self, change: impl FnOnce(&mut FinderStatus)) {
        if let Some(status) = lock(&self.shared).statuses.get_mut(self.index) {
            change(status);
        }
        (self.wake)();
    }

    /// Sets what withdraws the announcement of the finder. The program calls it once, as it ends,
    /// and waits for its return.
    pub fn set_withdrawal(&self, withdraw: Withdrawal) {
        let withdrawals = &mut lock(&self.shared).withdrawals;
        withdrawals.retain(|(index, _)| *index != self.index);
        withdrawals.push((self.index, withdraw));
    }
}
