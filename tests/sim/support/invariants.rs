//! Invariants: checked at every save, notice and step. A violation panics with a sentence. The
//! checks for the time after all faults are in [`crate::support::convergence`].
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use p2pchat::base::batch::batch::{Batch, LocalFields, LogId};
use p2pchat::base::event::notice::Notice;
use p2pchat::base::event::output::KnownPeer;
use p2pchat::base::identity::{Hash, PeerId};
use p2pchat::base::name::{Nick, Room};

use crate::support::disk::Disk;
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;

/// Most bytes that may wait for one link, in the core and in the shell together.
const UNSENT_BYTES_MAX: usize = 1024 * 1024;

/// A line said so many milliseconds before or after the reader or the program began may be taken
/// for older or younger: a hello may take as long as a handshake.
const DATING_ERROR_MAX_MS: u64 = 15_000;

/// What the checks have observed of one directory.
#[derive(Default)]
pub struct Observations {
    /// Highest line and its hash, by log.
    heads: BTreeMap<LogId, (u64, Hash)>,
    /// The highest line shown, by log.
    pub shown: BTreeMap<LogId, u64>,
    /// Ranges reported as gaps.
    gaps: BTreeSet<(LogId, u64, u64)>,
    /// Lines of reported gaps that were stored later; and those of them that were shown.
    filled_lines: BTreeSet<(LogId, u64)>,
    shown_filled_lines: BTreeSet<(LogId, u64)>,
    /// Lines said in the story and not saved yet.
    pub unstored: BTreeMap<Room, VecDeque<String>>,
    /// Own lines saved; a copied directory may republish them.
    stored_lines: BTreeSet<String>,
    /// A run ended uncleanly: stored batches may never have been shown.
    pub ended_abruptly: bool,
    /// It lost stored lines, in a power cut or by a restore.
    pub lost_lines: bool,
    /// It is a copy or was copied: different lines may have equal sequences.
    pub has_copy: bool,
    /// The highest logical clock seen in each room.
    room_clocks: BTreeMap<Room, u64>,
    /// Names and keys reported as a [`Notice::KeyMismatch`].
    reported_keys: Vec<(Nick, PeerId)>,
}

impl Observations {
    /// Checks that a batch continues its log, or fills a reported gap. True unless it fills a gap.
    /// `carried`: a carrier may store lines again that it has dropped.
    fn check_growth(&mut self, name: &str, batch: &Batch, carried: bool) -> bool {
        let head = self.heads.get(&batch.log).copied();
        if let Some((last, _)) = head
            && batch.last_sequence() <= last
            && !carried
        {
            let reported = self.gaps.iter().any(|(log, from, to)| {
                *log == batch.log && *from <= batch.sequence && batch.last_sequence() <= *to
            });
            assert!(
                reported,
                "{name} stored line {} of {:?} behind line {last}",
                batch.sequence, batch.log
            );
            let twice = (batch.sequence..=batch.last_sequence())
                .any(|n| !self.filled_lines.insert((batch.log.clone(), n)));
            assert!(!twice, "{name} stored line {} twice", batch.sequence);
            return false;
        }
        if let Some((last, hash)) = head {
            let gap = (
                batch.log.clone(),
                last + 1,
                batch.sequence.saturating_sub(1),
            );
            let follows = batch.sequence == last + 1 && batch.previous == Some(hash);
            let reported = batch.sequence > last + 1 && self.gaps.contains(&gap);
            assert!(
                follows || reported || carried,
                "{name} stored line {} of {:?} behind line {last}",
                batch.sequence,
                batch.log
            );
        }
        let head = (batch.last_sequence(), batch.hash);
        self.heads.insert(batch.log.clone(), head);
        true
    }

    /// Whether the notices showed this stored batch. A line that filled a gap has a notice of its
    /// own: later lines do not prove it, and it may be the log's only line that was shown.
    pub fn has_shown(&self, batch: &Batch) -> bool {
        let position = (batch.log.clone(), batch.sequence);
        match self.filled_lines.contains(&position) {
            true => self.shown_filled_lines.contains(&position),
            false => {
                let shown = self.shown.get(&batch.log);
                shown.is_some_and(|shown| *shown >= batch.last_sequence())
            }
        }
    }

