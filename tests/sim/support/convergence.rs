//! Convergence: checks for the time after the last fault is healed and the peers have had time to
//! exchange everything.
use std::collections::{BTreeMap, BTreeSet};

use p2pchat::base::batch::batch::LogId;
use p2pchat::base::error_code::ErrorCode;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::identity::Hash;
use p2pchat::base::name::{FolderName, Room, Target};

use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;

/// Most bytes a program writes in an idle minute, for each link; as many once more for dials that
/// do not lead to a link.
const IDLE_BYTES_PER_LINK_MAX: u64 = 2_048;
/// Most beacons of one program in an idle minute.
const IDLE_BEACONS_MAX: u64 = 13;

/// One batch in the order of the history, with its hash.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryBatch {
    pub lamport: u64,
    pub log: LogId,
    pub sequence: u64,
    pub hash: Hash,
}

impl Lan {
    /// Two peers of one network with a path between them have exactly one link; others have none.
    pub fn check_links(&mut self) {
        let mut connections: BTreeMap<(PeerIndex, PeerIndex), usize> = BTreeMap::new();
        for (a, b) in self.network.open_connections() {
            *connections.entry((a.min(b), a.max(b))).or_default() += 1;
        }
        for a in 0..self.peers.len() {
            for b in 0..a {
                let (x, y) = (&self.peers[a], &self.peers[b]);
                let may_link =
                    x.psk == y.psk && x.id != y.id && self.has_path_both_ways(x.host, y.host);
                let up = self.is_running(a) && self.is_running(b) && may_link;
                let names = format!("{} and {}", x.name, y.name);
                let links = connections.get(&(b, a)).copied().unwrap_or(0);
                assert_eq!(links, usize::from(up), "streams between {names}");
                assert_eq!(self.are_linked(a, b), up, "links between {names}");
            }
        }
    }

    /// Members of a room with a path between them store all lines of each other and have shown
    /// them; no line said is still unsaved.
    pub fn check_lines(&self) {
        for a in (0..self.peers.len()).filter(|w| self.is_running(*w)) {
            let author = &self.peers[a];
            for (room, queue) in &self.invariants.observations[a].unstored {
                assert!(
                    queue.is_empty(),
                    "{} did not store {} lines in {room}",
                    author.name,
                    queue.len()
                );
            }
            let rooms = author
                .node
                .as_ref()
                .map_or(&[][..], |node| node.joined_rooms());
            let others = (0..self.peers.len()).filter(|w| *w != a && self.is_running(*w));
            for b in others.filter(|b| {
                self.peers[*b].id != author.id
                    && self.has_path_both_ways(author.host, self.peers[*b].host)
            }) {
                let joined = self.peers[b]
                    .node
                    .as_ref()
                    .map_or(&[][..], |node| node.joined_rooms());
                for room in rooms
                    .iter()
                    .filter(|room| joined.contains(room) && author.psk == self.peers[b].psk)
                {
                    self.check_room(a, b, room);
                }
                let mut links = self.network.open_connections();
                if links.any(|(x, y)| (x, y) == (a, b) || (y, x) == (a, b)) {
                    self.check_direct(a, b);
                }
            }
            self.check_shown(a);
        }
    }

    /// The member `b` stores the author's lines of this room, from the same line or an earlier one
    /// up to at least the same head.
    fn check_room(&self, a: PeerIndex, b: PeerIndex, room: &Room) {
        let (author, member) = (&self.peers[a], &self.peers[b]);
        for range in author
            .disk
            .ranges(room)
            .into_iter()
            .filter(|r| r.log.author == author.id && !self.invariants.observations[a].has_copy)
        {
            let (name, incarnation) = (&member.name, range.log.incarnation);
            let log = format!("{}'s log {incarnation:x} in {room}", author.name);
            let mut ranges = member.disk.ranges(room).into_iter();
            let stored = ranges.find(|r| r.log == range.log);
            let stored = stored.unwrap_or_else(|| panic!("{name} stores no line of {log}"));
            let (high, low) = (stored.high, stored.low);
            assert!(
                high >= range.high,
                "{name} stores {high} of {} lines of {log}",
                range.high
            );
            if high == range.high {
                assert_eq!(stored.hash, range.hash, "{name} stores a fork of {log}");
            }
            assert!(low <= range.low, "{name} stores {log} from line {low} only");
        }
    }

