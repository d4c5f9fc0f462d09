//! Known peers: which key came with which name.

use super::hub::Hub;
use crate::base::event::{Known, Notice, Output, Peer};
use crate::base::identity::PeerId;
use crate::base::name::Nick;
use crate::base::table::Table;

/// New names that one run may note: whoever makes up keys by the thousand fills neither disk nor memory.
const NEW_MAX: usize = 1000;

#[derive(Default)]
pub struct Trust {
    known: Table<Nick, Vec<Known>>,
    new: usize,
}

impl Trust {
    pub fn new(list: Vec<Known>) -> Trust {
        let mut trust = Trust::default();
        for known in list {
            trust.known.get_or_default(known.nick.clone()).push(known);
        }
        trust
    }

    /// The list was edited, perhaps.
    pub fn read_again(&mut self, list: Vec<Known>) {
        self.known = Trust::new(list).known;
    }

    /// A peer came by this name. Another key under a known name is a second peer, and said once.
    pub fn meet(&mut self, hub: &mut Hub, peer: &Peer) {
        let known = self.known.get(&peer.nick);
        if known.is_some_and(|known| known.iter().any(|k| k.id == peer.id)) || self.new >= NEW_MAX {
            return;
        }
        let known = self.known.get_or_default(peer.nick.clone());
        self.new += 1;
        if let Some(first) = known.first() {
            hub.notice(Notice::OtherKey {
                peer: peer.clone(),
                known: first.id,
                since: first.since,
            });
        }
        let entry = Known {
            nick: peer.nick.clone(),
            id: peer.id,
            since: hub.now.wall,
        };
        known.push(entry.clone());
        hub.put(Output::Remember(entry));
    }

    pub fn is_known(&self, id: &PeerId) -> bool {
        self.known.values().flatten().any(|known| known.id == *id)
    }
}