    /// Checks that the story said these lines of a room, and in this order. A copied directory may
    /// republish lines.
    fn check_said(&mut self, name: &str, batch: &Batch) {
        let Some(room) = batch.log.target.room() else {
            return;
        };
        let queue = self.unstored.entry(room.clone()).or_default();
        batch.for_each_line(|line| {
            if queue.front().is_some_and(|said| said == line) {
                queue.pop_front();
                self.stored_lines.insert(line.to_owned());
            } else {
                let republished = self.has_copy && self.stored_lines.contains(line);
                assert!(
                    republished,
                    "{name} stored what was not said: {line}, not {:?}",
                    queue.front()
                );
            }
        });
    }
}

/// A batch that a directory has stored at some time.
struct StoredBatch {
    who: PeerIndex,
    hash: Hash,
    last_sequence: u64,
}

/// The observations and allowances of one test.
#[derive(Default)]
pub struct Invariants {
    /// One for each peer.
    pub observations: Vec<Observations>,
    /// All batches that directories ever stored, by log and first sequence.
    stored: BTreeMap<(LogId, u64), Vec<StoredBatch>>,
    /// Links that may be held with scripted peers, besides those among the peers.
    pub external_links: usize,
    /// A scripted peer acknowledges what it does not store. Nobody can know that.
    pub has_liar: bool,
    /// The story runs two programs with one key.
    pub allows_duplicate_identity: bool,
    /// When each batch was first stored by its author, by hash.
    said_at_ms: BTreeMap<Hash, u64>,
    /// A monotonic clock leapt or stood still: ages are wrong.
    pub monotonic_clocks_are_wrong: bool,
    /// The lowest line that the author still stores, by log from which it evicted lines.
    pub evicted_below: BTreeMap<LogId, u64>,
    /// The first line that each run published in each log.
    run_starts: BTreeMap<(PeerIndex, u64, LogId), u64>,
}

impl Invariants {
    /// Notes lines that the story says; each must be saved, in this order.
    pub fn record_said(&mut self, who: PeerIndex, room: &Room, texts: &[String]) {
        let queue = self.observations[who]
            .unstored
            .entry(room.clone())
            .or_default();
        queue.extend(texts.iter().cloned());
    }

    /// Leaving a room drops its unsaved lines; that must be `reported`.
    pub fn record_part(&mut self, who: PeerIndex, room: &Room, reported: bool) {
        let lost = self.observations[who]
            .unstored
            .remove(room)
            .unwrap_or_default();
        assert!(
            lost.is_empty() || reported,
            "{} lines are lost without a notice",
            lost.len()
        );
    }

    /// A killed program loses its unsaved lines.
    pub fn record_crash(&mut self, who: PeerIndex) {
        self.observations[who].unstored.clear();
        self.observations[who].ended_abruptly = true;
    }

    /// A new run begins without unsaved lines.
    pub fn record_start(&mut self, who: PeerIndex) {
        self.observations[who].unstored.clear();
    }

    /// The directory was replaced by an older copy.
    pub fn record_restore(&mut self, who: PeerIndex, disk: &Disk) {
        self.observations[who].ended_abruptly = true;
        self.observations[who].has_copy = true;
        self.record_lost_tail(who, disk);
    }

    /// The directory of `who` was copied. The copy may republish the lines that it stores, and fill
    /// the gaps that were reported.
    pub fn record_clone(&mut self, who: PeerIndex, clone: PeerIndex, disk: &Disk) {
        self.record_restore(clone, disk);
        let original = &mut self.observations[who];
        (original.has_copy, original.lost_lines) = (true, true);
        let (stored_lines, gaps) = (original.stored_lines.clone(), original.gaps.clone());
        let copy = &mut self.observations[clone];
        (copy.stored_lines, copy.gaps) = (stored_lines, gaps);
    }

