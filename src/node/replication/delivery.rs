//! How far what was said has come: who holds it, who is still to be waited for.

use data_encoding::BASE64URL_NOPAD;

use crate::base::batch::LogId;
use crate::base::event::{Delivery, Notice, Output, StreamId};
use crate::base::identity::{PeerId, verify_signature};
use crate::base::name::Target;
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::replication::logs::Logs;
use crate::wire::message::{HaveEntry, receipt};

/// Milliseconds without news after which nobody else is expected: a peer that hears a beacon dials within this time.
const QUIET_PERIOD_MS: u64 = 8;
/// Milliseconds from a reader's receipt to its note.
const PERSIST_DELAY_MS: u64 = 1_000;
/// Milliseconds from one note to the next while something is carried.
const PERSIST_INTERVAL_MS: u64 = 3_600_000;
/// Milliseconds of running time for which a log is carried: 7 days.
const CARRY_DURATION_MS: i64 = 7 * 24 * 3_600_000;
/// Most peers whose receipts are kept.
const TRACKED_PEERS_MAX: usize = 4096;
/// Most receipts of keys that nobody saw yet.
const UNVERIFIED_RECEIPTS_MAX: usize = 256;

#[derive(Default)]
pub struct DeliveryTracker {
    /// What each peer was seen to hold of our logs. A peer that comes again may hold less: its new link begins with nothing.
    /// Of what was said to one reader, others' that we carry too: only what that reader holds.
    acked: SortedMap<PeerId, SortedMap<LogId, u64>>,
    /// How far readers hold what was said to them alone, as it was told. A run that only hears of it tells it, too.
    reported: SortedMap<LogId, u64>,
    /// Until when, by the own clock, the logs are carried that their readers lack; kept for as long again, for the disk may still hold them.
    carried_until: SortedMap<LogId, i64>,
    /// How far each reader was shown what was said to it alone.
    read_up_to: SortedMap<LogId, u64>,
    /// When that of readers, and what is carried, is to be noted.
    persist_at: Option<Time>,
    /// Who was linked in this run.
    linked_before: SortedSet<PeerId>,
    /// Receipts of keys that nobody saw yet: they may come before news of their holder.
    unverified: SortedMap<(PeerId, LogId), u64>,
    /// Peers whose programs come and go unannounced: they may be gone with the lines before anybody else has them.
    transient_peers: SortedSet<PeerId>,
    required_holders: Option<Option<u64>>,
    is_settled: bool,
}

impl DeliveryTracker {
    /// `noted`: the last that [`Output::Receipts`] told.
    pub fn new(ctx: &Context, noted: &str) -> DeliveryTracker {
        let mut receipts = DeliveryTracker::default();
        for (log, held, left) in noted.lines().filter_map(parse_record) {
            if left != 0 {
                receipts.start_carrying(ctx, &log);
                receipts
                    .carried_until
                    .insert(log.clone(), ctx.now.time.0 as i64 + left);
            }
            if let Some(reader) = log.target.recipient() {
                if log.author == ctx.own_id() {
                    receipts.reported.insert(log.clone(), held);
                }
                receipts.acked.get_or_default(reader).insert(log, held);
            }
        }
        receipts
    }

    /// A line came in that is to be carried.
    pub fn start_carrying(&mut self, ctx: &Context, log: &LogId) {
        let now = ctx.now.time.0 as i64;
        let until = self.carried_until.get_or_default(log.clone());
        if *until <= now {
            *until = now + CARRY_DURATION_MS;
        }
        self.schedule_persist(ctx);
    }

    fn schedule_persist(&mut self, ctx: &Context) {
        let soon = ctx.now.time + PERSIST_DELAY_MS;
        self.persist_at = Some(self.persist_at.map_or(soon, |at| at.min(soon)));
    }

