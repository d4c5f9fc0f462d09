//! How far what was said has come: who holds it, who is still to be waited for.

use data_encoding::BASE64URL_NOPAD;

use super::hub::Hub;
use super::logs::Logs;
use crate::base::batch::LogId;
use crate::base::event::{Delivery, Notice, StreamId};
use crate::base::identity::{PeerId, verify};
use crate::base::name::Room;
use crate::base::table::{Set, Table};
use crate::base::time::Time;
use crate::wire::message::{Held, receipt};

/// Milliseconds without news after which nobody else is expected: a peer that hears a beacon dials within this time.
const GRACE: u64 = 8;
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
        peer: PeerId,
        log: &LogId,
        sequence: u64,
    ) {
        if !self.held.contains_key(&peer) && self.held.len() >= PEERS_MAX {
            return;
        }
        let held = self.held.get_or_default(peer).get_or_default(log.clone());
        if *held < sequence {
            *held = sequence;
            if logs.start(log).is_some_and(|start| start <= sequence) {
                hub.notice(Notice::Delivered {
                    log: log.clone(),
                    sequence,
                    peer: hub.name_of(&peer),
                });
            }
        }
    }

    /// A receipt came through others: it counts if the holder signed it and what it holds is ours.
    pub fn passed_on(
        &mut self,
        hub: &mut Hub,
        logs: &Logs,
        holder: PeerId,
        log: &LogId,
        held: &Held,
    ) {
        let signed = receipt(&hub.network, log, held.high, &held.hash);
        let signature = held.signature.as_deref().map(str::as_bytes);
        let signature = signature.and_then(|text| BASE64URL_NOPAD.decode(text).ok());
        let signature = signature.and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
        if logs.hash_at(log, held.high) == Some(held.hash)
            && let (Some(key), Some(signature)) = (holder.key(), signature)
            && verify(&key, &signed.0, &signature)
        {
            self.confirm(hub, logs, holder, log, held.high);
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
        self.delivery_of(hub, &heads, self.finish.flatten(), coming)
    }

    /// How far these of our logs have come, each up to the line beside it.
    pub fn delivery_of(
        &self,
        hub: &Hub,
        heads: &[(&LogId, u64)],
        need: Option<u64>,
        coming: bool,
    ) -> Delivery {
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
        // Who is there through others is waited for: it gets it through others, or will be linked.
        let named = heads.iter().any(|(log, high)| {
            let room = log.target.room().into_iter();
            let mut reached = room.flat_map(|room| hub.reached(room));
            reached
                .any(|(_, peer, _)| !hub.linked.contains_key(peer) && self.holds(peer, log) < *high)
        });
        let quiet_at = hub.news + GRACE;
        let everyone = staying && !lacking && !coming && !named;
        let settled = heads.is_empty()
            || match need {
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