    /// The directory lost stored lines: later saves and notices are judged by what is left.
    pub fn record_lost_tail(&mut self, who: PeerIndex, disk: &Disk) {
        let observed = &mut self.observations[who];
        observed.lost_lines = true;
        observed.heads.clear();
        observed.room_clocks.clear();
        for entry in disk.entries() {
            let batch = &entry.batch;
            advance_room_clock(&mut observed.room_clocks, batch);
            // Batches that filled a gap are stored behind later ones.
            let last = observed.heads.get(&batch.log).map_or(0, |(last, _)| *last);
            if batch.last_sequence() > last {
                let head = (batch.last_sequence(), batch.hash);
                observed.heads.insert(batch.log.clone(), head);
            }
        }
        let is_stored = |(log, line): &(LogId, u64)| disk.find(log, *line).is_some();
        observed.filled_lines.retain(is_stored);
        observed.shown_filled_lines.retain(is_stored);
        let heads = &observed.heads;
        observed.shown.retain(|log, _| heads.contains_key(log));
        for (log, shown) in &mut observed.shown {
            *shown = (*shown).min(heads[log].0);
        }
    }

    /// Bounds the links, handshakes and waiting bytes of a node.
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

    /// Bounds the bytes that wait for one link; called when the core or a socket buffer grows.
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

/// Advances the room's logical clock by a batch; returns its value before.
fn advance_room_clock(clocks: &mut BTreeMap<Room, u64>, batch: &Batch) -> u64 {
    let Some(room) = batch.log.target.room() else {
        return 0;
    };
    let clock = clocks.entry(room.clone()).or_default();
    let before = *clock;
    // Higher numbers of a hostile clock are followed in bounded steps only.
    if batch.lamport <= 1 << 52 {
        *clock = before.max(batch.lamport + batch.count - 1);
    }
    before
}

impl Lan {
    /// Checks a save: a log grows without holes and repeats, lines of others were stored by their
    /// author before, and own lines were said in the story. `returned`: an own line that the disk
    /// had lost and a peer sent back.
    pub fn check_save(&mut self, who: PeerIndex, batch: &Arc<Batch>, local: LocalFields) {
        let own = batch.log.author == self.id(who);
        let returned = local.backfill;
        if own {
            let said_at = self.invariants.said_at_ms.entry(batch.hash);
            said_at.or_insert(self.now_ms);
        } else {
            self.check_news(who, batch, local);
            self.check_age(who, batch, local);
        }
        self.check_author_stored(who, batch);
        let stored = StoredBatch {
            who,
            hash: batch.hash,
            last_sequence: batch.last_sequence(),
        };
        if own && !returned {
            let run = (who, self.peers[who].run, batch.log.clone());
            let first = self.invariants.run_starts.entry(run);
            first.or_insert(batch.sequence);
        }
        let position = (batch.log.clone(), batch.sequence);
        let entries = self.invariants.stored.entry(position).or_default();
        entries.push(stored);
        // A carrier forgets delivered lines and may receive them once more.
        let recipient = batch.log.target.recipient();
        let carried = !own && recipient.is_some_and(|recipient| recipient != self.id(who));
        let name = &self.peers[who].name;
        let observed = &mut self.invariants.observations[who];
        let seen = advance_room_clock(&mut observed.room_clocks, batch);
        assert!(
            !own || returned || seen < batch.lamport,
            "{name} said line {} before what it had seen: {} is not above {seen}",
            batch.sequence,
            batch.lamport
        );
        if observed.check_growth(name, batch, carried) && own && !returned {
            observed.check_said(name, batch);
        }
    }

