//! Names given by hand, looked up in a thread of their own: a name server that is silent holds up nobody.
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use crate::base::identity::PeerId;
use crate::shell::os::thread;
use crate::wire::code::Endpoint;

/// Between attempts at a name that is not found, at first and at last.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Addresses taken of one name.
const ADDRESSES_PER_NAME_MAX: usize = 4;

/// An address where perhaps a peer is.
pub struct Resolved {
    pub address: SocketAddr,
    pub peer: Option<PeerId>,
}

/// What was found and not yet taken; no more than a few for each name. Less code than another kind of channel.
#[derive(Clone, Default)]
pub struct ResolvedQueue(Arc<Mutex<Vec<Resolved>>>);

impl ResolvedQueue {
    pub fn take(&self) -> Vec<Resolved> {
        let mut finds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut finds)
    }

    fn push(&self, found: Resolved) {
        let mut finds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        finds.push(found);
    }
}

/// Looks the names up until each was found once; `wake` is called after each that was.
pub fn spawn_resolver(
    names: Vec<Endpoint>,
    found: ResolvedQueue,
    wake: impl Fn() + Send + 'static,
) {
    if names.is_empty() {
        return;
    }
    let work = move || {
        let mut names = names;
        let mut wait = RETRY_MIN;
        while !names.is_empty() {
            names.retain(|name| {
                let Ok(addresses) = (name.host.as_str(), name.port).to_socket_addrs() else {
                    return true;
                };
                let mut missing = true;
                for address in addresses.take(ADDRESSES_PER_NAME_MAX) {
                    missing = false;
                    found.push(Resolved {
                        address,
                        peer: name.peer,
                    });
                }
                wake();
                missing
            });
            if !names.is_empty() {
                sleep(wait);
                wait = (wait * 2).min(RETRY_MAX);
            }
        }
    };
    // Without a thread no name is found; addresses need none.
    let _ = thread::spawn_helper("resolver", Box::new(work));
}