    /// Has noted what readers hold, so that the next run need not have it carried again, and for how long yet it carries what.
    pub fn persist(&mut self, ctx: &mut Context, logs: &mut Logs) {
        if self.persist_at.take().is_none() {
            return;
        }
        let now = ctx.now.time.0 as i64;
        let mut text = String::new();
        for (log, held) in self.acked.values().flat_map(SortedMap::iter) {
            if log.target.recipient().is_some() && !self.carried_until.contains_key(log) {
                text += &format_record(log, *held, 0);
            }
        }
        let mut carried = std::mem::take(&mut self.carried_until);
        carried.retain(|log, until| {
            let reader = log.target.recipient();
            let held = reader.map_or(0, |reader| self.acked_up_to(&reader, log));
            if logs.get(log).is_some_and(|range| held >= range.high) {
                *until = now + CARRY_DURATION_MS;
                // An author that is there goes on from where we are.
                if !ctx.stream_by_peer.contains_key(&log.author) {
                    logs.remove(log);
                }
            } else if *until <= now {
                logs.remove(log);
            }
            text += &format_record(log, held, *until - now);
            self.persist_at
                .get_or_insert(ctx.now.time + PERSIST_INTERVAL_MS);
            logs.get(log).is_some() || *until <= now && *until + CARRY_DURATION_MS > now
        });
        self.carried_until = carried;
        ctx.emit(Output::SaveReceipts(text));
    }

    /// At a turn's end.
    pub fn end_turn(&mut self, ctx: &mut Context, logs: &mut Logs) {
        if self.persist_at.is_some_and(|at| at <= ctx.now.time) {
            self.persist(ctx, logs);
        }
    }

    pub fn link_up(&mut self, ctx: &Context, stream: StreamId) {
        if let Some(link) = ctx.links.get(&stream) {
            self.acked.remove(&link.peer.id);
            self.unverified.retain(|(peer, _), _| *peer != link.peer.id);
            self.transient_peers.remove(&link.peer.id);
            if self.acked.len() >= TRACKED_PEERS_MAX
                || self.linked_before.len() >= TRACKED_PEERS_MAX
            {
                self.acked
                    .retain(|peer, _| ctx.stream_by_peer.contains_key(peer));
                self.linked_before
                    .retain(|peer| ctx.stream_by_peer.contains_key(peer));
                self.transient_peers
                    .retain(|peer| ctx.stream_by_peer.contains_key(peer));
            }
            self.linked_before.insert(link.peer.id);
            if link.transient {
                self.transient_peers.insert(link.peer.id);
            }
        }
    }

    /// The peer holds our lines up to `sequence`, and they are ours. A carrier's copy is not the reader's.
    pub fn confirm(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        peer: PeerId,
        log: &LogId,
        sequence: u64,
    ) {
        let reader = log.target.recipient();
        let full = !self.acked.contains_key(&peer) && self.acked.len() >= TRACKED_PEERS_MAX;
        if full && !ctx.stream_by_peer.contains_key(&peer)
            || reader.is_some_and(|reader| reader != peer)
        {
            return;
        }
        let held = self.acked.get_or_default(peer).get_or_default(log.clone());
        if *held < sequence {
            *held = sequence;
            let mut news = logs.run_start(log).is_some_and(|start| start <= sequence);
            if reader.is_some() {
                self.schedule_persist(ctx);
                if log.author == ctx.own_id() {
                    let told = self.reported.get_or_default(log.clone());
                    news |= *told < sequence;
                    *told = sequence.max(*told);
                }
            }
            if news {
                ctx.notify(Notice::Delivered {
                    log: log.clone(),
                    sequence,
                    peer: ctx.display_peer(&peer),
                });
            }
        }
    }

    /// A reader was shown our lines up to `sequence`, it says.
    pub fn mark_read_by(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        reader: PeerId,
        log: &LogId,
        sequence: u64,
    ) {
        let Some(range) = logs.get(log) else {
            return;
        };
        let read = self.read_up_to.get_or_default(log.clone());
        let before = std::mem::replace(read, sequence.min(range.high).max(*read));
        if *read > before {
            ctx.notify(Notice::Read {
                log: log.clone(),
                sequence: *read,
                peer: ctx.display_peer(&reader),
                at: ctx.now.wall,
            });
        }
    }