    /// A line that is stored as news was said after the reader of its room began, and one that is
    /// stored as history was said before. Checked only where all clocks are right.
    fn check_news(&self, who: PeerIndex, batch: &Batch, local: LocalFields) {
        let said_at = self.invariants.said_at_ms.get(&batch.hash);
        let (Some(room), Some(said_at)) = (batch.log.target.room(), said_at) else {
            return;
        };
        let peer = &self.peers[who];
        let began_at = peer.disk.reader_began_at(room);
        let is_certain = began_at.is_none_or(|began_at| self.can_date_against(began_at, *said_at));
        let is_news = began_at.is_some_and(|began_at| began_at <= *said_at);
        assert!(
            !is_certain || is_news != local.backfill,
            "{} stores a line as {}, said at {said_at}; its reader began at {began_at:?}",
            peer.name,
            if local.backfill { "history" } else { "news" }
        );
    }

    /// A line that was said before the program started is marked so, and as late. Checked only
    /// where all clocks are right: one that was set meanwhile misdates the lines of earlier runs.
    fn check_age(&self, who: PeerIndex, batch: &Batch, local: LocalFields) {
        let name = &self.peers[who].name;
        assert!(
            local.late || !local.before_start,
            "{name} stores a line from before its start as said on the present link"
        );
        let Some(said_at) = self.invariants.said_at_ms.get(&batch.hash) else {
            return;
        };
        let started_at = self.peers[who].started_at_ms;
        assert!(
            !self.can_date_against(started_at, *said_at)
                || local.before_start == (*said_at < started_at),
            "{name} takes a line said at {said_at} for {} than its start at {started_at}",
            if local.before_start { "older" } else { "newer" }
        );
    }

    /// Whether a line said at `said_at` is certainly older or newer than `began_at`.
    fn can_date_against(&self, began_at: u64, said_at: u64) -> bool {
        let clocks_are_right = self.clocks_are_right && !self.invariants.monotonic_clocks_are_wrong;
        clocks_are_right && began_at.abs_diff(said_at) > DATING_ERROR_MAX_MS
    }

    /// A batch of another peer of the story was stored by its author before.
    fn check_author_stored(&self, who: PeerIndex, batch: &Batch) {
        let position = (batch.log.clone(), batch.sequence);
        let stored = self.invariants.stored.get(&position);
        let stored = stored.map_or(&[][..], Vec::as_slice);
        let has_stored = |author: PeerIndex| {
            let by_author = |by: &StoredBatch| by.who == author && by.hash == batch.hash;
            stored.iter().any(by_author)
        };
        let mut authors = (0..self.peers.len())
            .filter(|w| self.id(*w) == batch.log.author)
            .peekable();
        let own = batch.log.author == self.id(who);
        assert!(
            own || authors.peek().is_none() || authors.any(has_stored),
            "{} got lines {}.. that their author did not store",
            self.peers[who].name,
            batch.sequence
        );
    }

    /// A second key for a known name is saved only after the user was warned.
    pub fn check_known_peer(&self, who: PeerIndex, new: &KnownPeer) {
        let known = &self.peers[who].known_peers;
        let is_saved = known.iter().any(|k| k.nick == new.nick && k.id == new.id);
        let is_mismatch = !is_saved && known.iter().any(|k| k.nick == new.nick);
        let reported = &self.invariants.observations[who].reported_keys;
        assert!(
            !is_mismatch || reported.contains(&(new.nick.clone(), new.id)),
            "{} takes another key for {} without a notice",
            self.peers[who].name,
            new.nick
        );
    }

