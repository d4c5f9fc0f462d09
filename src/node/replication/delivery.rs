//! How far what was said has come: who holds it, who is still to be waited for.

use data_encoding::BASE64URL_NOPAD;

use crate::base::batch::LogId;
use crate::base::event::{Delivery, Notice, Output, StreamId};
use crate::base::identity::{PeerId, verify};
use crate::base::name::Target;
use crate::base::table::{Set, Table};
use crate::base::time::Time;
use crate::node::context::Hub;
use crate::node::replication::logs::Logs;
use crate::wire::message::{Held, receipt};

/// Milliseconds without news after which nobody else is expected: a peer that hears a beacon dials within this time.
const GRACE: u64 = 8;
/// Milliseconds from a reader's receipt to its note.
const NOTE_AFTER: u64 = 1_000;
/// Milliseconds from one note to the next while something is carried.
const NOTE_EVERY: u64 = 3_600_000;
/// Milliseconds of running time for which a log is carried: 7 days.
const CARRY_FOR: i64 = 7 * 24 * 3_600_000;
/// Most peers whose receipts are kept.
const PEERS_MAX: usize = 4096;
/// Most receipts of keys that nobody saw yet.
const UNSEEN_MAX: usize = 256;

#[derive(Default)]
pub struct Receipts {
    /// What each peer was seen to hold of our logs. A peer that comes again may hold less: its new link begins with nothing.
    /// Of what was said to one reader, others' that we carry too: only what that reader holds.
    held: Table<PeerId, Table<LogId, u64>>,
    /// How far readers hold what was said to them alone, as it was told. A run that only hears of it tells it, too.
    told: Table<LogId, u64>,
    /// Until when, by the own clock, the logs are carried that their readers lack; kept for as long again, for the disk may still hold them.
    carried: Table<LogId, i64>,
    /// How far each reader was shown what was said to it alone.
    read: Table<LogId, u64>,
    /// When that of readers, and what is carried, is to be noted.
    note_at: Option<Time>,
    /// Who was linked in this run.
    met: Set<PeerId>,
    /// Receipts of keys that nobody saw yet: they may come before news of their holder.
    unseen: Table<(PeerId, LogId), u64>,
    /// Peers whose programs come and go unannounced: they may be gone with the lines before anybody else has them.
    passing: Set<PeerId>,
    finish: Option<Option<u64>>,
    settled: bool,
}

impl Receipts {
    /// `noted`: the last that [`Output::Receipts`] told.
    pub fn new(hub: &Hub, noted: &str) -> Receipts {
        let mut receipts = Receipts::default();
        for (log, held, left) in noted.lines().filter_map(parse) {
            if left != 0 {
                receipts.taken(hub, &log);
                receipts
                    .carried
                    .insert(log.clone(), hub.now.time.0 as i64 + left);
            }
            if let Some(reader) = log.target.reader() {
                if log.author == hub.id() {
                    receipts.told.insert(log.clone(), held);
                }
                receipts.held.get_or_default(reader).insert(log, held);
            }
        }
        receipts
    }

    /// A line came in that is to be carried.
    pub fn taken(&mut self, hub: &Hub, log: &LogId) {
        let now = hub.now.time.0 as i64;
        let until = self.carried.get_or_default(log.clone());
        if *until <= now {
            *until = now + CARRY_FOR;
        }
        self.note_soon(hub);
    }

    fn note_soon(&mut self, hub: &Hub) {
        let soon = hub.now.time + NOTE_AFTER;
        self.note_at = Some(self.note_at.map_or(soon, |at| at.min(soon)));
    }

    /// Has noted what readers hold, so that the next run need not have it carried again, and for how long yet it carries what.
    pub fn note(&mut self, hub: &mut Hub, logs: &mut Logs) {
        if self.note_at.take().is_none() {
            return;
        }
        let now = hub.now.time.0 as i64;
        let mut text = String::new();
        for (log, held) in self.held.values().flat_map(Table::iter) {
            if log.target.reader().is_some() && !self.carried.contains_key(log) {
                text += &line(log, *held, 0);
            }
        }
        let mut carried = std::mem::take(&mut self.carried);
        carried.retain(|log, until| {
            let reader = log.target.reader();
            let held = reader.map_or(0, |reader| self.holds(&reader, log));
            if logs.get(log).is_some_and(|range| held >= range.high) {
                *until = now + CARRY_FOR;
                // An author that is there goes on from where we are.
                if !hub.linked.contains_key(&log.author) {
                    logs.lose(log);
                }
            } else if *until <= now {
                logs.lose(log);
            }
            text += &line(log, held, *until - now);
            self.note_at.get_or_insert(hub.now.time + NOTE_EVERY);
            logs.get(log).is_some() || *until <= now && *until + CARRY_FOR > now
        });
        self.carried = carried;
        hub.put(Output::Receipts(text));
    }

