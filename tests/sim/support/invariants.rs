//! What must hold always. A breach panics with a sentence. What must hold at quiet is in [`crate::support::convergence`].
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use p2pchat::base::batch::{Batch, LogId};
use p2pchat::base::event::{KnownPeer, Notice};
use p2pchat::base::identity::{Hash, PeerId};
use p2pchat::base::name::{Nick, Room};

use crate::support::disk::Disk;
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;

/// Most bytes that may wait for one link, in the core and in the shell: a write is at most two batches.
const UNSENT_BYTES_MAX: usize = 1024 * 1024;

/// What one directory was seen to do.
#[derive(Default)]
pub struct Observations {
    heads: BTreeMap<LogId, (u64, Hash)>,
    /// Up to where each log's lines were shown.
    pub shown: BTreeMap<LogId, u64>,
    /// Missing lines that were named.
    gaps: BTreeSet<(LogId, u64, u64)>,
    /// Of these, lines that turned up and were stored; and those that were shown.
    filled_lines: BTreeSet<(LogId, u64)>,
    shown_filled_lines: BTreeSet<(LogId, u64)>,
    /// Said, and not stored yet.
    pub unstored: BTreeMap<Room, VecDeque<String>>,
    /// Said and stored; in an old copy it may be said again.
    stored_lines: BTreeSet<String>,
    /// Stored batches that its end kept it from showing.
    pub ended_abruptly: bool,
    /// It lost stored lines in a power cut, or to an old copy.
    pub lost_lines: bool,
    /// It is an old copy, or there is one: lines may bear the numbers of others.
    pub has_copy: bool,
    /// Up to where the clock of each room was seen to go.
    room_clocks: BTreeMap<Room, u64>,
    /// Keys that were said to come under a name known with another.
    reported_keys: Vec<(Nick, PeerId)>,
}

/// A batch that a directory stored once.
struct StoredBatch {
    who: PeerIndex,
    hash: Hash,
    last_sequence: u64,
}

#[derive(Default)]
pub struct Invariants {
    pub observations: Vec<Observations>,
    /// Batches that each directory ever stored, by log and number.
    stored: BTreeMap<(LogId, u64), Vec<StoredBatch>>,
    /// Links that may lead out of the LAN.
    pub external_links: usize,
    /// Two programs share a key on purpose.
    pub allows_duplicate_identity: bool,
    /// What lies below these lines, a directory of their author had no place for any more.
    pub evicted_below: BTreeMap<LogId, u64>,
}

impl Invariants {
    pub fn record_said(&mut self, who: PeerIndex, room: &Room, texts: &[String]) {
        let queue = self.observations[who]
            .unstored
            .entry(room.clone())
            .or_default();
        queue.extend(texts.iter().cloned());
    }

    /// Lines that wait for a full disk are given up with the room, and that is said.
    pub fn record_part(&mut self, who: PeerIndex, room: &Room, told: bool) {
        let lost = self.observations[who]
            .unstored
            .remove(room)
            .unwrap_or_default();
        assert!(
            lost.is_empty() || told,
            "{} lines are lost in silence",
            lost.len()
        );
    }

    /// Nothing that was not stored counts as said.
    pub fn record_crash(&mut self, who: PeerIndex) {
        self.observations[who].unstored.clear();
        self.observations[who].ended_abruptly = true;
    }

    pub fn record_start(&mut self, who: PeerIndex) {
        self.observations[who].unstored.clear();
    }

    /// An old copy of the directory took its place.
    pub fn record_restore(&mut self, who: PeerIndex, disk: &Disk) {
        self.observations[who].ended_abruptly = true;
        self.observations[who].has_copy = true;
        self.record_lost_tail(who, disk);
    }

    pub fn record_lost_tail(&mut self, who: PeerIndex, disk: &Disk) {
        let ledger = &mut self.observations[who];
        ledger.lost_lines = true;
        ledger.heads.clear();
        ledger.room_clocks.clear();
        for entry in disk.entries() {
            let batch = &entry.batch;
            advance_room_clock(&mut ledger.room_clocks, batch);
            // What filled a gap stands behind what it comes before.
            let last = ledger.heads.get(&batch.log).map_or(0, |(last, _)| *last);
            if batch.last_sequence() > last {
                let head = (batch.last_sequence(), batch.hash);
                ledger.heads.insert(batch.log.clone(), head);
            }
        }
        let held = |(log, line): &(LogId, u64)| disk.find(log, *line).is_some();
        ledger.filled_lines.retain(held);
        ledger.shown_filled_lines.retain(held);
        let heads = &ledger.heads;
        ledger.shown.retain(|log, _| heads.contains_key(log));
        for (log, shown) in &mut ledger.shown {
            *shown = (*shown).min(heads[log].0);
        }
    }

