//! What the shell asks of the core.
use crate::base::batch::LogId;
use crate::base::event::{Delivery, Peer};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::{FolderName, Room, Target};
use crate::base::range::LogRange;
use crate::node::context::{NodeCounters, ResumeState};
use crate::node::node::Node;
use crate::node::replication::fork_repair;

impl Node {
    /// How far what was said in this run has come.
    pub fn delivery(&self) -> Delivery {
        let mut delivery =
            self.delivery_tracker
                .delivery(&self.ctx, &self.logs, self.is_expecting_link());
        // Who is meant by a name is yet to be seen.
        delivery.is_settled &= self.name_resolution.has_resolved_all();
        delivery
    }

    /// How far these own logs have come, each up to the line beside it. `need`: as of `Command::Finish`.
    pub fn delivery_of(&self, heads: &[(&LogId, u64)], need: Option<u64>) -> Delivery {
        self.delivery_tracker
            .delivery_of(&self.ctx, heads, need, self.is_expecting_link())
    }

    /// Others may be linked in a moment.
    pub(super) fn is_expecting_link(&self) -> bool {
        self.handshakes.is_expecting_link(self.ctx.now.time)
            || self.dialer.is_expecting_link(&self.ctx)
    }

    pub fn network(&self) -> NetworkTag {
        self.ctx.network
    }

    /// Where an own line stands that was said again, as its number came into doubt.
    pub fn republished_position(&self, log: &LogId, line: u64) -> Option<(LogId, u64)> {
        fork_repair::republished_position(&self.logs, log, line)
    }

    /// The log in which we speak to this target, and its last line.
    pub fn own_head(&self, target: &Target) -> Option<(LogId, u64)> {
        let log = self.logs.own_log(&self.ctx, target);
        let high = self.logs.get(&log)?.high;
        Some((log, high))
    }

    /// What /stats tells, each with its name.
    pub(super) fn stats(&self) -> Vec<(&'static str, u64)> {
        let delivery = self.delivery();
        let mut stats = vec![
            ("links", self.link_count() as u64),
            ("peers_holding_all_you_said", delivery.acked_peers),
            ("of_peers_linked_there", delivery.linked_peers),
        ];
        stats.extend(self.ctx.counters.named_values());
        stats
    }

    /// More may be said: the store takes lines.
    pub fn can_accept(&self) -> bool {
        self.replication.can_accept() && self.name_resolution.has_resolved_all()
    }

    /// What is held in a folder, for the store's frontier.
    pub fn frontier(&self, folder: &FolderName) -> Vec<LogRange> {
        self.logs.ranges_in_folder(folder, &self.ctx.own_id())
    }

    /// What must not be dropped of an own log: what a linked peer lacks, and what this run said and nobody has. `u64::MAX`: all may be.
    pub fn retention_floor(&self, log: &LogId) -> u64 {
        let lacked = self
            .replication
            .first_unacked(&self.ctx, &self.delivery_tracker, log);
        let unheld = self.delivery_tracker.first_unacked_of_run(&self.logs, log);
        lacked.into_iter().chain(unheld).min().unwrap_or(u64::MAX)
    }

    /// Does somebody hold our last line in this folder, as far as this run was told? Also if we never said one.
    pub fn is_acknowledged(&self, folder: &FolderName) -> bool {
        let left = |room: Room| !self.rooms.is_joined(&room);
        let ranges = self.logs.ranges_in_folder(folder, &self.ctx.own_id());
        let own = ranges
            .iter()
            .filter(|range| range.log.author == self.ctx.own_id());
        let newest = own.max_by_key(|range| range.lamport);
        let held =
            newest.is_none_or(|range| self.delivery_tracker.max_acked(&range.log) >= range.high);
        held && !folder.room().is_some_and(left)
    }

    /// Was something said in this room in this run that nobody holds yet?
    pub fn has_unacknowledged(&self, room: &Room) -> bool {
        let here = |log: &LogId| log.target.room() == Some(room);
        let mut said = self.logs.run_logs().filter(|(log, _)| here(log));
        said.any(|(log, _)| {
            let head = self.logs.head(log).unwrap_or(0);
            self.delivery_tracker
                .first_unacked_of_run(&self.logs, log)
                .is_some_and(|first| first <= head)
        })
    }

    /// Has this peer been linked, in this run or before?
    pub fn is_known(&self, peer: &PeerId) -> bool {
        self.known_peers.is_known(peer)
    }

    /// What to leave for the next run at a clean end.
    pub fn resume_state(&self) -> ResumeState {
        self.logs.resume_state(&self.ctx)
    }

    pub fn own_peer(&self) -> Peer {
        self.ctx.own_peer()
    }

    pub fn joined_rooms(&self) -> &[Room] {
        self.rooms.joined()
    }

    /// The room spoken in.
    pub fn current_room(&self) -> Option<&Room> {
        self.rooms.current()
    }

    pub fn counters(&self) -> NodeCounters {
        self.ctx.counters
    }

    /// Number of links that stand.
    pub fn link_count(&self) -> usize {
        self.ctx.links.len()
    }

    /// Number of dials and handshakes under way.
    pub fn pending_handshake_count(&self) -> usize {
        self.handshakes.pending_count()
    }

    /// Bytes that wait for a clogged link, of that for which most do.
    pub fn max_send_buffer_bytes(&self) -> usize {
        let waiting = self.ctx.links.values().map(|link| link.send_buffer.len());
        waiting.max().unwrap_or(0)
    }
}
