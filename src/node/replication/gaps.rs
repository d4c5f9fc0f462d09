//! Missing lines in the middle of a log: they are asked for when somebody turns up who holds them.
use crate::base::batch::LogId;
use crate::base::event::StreamId;
use crate::base::name::{Room, Target};
use crate::base::range::Hole;
use crate::base::table::Set;
use crate::base::time::Time;
use crate::node::context::Hub;
use crate::node::replication::fetch::want;
use crate::node::replication::logs::Logs;
use crate::node::replication::progress::tell;
use crate::wire::message::Held;

/// Milliseconds without a line after which one that was asked has none.
const PATIENCE: u64 = 5_000;
/// Milliseconds from one time that all are asked what they hold to the next: each answer is as long as that is.
const SEEK_EVERY: u64 = 30_000;
/// Most offers that wait.
const OFFERS_MAX: usize = 1024;

/// A peer says that it holds what is missing.
struct Offer {
    key: (StreamId, LogId),
    low: u64,
    high: u64,
}

#[derive(Default)]
pub struct Holes {
    /// Taken one after the other: a hole is rare, and nobody waits for it.
    offers: Vec<Offer>,
    /// The first of them was asked for; when it last brought something.
    asked: Option<Time>,
    /// Links over which nothing came that was asked for: they are not asked again.
    vain: Set<StreamId>,
    /// Others are to be asked what they hold.
    seek: bool,
    /// When they last were.
    sought: Option<Time>,
}

impl Holes {
    pub fn keep(&mut self, which: &dyn Fn(&(StreamId, LogId)) -> bool) {
        if self.offers.first().is_some_and(|offer| !which(&offer.key)) {
            self.asked = None;
        }
        self.offers.retain(|offer| which(&offer.key));
    }

    /// Lines are missing from now on: somebody who is linked may hold them.
    pub fn seek(&mut self) {
        self.seek = true;
    }

    /// A peer says what it holds of a log.
    pub fn offered(&mut self, logs: &Logs, key: (StreamId, LogId), held: &Held) {
        let known = self.offers.iter().position(|offer| offer.key == key);
        let (low, high) = (held.low, held.high);
        let offer = Offer { key, low, high };
        let covers = offer.covers(logs).is_some();
        if let Some(at) = known {
            self.offers[at] = offer;
            if at == 0 && !covers {
                self.asked = None;
            }
        } else if covers && self.offers.len() < OFFERS_MAX && !self.vain.contains(&offer.key.0) {
            self.offers.push(offer);
        }
    }

    /// Missing lines of this log are to come over this link.
    pub fn expects(&self, key: &(StreamId, LogId)) -> bool {
        self.asked.is_some() && self.offers.first().is_some_and(|offer| offer.key == *key)
    }

    /// What was asked for comes. `closed`: that was all.
    pub fn came(&mut self, hub: &Hub, closed: bool) {
        self.asked = (!closed).then_some(hub.now.time);
    }

    /// What was asked for does not come over this link.
    pub fn in_vain(&mut self, hub: &Hub, stream: StreamId) {
        self.vain.retain(|stream| hub.links.contains_key(stream));
        self.vain.insert(stream);
        self.offers.retain(|offer| offer.key.0 != stream);
        self.asked = None;
    }

    /// The store takes lines again: what it did not take is asked for once more.
    pub fn resume(&mut self) {
        self.asked = None;
        self.seek = true;
    }

    /// What is due to be asked for is.
    pub fn end_turn(&mut self, hub: &mut Hub, logs: &Logs, rooms: &[Room]) {
        if self.given_up().is_some_and(|at| at <= hub.now.time)
            && let Some(stream) = self.offers.first().map(|offer| offer.key.0)
        {
            self.in_vain(hub, stream);
        }
        while self.asked.is_none()
            && let Some(offer) = self.offers.first()
        {
            let Some(hole) = offer.covers(logs) else {
                self.offers.remove(0);
                continue;
            };
            want(hub, &offer.key, (hole.from, hole.to));
            self.asked = Some(hub.now.time);
        }
        if self.due().is_none_or(|at| hub.now.time < at) {
            return;
        }
        (self.seek, self.sought) = (false, Some(hub.now.time));
        let rooms = rooms.iter().cloned().map(Target::Room);
        for target in rooms.chain([Target::Peer(hub.id())]) {
            if !logs.has_holes(&target) {
                continue;
            }
            let links = hub.links.iter();
            let asked = links.filter(|(_, link)| target.room().is_none() || link.shares(&target));
            let asked: Vec<StreamId> = asked.map(|(stream, _)| *stream).collect();
            for stream in asked {
                tell(hub, stream, &target, Vec::new(), Some(String::new()), false);
            }
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        self.given_up().into_iter().chain(self.due()).min()
    }

    /// When nothing more is waited for that was asked for.
    fn given_up(&self) -> Option<Time> {
        self.asked.map(|at| at + PATIENCE)
    }

    /// When others are to be asked what they hold, at the earliest.
    fn due(&self) -> Option<Time> {
        let next = self.sought.map_or(Time::default(), |at| at + SEEK_EVERY);
        self.seek.then_some(next)
    }
}

impl Offer {
    /// The first hole of this log of which the peer holds all.
    fn covers<'a>(&self, logs: &'a Logs) -> Option<&'a Hole> {
        let mut holes = logs.get(&self.key.1)?.holes.iter();
        holes.find(|hole| self.low <= hole.from && hole.to <= self.high)
    }
}