    /// A receipt came through others: it counts if the holder is somebody, signed it, and what it holds is ours. Anybody can make up keys that
    /// sign: who was never linked must be reached now, or be the reader.
    pub fn handle_forwarded_receipt(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        holder: PeerId,
        log: &LogId,
        held: &HaveEntry,
    ) {
        let signed = receipt(&ctx.network, log, held.high, &held.hash);
        let signature = held.signature.as_deref().map(str::as_bytes);
        let signature = signature.and_then(|text| BASE64URL_NOPAD.decode(text).ok());
        let signature = signature.and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
        if logs.head_hash_at(log, held.high) == Some(held.hash)
            && let (Some(key), Some(signature)) = (holder.verifying_key(), signature)
            && verify_signature(&key, &signed.0, &signature)
        {
            let met =
                self.linked_before.contains(&holder) || log.target.recipient() == Some(holder);
            if met || ctx.has_route(log.target.room(), &holder) {
                return self.confirm(ctx, logs, holder, log, held.high);
            }
            if self.unverified.len() >= UNVERIFIED_RECEIPTS_MAX {
                self.unverified.clear();
            }
            self.unverified.insert((holder, log.clone()), held.high);
        }
    }

    /// This peer may be within reach now: what it said before counts.
    pub fn peer_reachable(&mut self, ctx: &mut Context, logs: &Logs, peer: &PeerId) {
        let mut seen = Vec::new();
        self.unverified.retain(|(holder, log), high| {
            let is_here = holder == peer && ctx.has_route(log.target.room(), holder);
            if is_here {
                seen.push((log.clone(), *high));
            }
            !is_here
        });
        for (log, high) in seen {
            self.confirm(ctx, logs, *peer, &log, high);
        }
    }

    /// The most that any peer holds of an own log; 0: nobody holds any of it.
    pub fn max_acked(&self, log: &LogId) -> u64 {
        let held = self.acked.values().filter_map(|logs| logs.get(log));
        held.copied().max().unwrap_or(0)
    }

    /// The first own line of this run that nobody has yet; `u64::MAX`: this run said nothing there.
    pub fn first_unacked_of_run(&self, logs: &Logs, log: &LogId) -> u64 {
        let start = logs.run_start(log);
        start.map_or(u64::MAX, |start| start.max(self.max_acked(log) + 1))
    }

    /// How far this peer holds one of our logs.
    pub fn acked_up_to(&self, peer: &PeerId, log: &LogId) -> u64 {
        self.acked
            .get(peer)
            .and_then(|logs| logs.get(log))
            .copied()
            .unwrap_or(0)
    }

    pub fn await_delivery(&mut self, need: Option<u64>) {
        self.required_holders = Some(need);
    }

    /// `coming`: dials, handshakes and sightings that may yet become links.
    pub fn delivery(&self, ctx: &Context, logs: &Logs, coming: bool) -> Delivery {
        let heads: Vec<(&LogId, u64)> = logs
            .run_logs()
            .filter_map(|(log, _)| Some((log, logs.head(log)?)))
            .collect();
        self.delivery_of(ctx, &heads, self.required_holders.flatten(), coming)
    }