    pub fn check_bounds(&self, who: PeerIndex, lan: &Lan) {
        let Some(node) = &lan.peers[who].node else {
            return;
        };
        let name = &lan.peers[who].name;
        assert!(
            node.link_count() < lan.peers.len().max(2) + self.external_links,
            "{name} has more links than there are peers"
        );
        assert!(
            node.pending_handshake_count() <= 2 * 64,
            "{name} has {} unfinished handshakes",
            node.pending_handshake_count()
        );
        if node.max_send_buffer_bytes() > 0 {
            self.check_unsent_bytes(who, lan);
        }
    }

    /// What waits for one link; it grows with what waits in the core, and with a write.
    pub fn check_unsent_bytes(&self, who: PeerIndex, lan: &Lan) {
        let pending = lan.peers[who]
            .node
            .as_ref()
            .map_or(0, |n| n.max_send_buffer_bytes());
        let waiting = pending + lan.network.max_unsent_bytes(who);
        let name = &lan.peers[who].name;
        assert!(
            waiting <= UNSENT_BYTES_MAX,
            "{name} keeps {waiting} bytes for one link"
        );
    }
}

/// Takes a batch's clock in; tells how far it went before.
fn advance_room_clock(clocks: &mut BTreeMap<Room, u64>, batch: &Batch) -> u64 {
    let Some(room) = batch.log.target.room() else {
        return 0;
    };
    let clock = clocks.entry(room.clone()).or_default();
    let before = *clock;
    // No clock of a run goes so far by itself: a liar's need not be followed.
    if batch.lamport < 1 << 40 {
        *clock = before.max(batch.lamport + batch.count - 1);
    }
    before
}

impl Lan {
    /// No gap and no double in a log; what comes from another was stored by its author before it was sent.
    /// Own lines that come back (`returned`), as the disk lost them, were said once.
    pub fn check_save(&mut self, who: PeerIndex, batch: &Arc<Batch>, returned: bool) {
        let name = self.peers[who].name.clone();
        let own = batch.log.author == self.id(who);
        let ever = (batch.log.clone(), batch.sequence);
        let stored = self
            .invariants
            .stored
            .get(&ever)
            .map_or(&[][..], Vec::as_slice);
        let stored = |author: PeerIndex| {
            let by = |by: &StoredBatch| by.who == author && by.hash == batch.hash;
            stored.iter().any(by)
        };
        let mut authors = (0..self.peers.len())
            .filter(|w| self.id(*w) == batch.log.author)
            .peekable();
        assert!(
            own || authors.peek().is_none() || authors.any(stored),
            "{name} got lines {}.. that their author did not store",
            batch.sequence
        );
        let entries = self.invariants.stored.entry(ever).or_default();
        entries.push(StoredBatch {
            who,
            hash: batch.hash,
            last_sequence: batch.last_sequence(),
        });
        let ledger = &mut self.invariants.observations[who];
        let seen = advance_room_clock(&mut ledger.room_clocks, batch);
        assert!(
            !own || returned || seen < batch.lamport,
            "{name} said line {} before what it had seen: {} is not above {seen}",
            batch.sequence,
            batch.lamport
        );
        // Who carries forgets what the reader has, and may be given it once more.
        let reader = batch.log.target.recipient();
        let carried = !own && reader.is_some_and(|reader| reader != self.peers[who].id);
        if let Some((last, _)) = ledger.heads.get(&batch.log)
            && batch.last_sequence() <= *last
            && !carried
        {
            let named = ledger.gaps.iter().any(|(log, from, to)| {
                *log == batch.log && *from <= batch.sequence && batch.last_sequence() <= *to
            });
            assert!(
                named,
                "{name} stored line {} of {:?} behind line {last}",
                batch.sequence, batch.log
            );
            let twice = (batch.sequence..=batch.last_sequence())
                .any(|n| !ledger.filled_lines.insert((batch.log.clone(), n)));
            assert!(!twice, "{name} stored line {} twice", batch.sequence);
            return;
        }
        if let Some((last, hash)) = ledger.heads.get(&batch.log) {
            let gap = (
                batch.log.clone(),
                last + 1,
                batch.sequence.saturating_sub(1),
            );
            let follows = batch.sequence == last + 1 && batch.previous == Some(*hash);
            let named = batch.sequence > last + 1 && ledger.gaps.contains(&gap);
            assert!(
                follows || named || carried,
                "{name} stored line {} of {:?} behind line {last}",
                batch.sequence,
                batch.log
            );
        }
        ledger
            .heads
            .insert(batch.log.clone(), (batch.last_sequence(), batch.hash));
        if let Some(room) = batch.log.target.room().filter(|_| own && !returned) {
            let queue = ledger.unstored.entry(room.clone()).or_default();
            batch.for_each_line(|line| {
                if queue.front().is_some_and(|said| said == line) {
                    queue.pop_front();
                    ledger.stored_lines.insert(line.to_owned());
                } else {
                    let again = ledger.has_copy && ledger.stored_lines.contains(line);
                    assert!(
                        again,
                        "{name} stored what was not said: {line}, not {:?}",
                        queue.front()
                    );
                }
            });
        }
    }