    /// The recipient `b` stores all direct messages of the author `a`.
    fn check_direct(&self, a: PeerIndex, b: PeerIndex) {
        let (author, recipient) = (&self.peers[a], &self.peers[b]);
        let ranges = author.disk.ranges_in(&FolderName::direct());
        let target = Target::Peer(recipient.id);
        let copied = self.invariants.observations[a].has_copy;
        for range in ranges
            .into_iter()
            .filter(|r| r.log.target == target && !copied)
        {
            let name = &recipient.name;
            let log = format!("{}'s direct log", author.name);
            let mut ranges = recipient.disk.ranges_in(&FolderName::direct()).into_iter();
            let stored = ranges.find(|r| r.log == range.log);
            let stored = stored.unwrap_or_else(|| panic!("{name} stores no line of {log}"));
            // An author that lost power may store fewer lines than it sent, and cannot open
            // sealed ones.
            let high = stored.high;
            assert!(high >= range.high, "{name} stores {high} lines of {log}");
            if high == range.high {
                assert_eq!(stored.hash, range.hash, "{name} stores a fork of {log}");
            }
        }
    }

    /// Whether the log's author lost stored lines or forked: others may then store lines of it
    /// that it does not.
    fn author_lost_lines(&self, log: &LogId) -> bool {
        (0..self.peers.len())
            .any(|w| self.id(w) == log.author && self.invariants.observations[w].lost_lines)
    }

    /// The members of a room, grouped by which are connected through links of members.
    fn linked_groups(&self, room: &Room) -> Vec<BTreeSet<PeerIndex>> {
        let is_member = |w: &PeerIndex| {
            let node = self.peers[*w].node.as_ref();
            node.is_some_and(|node| node.joined_rooms().contains(room))
        };
        let connections: Vec<(PeerIndex, PeerIndex)> = self.network.open_connections().collect();
        let mut left: BTreeSet<PeerIndex> = (0..self.peers.len()).filter(is_member).collect();
        let mut groups = Vec::new();
        while let Some(first) = left.pop_first() {
            let (mut group, mut todo) = (BTreeSet::from([first]), vec![first]);
            while let Some(who) = todo.pop() {
                for (a, b) in &connections {
                    let other = [(a, b), (b, a)].into_iter().find(|(x, _)| **x == who);
                    if let Some((_, other)) = other.filter(|(_, other)| left.remove(other)) {
                        group.insert(*other);
                        todo.push(*other);
                    }
                }
            }
            groups.push(group);
        }
        groups
    }

    /// Connected members of a room have the same history. Lines below any member's oldest, and
    /// lines of authors that are absent or lost some, are left out.
    pub fn check_histories(&self) {
        let rooms: BTreeSet<Room> = self.peers.iter().flat_map(|p| p.joined_rooms()).collect();
        for room in &rooms {
            for group in self.linked_groups(room) {
                let ids: Vec<_> = group.iter().map(|w| self.id(*w)).collect();
                let mut lows: BTreeMap<LogId, u64> = BTreeMap::new();
                for range in group.iter().flat_map(|w| self.peers[*w].disk.ranges(room)) {
                    let low = lows.entry(range.log).or_default();
                    *low = range.low.max(*low);
                }
                let histories: Vec<Vec<HistoryBatch>> = group
                    .iter()
                    .map(|w| {
                        let mut history = self.history(*w, room);
                        history.retain(|HistoryBatch { log, sequence, .. }| {
                            let there = lows.get(log).is_some_and(|low| low <= sequence);
                            there && ids.contains(&log.author) && !self.author_lost_lines(log)
                        });
                        history
                    })
                    .collect();
                for (who, history) in group.iter().zip(&histories) {
                    let one_sided = |batch: &&HistoryBatch| {
                        history.contains(batch) != histories[0].contains(batch)
                    };
                    let odd = history.iter().chain(&histories[0]).find(one_sided);
                    let name = &self.peers[*who].name;
                    let same = *history == histories[0];
                    assert!(same, "{name} has another history of {room}: {odd:?}");
                }
            }
        }
    }

    /// The history of a room as this peer stores it, in the common order.
    pub fn history(&self, who: PeerIndex, room: &Room) -> Vec<HistoryBatch> {
        let entries = self.peers[who].disk.entries();
        let mut history: Vec<HistoryBatch> = entries
            .filter(|e| e.batch.log.target.room() == Some(room))
            .map(|e| {
                let batch = &e.batch;
                HistoryBatch {
                    lamport: batch.lamport,
                    log: batch.log.clone(),
                    sequence: batch.sequence,
                    hash: batch.hash,
                }
            })
            .collect();
        history.sort_by_key(order);
        history
    }