    /// How far these of our logs have come, each up to the line beside it.
    pub fn delivery_of(
        &self,
        ctx: &Context,
        heads: &[(&LogId, u64)],
        need: Option<u64>,
        coming: bool,
    ) -> Delivery {
        let mut members = SortedSet::new();
        // Of what stands in several rooms, the line that the fewest hold decides.
        let mut least: Option<(u64, u64)> = None;
        let (mut stays, mut lacking) = (true, false);
        for (log, high) in heads {
            let Some(room) = log.target.room() else {
                continue;
            };
            let mut lack = SortedSet::new();
            for (_, link) in ctx.links_in_room(room) {
                members.insert(link.peer.id);
                if self.acked_up_to(&link.peer.id, log) < *high {
                    lack.insert(link.peer.id);
                }
            }
            // Who is there through others is waited for: it gets it through others, or will be linked.
            for (_, peer, _) in ctx.routes_in_room(room) {
                if !ctx.stream_by_peer.contains_key(peer) && self.acked_up_to(peer, log) < *high {
                    lack.insert(*peer);
                }
            }
            // Who held it and has left has done its part.
            let holders = self.acked.iter();
            let holders =
                holders.filter(|(_, logs)| logs.get(log).is_some_and(|held| held >= high));
            let (mut count, mut staying) = (0, false);
            for (peer, _) in holders {
                count += 1;
                staying |= !self.transient_peers.contains(peer);
            }
            let needed = need.unwrap_or((count + lack.len() as u64).max(1));
            if least.is_none_or(|(fewest, _)| count < fewest) {
                least = Some((count, needed));
            }
            stays &= staying;
            lacking |= count == 0 || !lack.is_empty();
        }
        let quiet_at = ctx.last_peer_event + QUIET_PERIOD_MS;
        let everyone = stays && !lacking && !coming;
        let settled = match (least, need) {
            (None, _) => true,
            (Some((holding, _)), Some(need)) => holding >= need,
            (Some(_), None) => everyone && ctx.now.time >= quiet_at,
        };
        let (holding, needed) = least.unwrap_or_default();
        let mut delivery = Delivery {
            linked_peers: members.len() as u64,
            acked_peers: holding,
            required_peers: needed,
            has_undelivered: lacking,
            is_settled: settled,
            recheck_at: (need.is_none() && everyone && !settled).then_some(quiet_at),
        };
        // A direct message has one who must hold it, whoever else does.
        for (log, high) in heads {
            let Some(reader) = log.target.recipient() else {
                continue;
            };
            let holds = self.acked_up_to(&reader, log) >= *high;
            delivery.linked_peers += u64::from(ctx.stream_by_peer.contains_key(&reader));
            delivery.acked_peers += u64::from(holds);
            delivery.required_peers += 1;
            delivery.has_undelivered |= !holds;
            delivery.is_settled &= holds || need == Some(0);
        }
        delivery
    }

    /// Tells once that everything has arrived.
    pub fn notify_if_settled(&mut self, ctx: &mut Context, delivery: &Delivery) {
        if delivery.is_settled && self.required_holders.is_some() && !self.is_settled {
            self.is_settled = true;
            ctx.notify(Notice::Settled);
        }
    }

    pub fn is_awaiting_delivery(&self) -> bool {
        self.required_holders.is_some() && !self.is_settled
    }

    pub fn deadline(&self, delivery: Option<&Delivery>) -> Option<Time> {
        let again = delivery.filter(|_| self.is_awaiting_delivery());
        let again = again.and_then(|delivery| delivery.recheck_at);
        match (again, self.persist_at) {
            (Some(again), Some(note)) => Some(again.min(note)),
            (again, note) => again.or(note),
        }
    }
}

/// A line of the note: a direct log, how far its reader holds it, and for how many milliseconds more it is carried; 0: it is not.
fn format_record(log: &LogId, held: u64, left: i64) -> String {
    let incarnation = log.incarnation;
    format!(
        "{} {} {incarnation:016x} {held} {left}\n",
        log.target, log.author
    )
}

fn parse_record(line: &str) -> Option<(LogId, u64, i64)> {
    let mut words = line.split(' ');
    let log = LogId {
        target: Target::parse(words.next()?)?,
        author: words.next()?.parse().ok()?,
        incarnation: u64::from_str_radix(words.next()?, 16).ok()?,
    };
    let held = words.next()?.parse().ok()?;
    let left: i64 = words.next()?.parse().ok()?;
    Some((log, held, left.clamp(-CARRY_DURATION_MS, CARRY_DURATION_MS)))
}
