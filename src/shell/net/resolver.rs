//! Resolves the host names of static endpoints (`--peer`) in helper threads, and the ids of those
//! without a host. Otherwise a slow name server would block the event loop.
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use crossbeam_channel::bounded;
use mio::Waker;

use crate::base::identity::PeerId;
use crate::shell::os::poll::wake;
use crate::shell::os::thread;
use crate::wire::code::{Endpoint, EndpointError};

/// Maximum number of endpoints. [`Resolver::add`] refuses further ones.
const ENDPOINTS_MAX: usize = 64;
/// Time to the first retry if a name was not found. Each further retry doubles the time, up to
/// [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest time between two retries.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// What the user is told if there are too many endpoints.
const TOO_MANY_ENDPOINTS: &str =
    "too many addresses are dialed already: start again with fewer --peer";
/// Maximum number of addresses used per name.
const ADDRESSES_PER_NAME_MAX: usize = 4;

/// Looks up the addresses of a peer. May block. The `bool`: whether the user has just named it.
pub type IdLookup = Arc<dyn Fn(PeerId, bool) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// What became of the host name of an endpoint.
pub struct Resolution {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Its addresses, at least one. If there is an error, the name is tried again.
    pub addresses: io::Result<Vec<SocketAddr>>,
    /// Whether the user has just named the endpoint.
    pub is_requested: bool,
}

/// What the event loop shares with the helper threads.
#[derive(Default)]
struct Shared {
    resolutions: Vec<Resolution>,
    /// The endpoints whose names are being resolved, each by a thread of its own.
    in_progress: Vec<Endpoint>,
}

impl Shared {
    /// Drops what is known and what is being done for an endpoint.
    fn forget(&mut self, endpoint: &Endpoint) {
        self.resolutions.retain(|other| other.endpoint != *endpoint);
        self.in_progress.retain(|other| other != endpoint);
    }
}

/// The static endpoints of a run, and the resolutions of their names.
pub struct Resolver {
    endpoints: Vec<Endpoint>,
    /// Looks up endpoints without a host.
    id_lookup: Option<IdLookup>,
    shared: Arc<Mutex<Shared>>,
    /// Held for the whole run. If the last waker were dropped, a pending wake-up would be lost.
    waker: Arc<Waker>,
}

impl Resolver {
    /// A resolver without endpoints. It wakes the event loop for each resolution. Without
    /// `id_lookup`, endpoints need a host.
    pub fn new(waker: Arc<Waker>, id_lookup: Option<IdLookup>) -> Resolver {
        Resolver {
            endpoints: Vec::new(),
            id_lookup,
            shared: Arc::default(),
            waker,
        }
    }

    /// Adds an endpoint that the user names, and resolves it, even if it is known. Of several
    /// endpoints with the same host and port only one is kept: the newest that has an id.
    ///
    /// # Errors
    /// The list is full, or nothing looks up an endpoint without a host. The error is a sentence
    /// for the user.
    pub fn add(&mut self, endpoint: &Endpoint) -> Result<(), String> {
        if self.id_lookup.is_none() && endpoint.peer_without_host().is_some() {
            let error = EndpointError::MissingAddress;
            return Err(format!("the address {endpoint} {error}"));
        }
        let Some((index, replaced)) = add_endpoint(&mut self.endpoints, endpoint) else {
            return Err(TOO_MANY_ENDPOINTS.to_owned());
        };
        if let Some(replaced) = replaced {
            lock(&self.shared).forget(&replaced);
        }
        self.resolve(&self.endpoints[index], true);
        Ok(())
    }

    /// Resolves all endpoints again.
    pub fn resolve_all(&self) {
        self.endpoints.iter().for_each(|e| self.resolve(e, false));
    }

    /// Resolves the endpoints with this text again.
    pub fn resolve_named(&self, text: &str) {
        let named = self.endpoints.iter().filter(|e| e.to_string() == text);
        named.for_each(|e| self.resolve(e, false));
    }

    /// Takes the resolutions that no call has returned yet. A name that cannot be resolved has one
    /// with the error, and another when it is resolved at last.
    pub fn take_resolutions(&self) -> Vec<Resolution> {
        std::mem::take(&mut lock(&self.shared).resolutions)
    }