    /// A key that comes under a name known with another is noted only after that was said.
    pub fn check_known_peer(&self, who: PeerIndex, new: &KnownPeer) {
        let known = &self.peers[who].known_peers;
        let noted = known.iter().any(|k| k.nick == new.nick && k.id == new.id);
        let other = !noted && known.iter().any(|k| k.nick == new.nick);
        let said = &self.invariants.observations[who].reported_keys;
        assert!(
            !other || said.contains(&(new.nick.clone(), new.id)),
            "{} takes another key for {} in silence",
            self.peers[who].name,
            new.nick
        );
    }

    pub fn check_notice(&mut self, who: PeerIndex, notice: &Notice) {
        let name = self.peers[who].name.clone();
        match notice {
            Notice::KeyMismatch { peer, .. } => {
                let said = &mut self.invariants.observations[who].reported_keys;
                said.push((peer.nick.clone(), peer.id));
            }
            Notice::Chat(chat) => {
                let batch = &chat.batch;
                let held = self.peers[who].disk.find(&batch.log, batch.sequence);
                assert!(
                    held.is_some_and(|e| e.batch.hash == batch.hash),
                    "{name} shows what it did not store"
                );
                let ledger = &mut self.invariants.observations[who];
                let first = (batch.log.clone(), batch.sequence);
                if ledger.filled_lines.contains(&first) {
                    assert!(chat.local.late, "{name} shows what was missing as new");
                    let news = ledger.shown_filled_lines.insert(first);
                    assert!(news, "{name} shows line {} twice", batch.sequence);
                    return;
                }
                let shown = ledger.shown.entry(batch.log.clone()).or_default();
                assert!(
                    *shown < batch.sequence,
                    "{name} shows line {} twice",
                    batch.sequence
                );
                *shown = batch.last_sequence();
            }
            Notice::Gap {
                target,
                author,
                incarnation,
                from,
                to,
                ..
            } => {
                let log = LogId {
                    target: target.clone(),
                    author: author.id,
                    incarnation: *incarnation,
                };
                assert!(from <= to, "{name} names an empty gap");
                self.invariants.observations[who]
                    .gaps
                    .insert((log, *from, *to));
            }
            Notice::Delivered {
                log,
                sequence,
                peer,
            } => self.check_receipt(who, log, *sequence, peer.id),
            Notice::DuplicateIdentity { .. } => {
                assert!(
                    self.invariants.allows_duplicate_identity,
                    "{name} sees a twin where none is"
                )
            }
            Notice::Joined { peer, .. } | Notice::Left { peer, .. } => {
                assert!(peer.id != self.id(who), "{name} met itself");
            }
            _ => {}
        }
    }

    /// A receipt is true: the peer's store holds this line, and it is ours.
    fn check_receipt(&self, who: PeerIndex, log: &LogId, sequence: u64, peer: PeerId) {
        let range = (log.clone(), 0)..=(log.clone(), sequence);
        let said = self.invariants.stored.range(range).filter(|(_, stored)| {
            let own =
                |by: &&StoredBatch| self.id(by.who) == log.author && sequence <= by.last_sequence;
            stored.iter().any(|by| own(&by))
        });
        let said: Vec<&Vec<StoredBatch>> = said.map(|(_, stored)| stored).collect();
        let holds = (0..self.peers.len())
            .filter(|w| self.id(*w) == peer)
            .any(|w| {
                let now = self.peers[w].disk.find(log, sequence);
                let now = now.map(|entry| entry.batch.hash);
                // What a power cut took since then, it held when it said so.
                let lost = self.invariants.observations[w].lost_lines;
                said.iter().any(|stored| {
                    let own = stored.iter().filter(|by| self.id(by.who) == log.author);
                    let held = |own: &StoredBatch| {
                        stored.iter().any(|by| by.who == w && by.hash == own.hash)
                    };
                    own.clone()
                        .any(|own| now == Some(own.hash) || (lost && held(own)))
                })
            });
        let name = &self.peers[who].name;
        assert!(
            holds,
            "{name} was told that line {sequence} is held, and it is not"
        );
    }
}
