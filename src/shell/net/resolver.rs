//! Resolves the host names of `--peer` in a helper thread. Otherwise a slow name server would block
//! the event loop.
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use crate::base::identity::PeerId;
use crate::shell::os::thread;
use crate::wire::code::Endpoint;

/// Time to the first retry if some names were not found. Each further retry doubles the time, up to
/// [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest time between two retries.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Maximum number of addresses used per name.
const ADDRESSES_PER_NAME_MAX: usize = 4;

/// A resolved candidate: an address where a peer may be.
pub struct Resolved {
    /// Where to dial.
    pub address: SocketAddr,
    /// The peer expected at the address, if `--peer` gives its id.
    pub peer: Option<PeerId>,
}

/// Addresses that helper threads have found and that the event loop has not yet taken. A mutex
/// needs less code here than a channel.
#[derive(Clone, Default)]
pub struct ResolvedQueue(Arc<Mutex<Vec<Resolved>>>);

impl ResolvedQueue {
    /// Takes all addresses out of the queue.
    pub fn take(&self) -> Vec<Resolved> {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut queue)
    }

    fn push(&self, resolved: Resolved) {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push(resolved);
    }
}

/// Starts a thread that resolves all endpoints and puts their addresses into `resolved`. The thread
/// retries until every endpoint has an address. Each time an endpoint is resolved, the thread calls
/// `wake`.
pub fn spawn_resolver(
    endpoints: Vec<Endpoint>,
    resolved: ResolvedQueue,
    wake: impl Fn() + Send + 'static,
) {
    if endpoints.is_empty() {
        return;
    }
    let work = move || {
        let mut endpoints = endpoints;
        let mut wait = RETRY_MIN;
        while !endpoints.is_empty() {
            endpoints.retain(|endpoint| {
                let Ok(addresses) = (endpoint.host.as_str(), endpoint.port).to_socket_addrs()
                else {
                    return true;
                };
                let mut is_missing = true;
                for address in addresses.take(ADDRESSES_PER_NAME_MAX) {
                    is_missing = false;
                    resolved.push(Resolved {
                        address,
                        peer: endpoint.peer,
                    });
                }
                wake();
                is_missing
            });
            if !endpoints.is_empty() {
                sleep(wait);
                wait = (wait * 2).min(RETRY_MAX);
            }
        }
    };
    // Without the thread, no name is resolved and no static peer is dialed. Beacons still find
    // other peers.
    let _ = thread::spawn_helper("resolver", Box::new(work));
}