    /// Starts a thread that resolves an endpoint, unless one is at it. An address needs no thread.
    fn resolve(&self, endpoint: &Endpoint, is_requested: bool) {
        let mut shared = lock(&self.shared);
        if let Ok(ip) = endpoint.host.parse::<IpAddr>() {
            shared.resolutions.push(Resolution {
                endpoint: endpoint.clone(),
                addresses: Ok(vec![SocketAddr::new(ip, endpoint.port)]),
                is_requested,
            });
            wake(&self.waker);
        } else if !shared.in_progress.contains(endpoint) {
            shared.in_progress.push(endpoint.clone());
            let (wanted, for_thread) = (endpoint.clone(), Arc::clone(&self.shared));
            let (waker, id_lookup) = (Arc::clone(&self.waker), self.id_lookup.clone());
            let look_up = move |endpoint: &Endpoint, is_first: bool| match &id_lookup {
                Some(look_up) if let Some(peer) = endpoint.peer_without_host() => {
                    look_up(peer, is_requested && is_first)
                }
                _ => look_up_name(endpoint),
            };
            let work =
                move || resolve_until_found(&wanted, is_requested, &for_thread, &waker, &look_up);
            if thread::spawn_helper("resolver", Box::new(work)).is_err() {
                // The endpoint is not dialed before SIGHUP. Beacons still find other peers.
                shared.in_progress.retain(|other| other != endpoint);
            }
        }
    }
}

/// Adds an endpoint to a list, which keeps the newest of a host and port that has an id. Returns
/// the index of the kept endpoint, and the one that it replaced. `None`: the list is full.
pub fn add_endpoint(
    endpoints: &mut Vec<Endpoint>,
    endpoint: &Endpoint,
) -> Option<(usize, Option<Endpoint>)> {
    let same = |known: &Endpoint| {
        (&known.host, known.port) == (&endpoint.host, endpoint.port)
            && known.peer_without_host() == endpoint.peer_without_host()
    };
    let Some(index) = endpoints.iter().position(same) else {
        if endpoints.len() >= ENDPOINTS_MAX {
            return None;
        }
        endpoints.push(endpoint.clone());
        return Some((endpoints.len() - 1, None));
    };
    let known = &mut endpoints[index];
    let is_kept = endpoint.peer.is_none() || known.peer == endpoint.peer;
    let replaced = (!is_kept).then(|| std::mem::replace(known, endpoint.clone()));
    Some((index, replaced))
}

/// Resolves an endpoint, if need be many times. Reports the first error, and the addresses. Ends
/// without a report once the endpoint is replaced by another.
fn resolve_until_found(
    endpoint: &Endpoint,
    is_requested: bool,
    shared: &Mutex<Shared>,
    waker: &Waker,
    look_up: &dyn Fn(&Endpoint, bool) -> io::Result<Vec<SocketAddr>>,
) {
    let mut retry_after = RETRY_MIN;
    let mut has_failed = false;
    loop {
        let addresses = look_up(endpoint, !has_failed);
        let is_found = addresses.is_ok();
        let mut shared = lock(shared);
        if !shared.in_progress.contains(endpoint) {
            return;
        }
        if is_found {
            shared.in_progress.retain(|other| other != endpoint);
        }
        if is_found || !has_failed {
            let endpoint = endpoint.clone();
            shared.resolutions.push(Resolution {
                endpoint,
                addresses,
                is_requested,
            });
        }
        drop(shared);
        wake(waker);
        if is_found {
            return;
        }
        has_failed = true;
        sleep(retry_after);
        retry_after = (retry_after * 2).min(RETRY_MAX);
    }
}

/// Looks up the addresses of an endpoint, for a program without an event loop. A name server that
/// does not answer holds up a helper thread, which nobody waits for after the `limit`.
///
/// # Errors
/// The name has no address, the limit has passed, or the system cannot start a thread.
pub fn look_up_within(endpoint: &Endpoint, limit: Duration) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = endpoint.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, endpoint.port)]);
    }
    let (sender, receiver) = bounded(1);
    let endpoint = endpoint.clone();
    let work = move || {
        let _ = sender.send(look_up_name(&endpoint));
    };
    thread::spawn_helper("resolver", Box::new(work))?;
    let found = receiver.recv_timeout(limit);
    found.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

fn look_up_name(endpoint: &Endpoint) -> io::Result<Vec<SocketAddr>> {
    let addresses = (endpoint.host.as_str(), endpoint.port).to_socket_addrs()?;
    let addresses: Vec<SocketAddr> = addresses.take(ADDRESSES_PER_NAME_MAX).collect();
    if addresses.is_empty() {
        return Err(ErrorKind::NotFound.into());
    }
    Ok(addresses)
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
