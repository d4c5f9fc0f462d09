//! What must hold always, and what must hold at quiet. A breach panics with a sentence.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use p2pchat::base::batch::{Batch, LogId};
use p2pchat::base::event::Notice;
use p2pchat::base::identity::{Hash, PeerId};
use p2pchat::base::name::Room;
use p2pchat::base::name::Target;

use crate::disk::Disk;
use crate::lan::Lan;
use crate::people::Who;

/// Most bytes that may wait for one link, in the core and in the shell: a write is at most two batches.
const WAITING_MAX: usize = 1024 * 1024;

/// What one directory was seen to do.
#[derive(Default)]
pub struct Ledger {
    heads: BTreeMap<LogId, (u64, Hash)>,
    /// Up to where each log's lines were shown.
    shown: BTreeMap<LogId, u64>,
    /// Missing lines that were named.
    gaps: BTreeSet<(LogId, u64, u64)>,
    /// Said, and not stored yet.
    said: BTreeMap<Room, VecDeque<String>>,
    /// Stored batches that its end kept it from showing.
    pub ended_abruptly: bool,
    /// It lost stored lines in a power cut.
    pub lost_power: bool,
}

#[derive(Default)]
pub struct Checks {
    pub ledgers: Vec<Ledger>,
    /// Links that may lead out of the LAN.
    pub strangers: usize,
    /// Two programs share a key on purpose.
    pub twins: bool,
}

impl Checks {
    pub fn said(&mut self, who: Who, room: &Room, texts: &[String]) {
        let queue = self.ledgers[who].said.entry(room.clone()).or_default();
        queue.extend(texts.iter().cloned());
    }

    /// Lines that wait for a full disk are given up with the room, and that is said.
    pub fn parted(&mut self, who: Who, room: &Room, told: bool) {
        let lost = self.ledgers[who].said.remove(room).unwrap_or_default();
        assert!(
            lost.is_empty() || told,
            "{} lines are lost in silence",
            lost.len()
        );
    }

    /// Nothing that was not stored counts as said.
    pub fn died(&mut self, who: Who) {
        self.ledgers[who].said.clear();
        self.ledgers[who].ended_abruptly = true;
    }

    pub fn started(&mut self, who: Who) {
        self.ledgers[who].said.clear();
    }

    /// An old copy of the directory took its place.
    pub fn restored(&mut self, who: Who, disk: &Disk) {
        self.lost_tail(who, disk);
    }

    pub fn lost_tail(&mut self, who: Who, disk: &Disk) {
        let ledger = &mut self.ledgers[who];
        ledger.lost_power = true;
        ledger.heads.clear();
        for entry in disk.entries() {
            let batch = &entry.batch;
            ledger
                .heads
                .insert(batch.log.clone(), (batch.last(), batch.hash));
        }
        let heads = &ledger.heads;
        ledger.shown.retain(|log, _| heads.contains_key(log));
        for (log, shown) in &mut ledger.shown {
            *shown = (*shown).min(heads[log].0);
        }
    }

    pub fn bounds(&self, who: Who, lan: &Lan) {
        let Some(node) = &lan.people[who].node else {
            return;
        };
        let name = &lan.people[who].name;
        assert!(
            node.linked() < lan.people.len().max(2) + self.strangers,
            "{name} has more links than there are peers"
        );
        assert!(
            node.unfinished() <= 64,
            "{name} has {} unfinished handshakes",
            node.unfinished()
        );
        let waiting = node.pending() + lan.air.held_back(who);
        assert!(
            waiting <= WAITING_MAX,
            "{name} keeps {waiting} bytes for one link"
        );
    }
}

impl Lan {
    /// No gap and no double in a log; what comes from another was stored by its author before it was sent.
    /// Own lines that come back (`returned`), as the disk lost them, were said once.
    pub fn check_save(&mut self, who: Who, batch: &Arc<Batch>, returned: bool) {
        let name = self.people[who].name.clone();
        let own = batch.log.author == self.id(who);
        let lossy = self.checks.ledgers.iter().any(|l| l.lost_power);
        let mut authors = (0..self.people.len())
            .filter(|w| self.id(*w) == batch.log.author)
            .peekable();
        if authors.peek().is_some() && !own && !lossy {
            let kept = authors.any(|author| {
                let found = self.people[author].disk.find(&batch.log, batch.sequence);
                found.is_some_and(|entry| entry.batch.hash == batch.hash)
            });
            assert!(
                kept,
                "{name} got lines {}.. that their author did not store",
                batch.sequence
            );
        }
        let ledger = &mut self.checks.ledgers[who];
        if let Some((last, hash)) = ledger.heads.get(&batch.log) {
            let gap = (
                batch.log.clone(),
                last + 1,
                batch.sequence.saturating_sub(1),
            );
            let follows = batch.sequence == last + 1 && batch.previous == Some(*hash);
            let named = batch.sequence > last + 1 && ledger.gaps.contains(&gap);
            assert!(
                follows || named,
                "{name} stored line {} of {:?} behind line {last}",
                batch.sequence,
                batch.log
            );
        }
        ledger
            .heads
            .insert(batch.log.clone(), (batch.last(), batch.hash));
        if let Some(room) = batch.log.target.room().filter(|_| own && !returned) {
            let queue = ledger.said.entry(room.clone()).or_default();
            batch.each_line(|line| {
                assert_eq!(
                    queue.pop_front().as_deref(),
                    Some(line),
                    "{name} stored what was not said"
                );
            });
        }
    }

