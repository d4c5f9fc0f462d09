//! The networks that this box is on, followed as they change, and the beacon's sockets on them.
use std::io;
use std::net::IpAddr;

use mio::{Interest, Registry, Token};

use crate::base::event::Interface;
use crate::base::time::Time;
use crate::shell::net::interfaces;
use crate::shell::net::interfaces::Changes;
use crate::shell::net::multicast::Datagrams;

/// A burst of changes to interfaces is waited out for so long, in milliseconds.
const SETTLE: u64 = 50;
/// Interfaces are looked at now and then even when nothing was said of them, in milliseconds: with netlink, and without.
const RECHECK: u64 = 300_000;
const RECHECK_BLIND: u64 = 5_000;
/// After a socket for beacons could not be had it is tried again: milliseconds to the first time, doubled with each.
const DEAF_WAIT: u64 = 1_000;
/// So many failures, one after the other, are worth a word.
const DEAF_TOLD: u32 = 3;

pub struct Surroundings {
    /// Only these interfaces; empty: all.
    only: Vec<String>,
    usable: Vec<Interface>,
    changes: Option<Changes>,
    recheck: Time,
    /// How often, one after the other, not all sockets for beacons were to be had.
    deaf: u32,
}

/// What a look round found.
#[derive(Default)]
pub struct Seen {
    /// All usable interfaces, if one of them changed.
    pub changed: Option<Vec<Interface>>,
    /// Beacons cannot be heard everywhere, and that lasts: to be told, once.
    pub deaf: bool,
}

impl Surroundings {
    /// Changes are told under `token`.
    ///
    /// # Errors
    /// The poll takes no more.
    pub fn new(
        registry: &Registry,
        token: Token,
        only: Vec<String>,
        now: Time,
    ) -> io::Result<Surroundings> {
        // Without netlink, as in some containers, interfaces are looked at now and then.
        let mut changes = Changes::open().ok();
        if let Some(changes) = &mut changes {
            registry.register(changes, token, Interest::READABLE)?;
        }
        Ok(Surroundings {
            only,
            usable: Vec::new(),
            changes,
            recheck: now,
            deaf: 0,
        })
    }

    /// When to [`Surroundings::look`] again.
    pub fn due(&self) -> Time {
        self.recheck
    }

    /// The kernel told of a change.
    pub fn told(&mut self, now: Time) {
        if self.changes.as_mut().is_some_and(Changes::drain) {
            self.recheck = self.recheck.min(now + SETTLE);
        }
    }

    /// Do we want to be spoken to at this own address?
    pub fn welcomes(&self, own: IpAddr) -> bool {
        let has = |i: &Interface| i.addresses.iter().any(|(address, _)| *address == own);
        self.only.is_empty() || self.usable.iter().any(has)
    }

    pub fn look(&mut self, now: Time, registry: &Registry, datagrams: &mut Datagrams) -> Seen {
        let blind = self.changes.is_none();
        self.recheck = now + if blind { RECHECK_BLIND } else { RECHECK };
        let mut seen = Seen::default();
        let Ok(usable) = interfaces::list(&self.only) else {
            return seen;
        };
        if datagrams.update(registry, &usable) == 0 {
            self.deaf = 0;
        } else {
            // An address may be too new to be used; but what fails again and again is not to keep the box awake.
            let wait = (DEAF_WAIT << self.deaf.min(8)).min(RECHECK);
            self.recheck = self.recheck.min(now + wait);
            self.deaf = self.deaf.saturating_add(1);
            seen.deaf = self.deaf == DEAF_TOLD;
        }
        if usable != self.usable {
            self.usable = usable.clone();
            seen.changed = Some(usable);
        }
        seen
    }
}