    /// At a turn's end.
    pub fn end_turn(&mut self, hub: &mut Hub, logs: &mut Logs) {
        if self.note_at.is_some_and(|at| at <= hub.now.time) {
            self.note(hub, logs);
        }
    }

    pub fn up(&mut self, hub: &Hub, stream: StreamId) {
        if let Some(link) = hub.links.get(&stream) {
            self.held.remove(&link.peer.id);
            self.unseen.retain(|(peer, _), _| *peer != link.peer.id);
            self.passing.remove(&link.peer.id);
            if self.held.len() >= PEERS_MAX || self.met.len() >= PEERS_MAX {
                self.held.retain(|peer, _| hub.linked.contains_key(peer));
                self.met.retain(|peer| hub.linked.contains_key(peer));
                self.passing.retain(|peer| hub.linked.contains_key(peer));
            }
            self.met.insert(link.peer.id);
            if link.passing {
                self.passing.insert(link.peer.id);
            }
        }
    }

    /// The peer holds our lines up to `sequence`, and they are ours. A carrier's copy is not the reader's.
    pub fn confirm(
        &mut self,
        hub: &mut Hub,
        logs: &Logs,
        peer: PeerId,
        log: &LogId,
        sequence: u64,
    ) {
        let reader = log.target.reader();
        let full = !self.held.contains_key(&peer) && self.held.len() >= PEERS_MAX;
        if full && !hub.linked.contains_key(&peer) || reader.is_some_and(|reader| reader != peer) {
            return;
        }
        let held = self.held.get_or_default(peer).get_or_default(log.clone());
        if *held < sequence {
            *held = sequence;
            let mut news = logs.start(log).is_some_and(|start| start <= sequence);
            if reader.is_some() {
                self.note_soon(hub);
                if log.author == hub.id() {
                    let told = self.told.get_or_default(log.clone());
                    news |= *told < sequence;
                    *told = sequence.max(*told);
                }
            }
            if news {
                hub.notice(Notice::Delivered {
                    log: log.clone(),
                    sequence,
                    peer: hub.name_of(&peer),
                });
            }
        }
    }

    /// A reader was shown our lines up to `sequence`, it says.
    pub fn read(&mut self, hub: &mut Hub, logs: &Logs, reader: PeerId, log: &LogId, sequence: u64) {
        let Some(range) = logs.get(log) else {
            return;
        };
        let read = self.read.get_or_default(log.clone());
        let before = std::mem::replace(read, sequence.min(range.high).max(*read));
        if *read > before {
            hub.notice(Notice::Read {
                log: log.clone(),
                sequence: *read,
                peer: hub.name_of(&reader),
                at: hub.now.wall,
            });
        }
    }