    /// Nobody has reported a fork, or numbered its lines anew, unless a directory was copied or has
    /// lost lines.
    pub fn check_reports(&self) {
        let observations = &self.invariants.observations;
        if observations.iter().any(|it| it.has_copy || it.lost_lines) {
            return;
        }
        for peer in &self.peers {
            for (_, _, notice) in &peer.notices {
                let is_report = matches!(
                    notice,
                    Notice::Error {
                        code: ErrorCode::Fork | ErrorCode::Incarnation,
                        ..
                    }
                );
                assert!(
                    !is_report,
                    "{} reports what is not so: {notice:?}",
                    peer.name
                );
            }
        }
    }

    /// Every line of a copied or restored directory is stored by some other peer, under whatever
    /// sequence: fork repair republishes the lines that no peer holds. Lines that a copy evicted
    /// are left out.
    pub fn check_copied_lines(&self) {
        let rooms: BTreeSet<Room> = self.peers.iter().flat_map(|p| p.joined_rooms()).collect();
        for room in &rooms {
            for group in self
                .linked_groups(room)
                .iter()
                .filter(|group| group.len() > 1)
            {
                for a in group
                    .iter()
                    .filter(|a| self.invariants.observations[**a].has_copy)
                {
                    let others = (0..self.peers.len()).filter(|w| self.id(*w) != self.id(*a));
                    let stored: BTreeSet<String> =
                        others.flat_map(|w| self.lines_of(w, *a, room)).collect();
                    let lost = self
                        .lines_of(*a, *a, room)
                        .into_iter()
                        .find(|t| !stored.contains(t));
                    let author = &self.peers[*a].name;
                    assert!(lost.is_none(), "nobody but {author} holds {lost:?}");
                }
            }
        }
    }

    /// The lines of an author that this peer stores, without those the author evicted.
    fn lines_of(&self, who: PeerIndex, author: PeerIndex, room: &Room) -> BTreeSet<String> {
        let mut texts = BTreeSet::new();
        let entries = self.peers[who].disk.entries();
        for entry in entries.filter(|e| {
            let log = &e.batch.log;
            log.target.room() == Some(room)
                && log.author == self.id(author)
                && self
                    .invariants
                    .evicted_below
                    .get(log)
                    .is_none_or(|low| *low <= e.batch.sequence)
        }) {
            entry.batch.for_each_line(|line| {
                texts.insert(line.to_owned());
            });
        }
        texts
    }

    /// Runs one idle minute, in which each program sends little.
    pub fn check_idle_traffic(&mut self) {
        let before: Vec<(u64, u64)> = self
            .peers
            .iter()
            .map(|p| (p.bytes_sent, p.beacons_sent))
            .collect();
        self.run_for(60_000);
        for (peer, (bytes, beacons)) in self.peers.iter().zip(before) {
            let links = peer.node.as_ref().map_or(0, |node| node.link_count()) as u64;
            let (bytes, beacons) = (peer.bytes_sent - bytes, peer.beacons_sent - beacons);
            let name = &peer.name;
            assert!(
                bytes <= IDLE_BYTES_PER_LINK_MAX * (links + 1),
                "{name} writes {bytes} bytes to {links} links in an idle minute"
            );
            assert!(
                beacons <= IDLE_BEACONS_MAX,
                "{name} sends {beacons} beacons in an idle minute"
            );
        }
    }

    /// Every stored line that is neither backfill nor carried was shown.
    fn check_shown(&self, who: PeerIndex) {
        let (peer, observed) = (&self.peers[who], &self.invariants.observations[who]);
        if observed.ended_abruptly {
            return;
        }
        for entry in peer.disk.entries().filter(|e| !e.local.backfill) {
            let log = &entry.batch.log;
            let carried =
                FolderName::for_log(&log.target, &log.author, &peer.id) == FolderName::carried();
            assert!(
                carried || observed.has_shown(&entry.batch),
                "{} never showed line {}",
                peer.name,
                entry.batch.last_sequence()
            );
        }
    }
}

/// The key by which histories are sorted.
fn order(batch: &HistoryBatch) -> (u64, [u8; 32], u64, u64) {
    let log = &batch.log;
    (batch.lamport, log.author.0, log.incarnation, batch.sequence)
}