    pub fn check_notice(&mut self, who: Who, notice: &Notice) {
        let name = self.people[who].name.clone();
        match notice {
            Notice::Chat(chat) => {
                let batch = &chat.batch;
                let held = self.people[who].disk.find(&batch.log, batch.sequence);
                assert!(
                    held.is_some_and(|e| e.batch.hash == batch.hash),
                    "{name} shows what it did not store"
                );
                let shown = self.checks.ledgers[who]
                    .shown
                    .entry(batch.log.clone())
                    .or_default();
                assert!(
                    *shown < batch.sequence,
                    "{name} shows line {} twice",
                    batch.sequence
                );
                *shown = batch.last();
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
                self.checks.ledgers[who].gaps.insert((log, *from, *to));
            }
            Notice::Delivered {
                log,
                sequence,
                peer,
            } => self.check_receipt(who, log, *sequence, peer.id),
            Notice::Twin { .. } => assert!(self.checks.twins, "{name} sees a twin where none is"),
            Notice::Joined { peer, .. } | Notice::Left { peer, .. } => {
                assert!(peer.id != self.id(who), "{name} met itself");
            }
            _ => {}
        }
    }

    /// A receipt is true: the peer's store holds this line, and it is ours.
    fn check_receipt(&self, who: Who, log: &LogId, sequence: u64, peer: PeerId) {
        let own = self.people[who]
            .disk
            .find(log, sequence)
            .map(|e| e.batch.hash);
        let holds = (0..self.people.len())
            .filter(|w| self.id(*w) == peer)
            .any(|w| {
                let found = self.people[w]
                    .disk
                    .find(log, sequence)
                    .map(|e| e.batch.hash);
                self.checks.ledgers[w].lost_power || (found.is_some() && found == own)
            });
        let name = &self.people[who].name;
        assert!(
            holds,
            "{name} was told that line {sequence} is held, and it is not"
        );
    }

    /// Everybody who can reach another has exactly one link to it, and nobody has one to itself.
    pub fn check_links(&mut self) {
        let mut standing: BTreeMap<(Who, Who), usize> = BTreeMap::new();
        for (a, b) in self.air.standing() {
            *standing.entry((a.min(b), a.max(b))).or_default() += 1;
        }
        for a in 0..self.people.len() {
            for b in 0..a {
                let (x, y) = (&self.people[a], &self.people[b]);
                let meet = x.psk == y.psk && x.id != y.id && self.reach(x.host, y.host);
                let up = self.is_up(a) && self.is_up(b) && meet;
                let names = format!("{} and {}", x.name, y.name);
                let links = standing.get(&(b, a)).copied().unwrap_or(0);
                assert_eq!(links, usize::from(up), "streams between {names}");
                assert_eq!(self.linked(a, b), up, "links between {names}");
            }
        }
    }

    /// Everybody holds all that the others of a room said, and showed it once; nothing that was said is lost.
    pub fn check_lines(&self) {
        for a in (0..self.people.len()).filter(|w| self.is_up(*w)) {
            let author = &self.people[a];
            for (room, queue) in &self.checks.ledgers[a].said {
                assert!(
                    queue.is_empty(),
                    "{} did not store {} lines in {room}",
                    author.name,
                    queue.len()
                );
            }
            let rooms = author.node.as_ref().map_or(&[][..], |node| node.rooms());
            let others = (0..self.people.len()).filter(|w| *w != a && self.is_up(*w));
            for b in others.filter(|b| {
                self.people[*b].id != author.id && self.reach(author.host, self.people[*b].host)
            }) {
                let both = self.people[b]
                    .node
                    .as_ref()
                    .map_or(&[][..], |node| node.rooms());
                for room in rooms
                    .iter()
                    .filter(|room| both.contains(room) && author.psk == self.people[b].psk)
                {
                    self.check_room(a, b, room);
                }
            }
            self.check_shown(a);
        }
    }

    fn check_room(&self, a: Who, b: Who, room: &Room) {
        let (author, reader) = (&self.people[a], &self.people[b]);
        for range in author
            .disk
            .ranges(room)
            .into_iter()
            .filter(|r| r.log.author == author.id)
        {
            let what = format!(
                "{} of {}'s {:x} in {room}",
                reader.name, author.name, range.log.incarnation
            );
            let held = reader
                .disk
                .ranges(room)
                .into_iter()
                .find(|r| r.log == range.log);
            let held = held.unwrap_or_else(|| panic!("nothing is held by {what}"));
            assert!(
                held.high >= range.high,
                "{} of {} held by {what}",
                held.high,
                range.high
            );
            if held.high == range.high {
                assert_eq!(held.hash, range.hash, "other lines held by {what}");
            }
            assert!(held.low <= range.low, "from {} held by {what}", held.low);
        }
    }

    fn check_shown(&self, who: Who) {
        let (person, ledger) = (&self.people[who], &self.checks.ledgers[who]);
        if ledger.ended_abruptly {
            return;
        }
        for entry in person.disk.entries().filter(|e| !e.local.backfill) {
            let shown = ledger.shown.get(&entry.batch.log).copied().unwrap_or(0);
            let own = matches!(entry.batch.log.target, Target::Peer(_));
            assert!(
                own || shown >= entry.batch.last(),
                "{} never showed line {}",
                person.name,
                entry.batch.last()
            );
        }
    }
}
