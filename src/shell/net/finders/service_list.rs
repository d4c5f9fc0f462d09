//! The services that the event loop sets, and the threads of Grapes announce and look up.
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::guests::service::Service;

/// The services, and how often they were set.
#[derive(Clone, Default)]
pub struct VersionedServices {
    /// How often the services were set.
    pub version: u64,
    /// The services.
    pub services: Arc<[Service]>,
}

/// The services, shared by threads.
#[derive(Default)]
pub struct ServiceList {
    state: Mutex<VersionedServices>,
    changed: Condvar,
}

impl ServiceList {
    fn lock(&self) -> MutexGuard<'_, VersionedServices> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the services.
    pub fn set(&self, services: Vec<Service>) {
        let mut state = self.lock();
        state.version += 1;
        state.services = services.into();
        self.changed.notify_all();
    }

    /// The services that were set last.
    pub fn get(&self) -> VersionedServices {
        self.lock().clone()
    }

    /// Waits until the services are of another version than this one, or `timeout` has passed.
    pub fn wait_for_change(&self, version: u64, timeout: Duration) {
        let is_same = |state: &mut VersionedServices| state.version == version;
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), timeout, is_same);
        drop(waited);
    }
}
