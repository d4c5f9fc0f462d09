//! What the shell asks of the core.
use crate::base::batch::LogId;
use crate::base::event::{Delivery, Peer};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::{Folder, Room, Target};
use crate::base::range::Range;
use crate::node::context::{Counters, Resume};
use crate::node::node::Node;
use crate::node::replication::fork_repair;

impl Node {
    /// How far what was said in this run has come.
    pub fn delivery(&self) -> Delivery {
        let mut delivery = self.receipts.delivery(&self.hub, &self.logs, self.coming());
        // Who is meant by a name is yet to be seen.
        delivery.settled &= self.tell.is_clear();
        delivery
    }

    /// How far these own logs have come, each up to the line beside it. `need`: as of `Command::Finish`.
    pub fn delivery_of(&self, heads: &[(&LogId, u64)], need: Option<u64>) -> Delivery {
        self.receipts
            .delivery_of(&self.hub, heads, need, self.coming())
    }

    /// Others may be linked in a moment.
    pub(super) fn coming(&self) -> bool {
        self.handshakes.coming(self.hub.now.time) || self.discovery.coming(&self.hub)
    }

    pub fn network(&self) -> NetworkTag {
        self.hub.network
    }

    /// Where an own line stands that was said again, as its number came into doubt.
    pub fn place(&self, log: &LogId, line: u64) -> Option<(LogId, u64)> {
        fork_repair::place(&self.logs, log, line)
    }

    /// The log in which we speak to this target, and its last line.
    pub fn head(&self, target: &Target) -> Option<(LogId, u64)> {
        let log = self.logs.own_log(&self.hub, target);
        let high = self.logs.get(&log)?.high;
        Some((log, high))
    }

    /// What /stats tells, each with its name.
    pub(super) fn stats(&self) -> Vec<(&'static str, u64)> {
        let delivery = self.delivery();
        let mut stats = vec![
            ("links", self.linked() as u64),
            ("peers_holding_all_you_said", delivery.holding),
            ("of_peers_linked_there", delivery.linked),
        ];
        stats.extend(self.hub.counters.list());
        stats
    }

    /// More may be said: the store takes lines.
    pub fn accepting(&self) -> bool {
        self.replicate.accepting() && self.tell.is_clear()
    }

    /// What is held in a folder, for the store's frontier.
    pub fn frontier(&self, folder: &Folder) -> Vec<Range> {
        self.logs.in_folder(folder, &self.hub.id())
    }

    /// What must not be dropped of an own log: what a linked peer lacks, and what this run said and nobody has. `u64::MAX`: all may be.
    pub fn floor(&self, log: &LogId) -> u64 {
        let lacked = self.replicate.floor(&self.hub, &self.receipts, log);
        let unheld = self.receipts.unheld(&self.logs, log);
        lacked.map_or(unheld, |lacked| lacked.min(unheld))
    }

    /// Does somebody hold our last line in this folder, as far as this run was told? Also if we never said one.
    pub fn is_held(&self, folder: &Folder) -> bool {
        let left = |room: Room| !self.rooms.is_joined(&room);
        let ranges = self.logs.in_folder(folder, &self.hub.id());
        let own = ranges
            .iter()
            .filter(|range| range.log.author == self.hub.id());
        let newest = own.max_by_key(|range| range.lamport);
        let held = newest.is_none_or(|range| self.receipts.best(&range.log) >= range.high);
        held && !folder.room().is_some_and(left)
    }

    /// Was something said in this room in this run that nobody holds yet?
    pub fn waits(&self, room: &Room) -> bool {
        let here = |log: &LogId| log.target.room() == Some(room);
        let mut said = self.logs.started().filter(|(log, _)| here(log));
        said.any(|(log, _)| {
            let head = self.logs.head(log).unwrap_or(0);
            self.receipts.unheld(&self.logs, log) <= head
        })
    }

    /// Has this peer been linked, in this run or before?
    pub fn is_known(&self, peer: &PeerId) -> bool {
        self.trust.is_known(peer)
    }

    /// What to leave for the next run at a clean end.
    pub fn resume(&self) -> Resume {
        self.logs.resume(&self.hub)
    }

    pub fn me(&self) -> Peer {
        self.hub.me()
    }

    pub fn rooms(&self) -> &[Room] {
        self.rooms.joined()
    }

    /// The room spoken in.
    pub fn spoken(&self) -> Option<&Room> {
        self.rooms.spoken()
    }

    pub fn counters(&self) -> Counters {
        self.hub.counters
    }

    /// Number of links that stand.
    pub fn linked(&self) -> usize {
        self.hub.links.len()
    }

    /// Number of dials and handshakes under way.
    pub fn unfinished(&self) -> usize {
        self.handshakes.unfinished()
    }

    /// Bytes that wait for a clogged link, of that for which most do.
    pub fn pending(&self) -> usize {
        let waiting = self.hub.links.values().map(|link| link.pending.len());
        waiting.max().unwrap_or(0)
    }
}