    /// A receipt came through others: it counts if the holder is somebody, signed it, and what it holds is ours. Anybody can make up keys that
    /// sign: who was never linked must be reached now, or be the reader.
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
            let met = self.met.contains(&holder) || log.target.reader() == Some(holder);
            if met || hub.is_reached(log.target.room(), &holder) {
                return self.confirm(hub, logs, holder, log, held.high);
            }
            if self.unseen.len() >= UNSEEN_MAX {
                self.unseen.clear();
            }
            self.unseen.insert((holder, log.clone()), held.high);
        }
    }

    /// This peer may be within reach now: what it said before counts.
    pub fn look(&mut self, hub: &mut Hub, logs: &Logs, peer: &PeerId) {
        let mut seen = Vec::new();
        self.unseen.retain(|(holder, log), high| {
            let is_here = holder == peer && hub.is_reached(log.target.room(), holder);
            if is_here {
                seen.push((log.clone(), *high));
            }
            !is_here
        });
        for (log, high) in seen {
            self.confirm(hub, logs, *peer, &log, high);
        }
    }

    /// The most that any peer holds of an own log; 0: nobody holds any of it.
    pub fn best(&self, log: &LogId) -> u64 {
        let held = self.held.values().filter_map(|logs| logs.get(log));
        held.copied().max().unwrap_or(0)
    }

    /// The first own line of this run that nobody has yet; `u64::MAX`: this run said nothing there.
    pub fn unheld(&self, logs: &Logs, log: &LogId) -> u64 {
        let start = logs.start(log);
        start.map_or(u64::MAX, |start| start.max(self.best(log) + 1))
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
            .filter_map(|(log, _)| Some((log, logs.head(log)?)))
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
        let mut members = Set::new();
        // Of what stands in several rooms, the line that the fewest hold decides.
        let mut least: Option<(u64, u64)> = None;
        let (mut stays, mut lacking) = (true, false);
        for (log, high) in heads {
            let Some(room) = log.target.room() else {
                continue;
            };
            let mut lack = Set::new();
            for (_, link) in hub.in_room(room) {
                members.insert(link.peer.id);
                if self.holds(&link.peer.id, log) < *high {
                    lack.insert(link.peer.id);
                }
            }
            // Who is there through others is waited for: it gets it through others, or will be linked.
            for (_, peer, _) in hub.reached(room) {
                if !hub.linked.contains_key(peer) && self.holds(peer, log) < *high {
                    lack.insert(*peer);
                }
            }
            // Who held it and has left has done its part.
            let holders = self.held.iter();
            let holders =
                holders.filter(|(_, logs)| logs.get(log).is_some_and(|held| held >= high));
            let (mut count, mut staying) = (0, false);
            for (peer, _) in holders {
                count += 1;
                staying |= !self.passing.contains(peer);
            }
            let needed = need.unwrap_or((count + lack.len() as u64).max(1));
            if least.is_none_or(|(fewest, _)| count < fewest) {
                least = Some((count, needed));
            }
            stays &= staying;
            lacking |= count == 0 || !lack.is_empty();
        }
        let quiet_at = hub.news + GRACE;
        let everyone = stays && !lacking && !coming;
        let settled = match (least, need) {
            (None, _) => true,
            (Some((holding, _)), Some(need)) => holding >= need,
            (Some(_), None) => everyone && hub.now.time >= quiet_at,
        };
        let (holding, needed) = least.unwrap_or_default();
        let mut delivery = Delivery {
            linked: members.len() as u64,
            holding,
            needed,
            lacking,
            settled,
            again: (need.is_none() && everyone && !settled).then_some(quiet_at),
        };
        // A direct message has one who must hold it, whoever else does.
        for (log, high) in heads {
            let Some(reader) = log.target.reader() else {
                continue;
            };
            let holds = self.holds(&reader, log) >= *high;
            delivery.linked += u64::from(hub.linked.contains_key(&reader));
            delivery.holding += u64::from(holds);
            delivery.needed += 1;
            delivery.lacking |= !holds;
            delivery.settled &= holds || need == Some(0);
        }
        delivery
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
        let again = delivery.filter(|_| self.finishing());
        let again = again.and_then(|delivery| delivery.again);
        match (again, self.note_at) {
            (Some(again), Some(note)) => Some(again.min(note)),
            (again, note) => again.or(note),
        }
    }
}

/// A line of the note: a direct log, how far its reader holds it, and for how many milliseconds more it is carried; 0: it is not.
fn line(log: &LogId, held: u64, left: i64) -> String {
    let incarnation = log.incarnation;
    format!(
        "{} {} {incarnation:016x} {held} {left}\n",
        log.target, log.author
    )
}

fn parse(line: &str) -> Option<(LogId, u64, i64)> {
    let mut words = line.split(' ');
    let log = LogId {
        target: Target::parse(words.next()?)?,
        author: words.next()?.parse().ok()?,
        incarnation: u64::from_str_radix(words.next()?, 16).ok()?,
    };
    let held = words.next()?.parse().ok()?;
    let left: i64 = words.next()?.parse().ok()?;
    Some((log, held, left.clamp(-CARRY_FOR, CARRY_FOR)))
}