    /// Checks what a notice claims against stores and observations.
    pub fn check_notice(&mut self, who: PeerIndex, notice: &Notice) {
        let name = self.peers[who].name.clone();
        match notice {
            Notice::KeyMismatch { peer, .. } => {
                let reported = &mut self.invariants.observations[who].reported_keys;
                reported.push((peer.nick.clone(), peer.id));
            }
            Notice::Chat(chat) => {
                let batch = &chat.batch;
                let stored = self.peers[who].disk.find(&batch.log, batch.sequence);
                assert!(
                    stored.is_some_and(|e| e.batch.hash == batch.hash),
                    "{name} shows what it did not store"
                );
                let observed = &mut self.invariants.observations[who];
                let first = (batch.log.clone(), batch.sequence);
                if observed.filled_lines.contains(&first) {
                    let first_time = observed.shown_filled_lines.insert(first);
                    assert!(first_time, "{name} shows line {} twice", batch.sequence);
                    return;
                }
                let shown = observed.shown.entry(batch.log.clone()).or_default();
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
                assert!(from <= to, "{name} reports an empty gap");
                self.invariants.observations[who]
                    .gaps
                    .insert((log, *from, *to));
            }
            Notice::Delivered { peer, .. }
                if self.invariants.has_liar
                    && !(0..self.peers.len()).any(|other| self.id(other) == peer.id) => {}
            Notice::Delivered {
                log,
                sequence,
                peer,
            } => {
                self.check_receipt(who, log, *sequence, peer.id);
                self.check_delivered_lines(who, log, *sequence, peer.id);
            }
            Notice::DuplicateIdentity { .. } => {
                assert!(
                    self.invariants.allows_duplicate_identity,
                    "{name} sees a duplicate identity where none is"
                )
            }
            Notice::Joined { peer, .. } | Notice::Left { peer, .. } => {
                assert!(peer.id != self.id(who), "{name} met itself");
            }
            _ => {}
        }
    }

    /// Checks an acknowledgement: the peer stores this line, with the hash that the author
    /// stored.
    fn check_receipt(&self, who: PeerIndex, log: &LogId, sequence: u64, peer: PeerId) {
        let range = (log.clone(), 0)..=(log.clone(), sequence);
        let published = self.invariants.stored.range(range).filter(|(_, stored)| {
            stored
                .iter()
                .any(|by| self.id(by.who) == log.author && sequence <= by.last_sequence)
        });
        let published: Vec<&Vec<StoredBatch>> = published.map(|(_, stored)| stored).collect();
        let holds = (0..self.peers.len())
            .filter(|w| self.id(*w) == peer)
            .any(|w| {
                let now = self.peers[w].disk.find(log, sequence);
                let now = now.map(|entry| entry.batch.hash);
                // A peer that lost lines later had stored this one when it acknowledged.
                let lost = self.invariants.observations[w].lost_lines;
                published.iter().any(|stored| {
                    let own = stored.iter().filter(|by| self.id(by.who) == log.author);
                    let had_stored = |own: &StoredBatch| {
                        stored.iter().any(|by| by.who == w && by.hash == own.hash)
                    };
                    own.clone()
                        .any(|own| now == Some(own.hash) || (lost && had_stored(own)))
                })
            });
        let name = &self.peers[who].name;
        assert!(
            holds,
            "{name} got an acknowledgement of line {sequence}, which the peer does not store"
        );
    }

    /// The peer has received every line that this run of the author published, up to this one.
    /// Exceptions are lines that the author has evicted.
    fn check_delivered_lines(&self, who: PeerIndex, log: &LogId, sequence: u64, peer: PeerId) {
        let run = (who, self.peers[who].run, log.clone());
        let run_start = self.invariants.run_starts.get(&run).copied();
        // A copied directory may have two batches under one number.
        let Some(run_start) = run_start.filter(|_| !self.invariants.observations[who].has_copy)
        else {
            return;
        };
        let range = (log.clone(), 0)..=(log.clone(), sequence);
        let batches = || self.invariants.stored.range(range.clone());
        let is_by_peer = |by: &&StoredBatch| self.id(by.who) == peer;
        let evicted_below = self.invariants.evicted_below.get(log).copied();
        let from = run_start.max(evicted_below.unwrap_or(0));
        for ((_, first), stored) in batches() {
            let own = stored.iter().find(|by| by.who == who);
            let is_due = own.is_some_and(|own| from <= own.last_sequence);
            assert!(
                !is_due || stored.iter().any(|by| is_by_peer(&by)),
                "{} counts lines {from} to {sequence} of {log:?} as delivered, but the peer has \
                 not received line {first}",
                self.peers[who].name
            );
        }
    }
}
