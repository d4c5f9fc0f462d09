//! How far what was said has come: who holds it, who is still to be waited for.

use super::hub::Hub;
use super::logs::Logs;
use crate::base::batch::LogId;
use crate::base::event::{Delivery, Notice, StreamId};
use crate::base::identity::PeerId;
use crate::base::name::Room;
use crate::base::table::{Set, Table};
use crate::base::time::Time;

/// Milliseconds without news after which nobody else is expected: a peer that hears a beacon dials within this time.
const GRACE: u64 = 8;
/// How long a link's word about other members is taken for true, in milliseconds.
const NAMED_FOR: u64 = 10_000;
/// Most peers whose receipts are kept.
const PEERS_MAX: usize = 4096;

#[derive(Default)]
pub struct Receipts {
    /// What each peer was seen to hold of our logs. A peer that comes again may hold less: its new link begins with nothing.
    held: Table<PeerId, Table<LogId, u64>>,
    /// Peers whose programs come and go unannounced: they may be gone with the lines before anybody else has them.
    passing: Set<PeerId>,
    finish: Option<Option<u64>>,
    settled: bool,
}

impl Receipts {
    pub fn up(&mut self, hub: &Hub, stream: StreamId) {
        if let Some(link) = hub.links.get(&stream) {
            self.held.remove(&link.peer.id);
            self.passing.remove(&link.peer.id);
            if self.held.len() >= PEERS_MAX || self.passing.len() >= PEERS_MAX {
                self.held.retain(|peer, _| hub.linked.contains_key(peer));
                self.passing.retain(|peer| hub.linked.contains_key(peer));
            }
            if link.passing {
                self.passing.insert(link.peer.id);
            }
        }
    }

    /// The peer holds our lines up to `sequence`, and they are ours.
    pub fn confirm(
        &mut self,
        hub: &mut Hub,
        logs: &Logs,
        stream: StreamId,
        log: &LogId,
        sequence: u64,
    ) {
        let Some(peer) = hub.links.get(&stream).map(|link| link.peer.clone()) else {
            return;
        };
        let held = self
            .held
            .get_or_default(peer.id)
            .get_or_default(log.clone());
        if *held < sequence {
            *held = sequence;
            if logs.start(log).is_some_and(|start| start <= sequence) {
                hub.notice(Notice::Delivered {
                    log: log.clone(),
                    sequence,
                    peer,
                });
            }
        }
    }

    /// The most that any peer holds of an own log; 0: nobody holds any of it.
    pub fn best(&self, log: &LogId) -> u64 {
        let held = self.held.values().filter_map(|logs| logs.get(log));
        held.copied().max().unwrap_or(0)
    }

    /// How far this peer holds one of our logs.
    pub fn holds(&self, peer: &PeerId, log: &LogId) -> u64 {
        self.held
            .get(peer)
            .and_then(|logs| logs.get(log))
            .copied()
            .unwrap_or(0)
    }

    pub fn finish(&mut self, need: Option<u64>) {
        self.finish = Some(need);
    }

    /// `coming`: dials, handshakes and sightings that may yet become links.
    pub fn delivery(&self, hub: &Hub, logs: &Logs, coming: bool) -> Delivery {
        let heads: Vec<(&LogId, u64)> = logs
            .started()
            .filter_map(|(log, _)| Some((log, logs.get(log)?.high)))
            .collect();
        let rooms: Set<&Room> = heads
            .iter()
            .filter_map(|(log, _)| log.target.room())
            .collect();
        let mut members = Set::new();
        let (mut holding, mut staying) = (0, false);
        let mut lacking = false;
        for link in hub
            .links
            .values()
            .filter(|link| link.rooms.iter().any(|room| rooms.contains(&room)))
        {
            let shared = |log: &LogId| {
                log.target
                    .room()
                    .is_some_and(|room| link.rooms.contains(room))
            };
            let all = heads
                .iter()
                .filter(|(log, _)| shared(log))
                .all(|(log, high)| self.holds(&link.peer.id, log) >= *high);
            members.insert(link.peer.id);
            if all {
                holding += 1;
                staying |= !link.passing;
            } else {
                lacking = true;
            }
        }
        // Who held all and has left has done its part.
        for peer in self.held.keys().filter(|peer| !members.contains(peer)) {
            let all = heads
                .iter()
                .all(|(log, high)| self.holds(peer, log) >= *high);
            if all && !heads.is_empty() {
                holding += 1;
                staying |= !self.passing.contains(peer);
            }
        }
        let named = hub
            .links
            .values()
            .filter(|link| link.since + NAMED_FOR > hub.now.time)
            .any(|link| {
                let of_rooms = link.members.iter().filter(|(room, _)| rooms.contains(room));
                of_rooms.flat_map(|(_, ids)| ids).any(|id| {
                    *id != hub.id() && !self.held.contains_key(id) && !hub.linked.contains_key(id)
                })
            });
        let quiet_at = hub.news + GRACE;
        let everyone = staying && !lacking && !coming && !named;
        let settled = heads.is_empty()
            || match self.finish.flatten() {
                Some(need) => holding >= need,
                None => everyone && hub.now.time >= quiet_at,
            };
        Delivery {
            linked: members.len() as u64,
            holding,
            settled,
            again: (everyone && !settled).then_some(quiet_at),
        }
    }

    /// Tells once that everything has arrived.
    pub fn settle(&mut self, hub: &mut Hub, delivery: &Delivery) {
        if delivery.settled && self.finish.is_some() && !self.settled {
            self.settled = true;
            hub.notice(Notice::Settled);
        }
    }

    pub fn finishing(&self) -> bool {
        self.finish.is_some() && !self.settled
    }

    pub fn deadline(&self, delivery: Option<&Delivery>) -> Option<Time> {
        delivery
            .filter(|_| self.finishing())
            .and_then(|delivery| delivery.again)
    }
}
