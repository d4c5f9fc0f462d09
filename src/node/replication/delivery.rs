//! Tracks how far each peer stores our lines, and decides when these lines count as delivered.
//! Acknowledgements are cumulative, as raft's `match_index`. They do not decrease while a link
//! lasts.
use data_encoding::BASE64URL_NOPAD;

use crate::base::batch::LogId;
use crate::base::event::{Delivery, Notice, Output, StreamId};
use crate::base::identity::{PeerId, verify_signature};
use crate::base::name::Room;
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::replication::logs::table::Logs;
use crate::node::replication::receipt_record::{CARRY_DURATION_MS, ReceiptRecord};
use crate::node::timer::{Deadlines, Timer};
use crate::wire::message::{HaveEntry, receipt};

/// A change of the acknowledgements or of the carried logs is saved after this many milliseconds.
const PERSIST_DELAY_MS: u64 = 1_000;
/// While logs are carried, the time that remains for each is saved at this interval, in
/// milliseconds.
const PERSIST_INTERVAL_MS: u64 = 3_600_000;
/// Maximum number of peers whose acknowledgements are kept. Linked peers are kept even beyond it.
const TRACKED_PEERS_MAX: usize = 4096;
/// Maximum number of receipts in [`DeliveryTracker::unverified`]. When the table is full, it is
/// emptied.
const UNVERIFIED_RECEIPTS_MAX: usize = 256;

/// Whether the program waits until this run's lines are delivered. `required_peers`: the number of
/// peers that must store all lines. `None`: all known peers of the rooms must store them.
#[derive(Clone, Copy, Debug, Default)]
enum Wait {
    /// Not waiting: more lines may be published.
    #[default]
    Idle,
    /// Waiting for the lines of this run to be delivered.
    Waiting { required_peers: Option<u64> },
    /// The lines were delivered, and the notice [`Notice::Settled`] was sent.
    Settled { required_peers: Option<u64> },
}

/// The acknowledgements of each peer, and the carried logs.
#[derive(Default)]
pub struct DeliveryTracker {
    /// For each peer and log: the sequence of the last line that the peer acknowledged. Contains
    /// only logs that we wrote and direct logs that we carry. For a direct log, only the
    /// recipient's acknowledgement is recorded.
    ///
    /// A new link to a peer clears the peer's entries, because the peer may have lost lines.
    acked: SortedMap<PeerId, SortedMap<LogId, u64>>,
    /// For each direct log that we wrote: the sequence of the last line that was reported to the
    /// user as delivered. Reports of earlier runs count.
    reported: SortedMap<LogId, u64>,
    /// For each carried log: when carrying ends, in milliseconds on the clock of [`Time`].
    ///
    /// The entry is kept for another [`CARRY_DURATION_MS`] after that time. If a restart restores
    /// the expired log from the disk, the entry shows that the log must be removed.
    carried_until: SortedMap<LogId, i64>,
    /// For each direct log that we wrote: the sequence of the last line that the recipient's
    /// terminal has shown.
    read_up_to: SortedMap<LogId, u64>,
    /// When to save the recipients' acknowledgements and the carried logs.
    persist_at: Option<Time>,
    /// Peers that were linked in this run.
    linked_before: SortedSet<PeerId>,
    /// Forwarded receipts that do not count yet, each with the sequence that it confirms. Their
    /// signatures are valid, but a signer may be an invented key. A receipt counts once a route to
    /// its signer is known.
    unverified: SortedMap<(PeerId, LogId), u64>,
    /// Peers whose programs are transient. Such a peer may leave before it has passed on the lines
    /// that it stores.
    transient_peers: SortedSet<PeerId>,
    wait: Wait,
}

/// How far one of our logs to a room was delivered.
struct RoomLogDelivery {
    acked_peers: u64,
    required_peers: u64,
    /// Whether a peer that is not transient stores the whole log.
    has_lasting_holder: bool,
    /// Whether a linked or reachable peer lacks lines of the log. Also true if no peer stores the
    /// whole log.
    has_undelivered: bool,
}

impl DeliveryTracker {
    /// Restores the tracker from the text of the last [`Output::SaveReceipts`].
    pub fn new(ctx: &Context, saved: &str) -> DeliveryTracker {
        let mut tracker = DeliveryTracker::default();
        for record in saved.lines().filter_map(ReceiptRecord::parse) {
            let (log, acked) = (record.log, record.acked_up_to);
            if record.carry_left_ms != 0 {
                tracker.schedule_persist(ctx);
                let until = ctx.now.time.0 as i64 + record.carry_left_ms;
                tracker.carried_until.insert(log.clone(), until);
            }
            if let Some(recipient) = log.target.recipient() {
                if log.author == ctx.own_id() {
                    tracker.reported.insert(log.clone(), acked);
                }
                let acked_logs = tracker.acked.get_or_default(recipient);
                acked_logs.insert(log, acked);
            }
        }
        tracker
    }

    /// Starts to carry a log for [`CARRY_DURATION_MS`], because one of its lines arrived. If the
    /// log is carried already, its time is not extended.
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

    /// Saves the recipients' acknowledgements and the carried logs, if a save is scheduled. The
    /// next run then need not send acknowledged lines to carriers.
    ///
    /// Removes carried logs whose time is over. Also removes delivered ones, unless the author is
    /// linked.
    pub fn persist(&mut self, ctx: &mut Context, logs: &mut Logs) {
        if self.persist_at.take().is_none() {
            return;
        }
        let now = ctx.now.time.0 as i64;
        let mut text = String::new();
        for (log, acked) in self.acked.values().flat_map(SortedMap::iter) {
            if log.target.recipient().is_some() && !self.carried_until.contains_key(log) {
                let record = ReceiptRecord {
                    log: log.clone(),
                    acked_up_to: *acked,
                    carry_left_ms: 0,
                };
                record.write(&mut text);
            }
        }
        let mut carried = std::mem::take(&mut self.carried_until);
        carried.retain(|log, until| {
            let recipient = log.target.recipient();
            let acked = recipient.map_or(0, |recipient| self.acked_up_to(&recipient, log));
            if logs.get(log).is_some_and(|range| acked >= range.high) {
                *until = now + CARRY_DURATION_MS;
                // Keeps the log while its author is linked, because the author continues it after
                // our head.
                if !ctx.stream_by_peer.contains_key(&log.author) {
                    logs.remove(log);
                }
            } else if *until <= now {
                logs.remove(log);
            }
            let record = ReceiptRecord {
                log: log.clone(),
                acked_up_to: acked,
                carry_left_ms: *until - now,
            };
            record.write(&mut text);
            self.persist_at
                .get_or_insert(ctx.now.time + PERSIST_INTERVAL_MS);
            logs.get(log).is_some() || *until <= now && *until + CARRY_DURATION_MS > now
        });
        self.carried_until = carried;
        ctx.emit(Output::SaveReceipts(text));
    }

    /// Calls [`DeliveryTracker::persist`] at the end of a turn, if its time has come.
    pub fn end_turn(&mut self, ctx: &mut Context, logs: &mut Logs) {
        if self.persist_at.is_some_and(|at| at <= ctx.now.time) {
            self.persist(ctx, logs);
        }
    }

    /// Handles a new link. Forgets all earlier acknowledgements of the link's peer.
    pub fn link_up(&mut self, ctx: &Context, stream: StreamId) {
        let Some(link) = ctx.links.get(&stream) else {
            return;
        };
        let peer = link.peer.id;
        self.acked.remove(&peer);
        self.unverified.retain(|(holder, _), _| *holder != peer);
        self.transient_peers.remove(&peer);
        let is_full =
            self.acked.len() >= TRACKED_PEERS_MAX || self.linked_before.len() >= TRACKED_PEERS_MAX;
        if is_full {
            let is_linked = |peer: &PeerId| ctx.stream_by_peer.contains_key(peer);
            self.acked.retain(|peer, _| is_linked(peer));
            self.linked_before.retain(is_linked);
            self.transient_peers.retain(is_linked);
        }
        self.linked_before.insert(peer);
        if link.transient {
            self.transient_peers.insert(peer);
        }
    }

    /// Records that a peer stores a log's lines up to the sequence `sequence`. For a direct log,
    /// ignores all peers except the recipient. For a log that we wrote, the caller must have
    /// compared the hashes.
    pub fn confirm(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        peer: PeerId,
        log: &LogId,
        sequence: u64,
    ) {
        let recipient = log.target.recipient();
        let has_place = self.acked.contains_key(&peer)
            || self.acked.len() < TRACKED_PEERS_MAX
            || ctx.stream_by_peer.contains_key(&peer);
        let is_carrier = recipient.is_some_and(|recipient| recipient != peer);
        if !has_place || is_carrier {
            return;
        }
        let acked = self.acked.get_or_default(peer).get_or_default(log.clone());
        if *acked >= sequence {
            return;
        }
        *acked = sequence;
        let mut is_news = logs.run_start(log).is_some_and(|start| start <= sequence);
        if recipient.is_some() {
            self.schedule_persist(ctx);
            if log.author == ctx.own_id() {
                let reported = self.reported.get_or_default(log.clone());
                is_news |= *reported < sequence;
                *reported = sequence.max(*reported);
            }
        }
        if is_news {
            ctx.notify(Notice::Delivered {
                log: log.clone(),
                sequence,
                peer: ctx.display_peer(&peer),
            });
        }
    }

    /// Handles a recipient's report about a direct log that we wrote. The recipient's terminal has
    /// shown the line `sequence` and all earlier lines.
    pub fn mark_read_by(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        recipient: PeerId,
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
                peer: ctx.display_peer(&recipient),
                at: ctx.now.wall,
            });
        }
    }

    /// Handles a forwarded receipt for a log that we wrote. `holder`: the peer that stores the
    /// lines. Ignores the receipt unless the holder signed it and it names our head and the head's
    /// hash.
    ///
    /// The receipt counts if the holder is the log's recipient, was linked in this run, or is
    /// reachable. Otherwise, the holder may be an invented key, so the receipt is kept as
    /// unverified.
    pub fn handle_forwarded_receipt(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        holder: PeerId,
        log: &LogId,
        entry: &HaveEntry,
    ) {
        let signed = receipt(&ctx.network, log, entry.high, &entry.hash);
        let signature = entry.signature.as_deref().map(str::as_bytes);
        let signature = signature.and_then(|text| BASE64URL_NOPAD.decode(text).ok());
        let signature = signature.and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
        if logs.head_hash_at(log, entry.high) == Some(entry.hash)
            && let (Some(key), Some(signature)) = (holder.verifying_key(), signature)
            && verify_signature(&key, &signed.0, &signature)
        {
            let is_known =
                self.linked_before.contains(&holder) || log.target.recipient() == Some(holder);
            if is_known || ctx.has_route(log.target.room(), &holder) {
                return self.confirm(ctx, logs, holder, log, entry.high);
            }
            if self.unverified.len() >= UNVERIFIED_RECEIPTS_MAX {
                self.unverified.clear();
            }
            self.unverified.insert((holder, log.clone()), entry.high);
        }
    }

    /// Handles a new route to a peer. Counts the peer's unverified receipts for logs of rooms in
    /// which the peer is reachable.
    pub fn peer_reachable(&mut self, ctx: &mut Context, logs: &Logs, peer: &PeerId) {
        let mut verified = Vec::new();
        self.unverified.retain(|(holder, log), high| {
            let is_reachable = holder == peer && ctx.has_route(log.target.room(), holder);
            if is_reachable {
                verified.push((log.clone(), *high));
            }
            !is_reachable
        });
        for (log, high) in verified {
            self.confirm(ctx, logs, *peer, &log, high);
        }
    }

    /// The highest sequence that any peer has acknowledged in a log that we wrote; 0 if none.
    pub fn max_acked(&self, log: &LogId) -> u64 {
        let acked = self.acked.values().filter_map(|logs| logs.get(log));
        acked.copied().max().unwrap_or(0)
    }

    /// The sequence at which this run's unacknowledged lines begin in a log that we wrote. A line
    /// counts as acknowledged as soon as any peer has acknowledged it. If all lines are
    /// acknowledged, returns the sequence after the head. `None`: this run published nothing in the
    /// log.
    pub fn first_unacked_of_run(&self, logs: &Logs, log: &LogId) -> Option<u64> {
        let start = logs.run_start(log)?;
        Some(start.max(self.max_acked(log) + 1))
    }

    /// The highest sequence that this peer has acknowledged in a log; 0 if none.
    pub fn acked_up_to(&self, peer: &PeerId, log: &LogId) -> u64 {
        let acked = self.acked.get(peer).and_then(|logs| logs.get(log));
        acked.copied().unwrap_or(0)
    }

    /// Starts to wait until the lines of this run are delivered. The caller publishes no more
    /// lines. The notice [`Notice::Settled`] reports the delivery.
    ///
    /// `required_peers`: as in [`Command::Finish`](crate::base::event::Command::Finish).
    pub fn await_delivery(&mut self, required_peers: Option<u64>) {
        self.wait = match self.wait {
            Wait::Settled { .. } => Wait::Settled { required_peers },
            Wait::Idle | Wait::Waiting { .. } => Wait::Waiting { required_peers },
        };
    }

    /// How far the lines of this run were delivered. `is_expecting_link`: a dial, handshake or
    /// beacon may still lead to a link.
    pub fn delivery(&self, ctx: &Context, logs: &Logs, is_expecting_link: bool) -> Delivery {
        let own_logs = logs.run_logs();
        let heads = own_logs.filter_map(|(log, _)| Some((log, logs.head(log)?)));
        let heads: Vec<(&LogId, u64)> = heads.collect();
        let required_peers = match self.wait {
            Wait::Idle => None,
            Wait::Waiting { required_peers } | Wait::Settled { required_peers } => required_peers,
        };
        self.delivery_of(ctx, &heads, required_peers, is_expecting_link)
    }

    /// How far logs that we wrote were delivered. `heads`: these logs, each with the sequence of
    /// the last line that must be delivered.
    pub fn delivery_of(
        &self,
        ctx: &Context,
        heads: &[(&LogId, u64)],
        required_peers: Option<u64>,
        is_expecting_link: bool,
    ) -> Delivery {
        let mut delivery = self.room_delivery(ctx, heads, required_peers, is_expecting_link);
        // Only the recipient must store a direct message. Other peers that store it do not count.
        for (log, high) in heads {
            let Some(recipient) = log.target.recipient() else {
                continue;
            };
            let is_acked = self.acked_up_to(&recipient, log) >= *high;
            let is_linked = ctx.stream_by_peer.contains_key(&recipient);
            delivery.linked_peers += u64::from(is_linked);
            delivery.acked_peers += u64::from(is_acked);
            delivery.required_peers += 1;
            delivery.has_undelivered |= !is_acked;
            delivery.is_settled &= is_acked || required_peers == Some(0);
        }
        delivery
    }

    /// The part of [`DeliveryTracker::delivery_of`] that concerns logs to rooms.
    fn room_delivery(
        &self,
        ctx: &Context,
        heads: &[(&LogId, u64)],
        required_peers: Option<u64>,
        is_expecting_link: bool,
    ) -> Delivery {
        let mut members = SortedSet::new();
        // With several rooms, the log that the fewest peers store decides.
        let mut least: Option<RoomLogDelivery> = None;
        let (mut have_lasting_holders, mut has_undelivered) = (true, false);
        for (log, high) in heads {
            let Some(room) = log.target.room() else {
                continue;
            };
            for (_, link) in ctx.links_in_room(room) {
                members.insert(link.peer.id);
            }
            let of_log = self.room_log_delivery(ctx, log, room, *high, required_peers);
            have_lasting_holders &= of_log.has_lasting_holder;
            has_undelivered |= of_log.has_undelivered;
            let fewest = least.as_ref().map(|least| least.acked_peers);
            if fewest.is_none_or(|fewest| of_log.acked_peers < fewest) {
                least = Some(of_log);
            }
        }
        let quiet_at = ctx.quiet_at();
        let is_with_everyone = have_lasting_holders && !has_undelivered && !is_expecting_link;
        let is_settled = match (&least, required_peers) {
            (None, _) => true,
            (Some(least), Some(required)) => least.acked_peers >= required,
            (Some(_), None) => is_with_everyone && ctx.now.time >= quiet_at,
        };
        let waits_for_quiet = required_peers.is_none() && is_with_everyone && !is_settled;
        Delivery {
            linked_peers: members.len() as u64,
            acked_peers: least.as_ref().map_or(0, |least| least.acked_peers),
            required_peers: least.as_ref().map_or(0, |least| least.required_peers),
            has_undelivered,
            is_settled,
            recheck_at: waits_for_quiet.then_some(quiet_at),
        }
    }

    fn room_log_delivery(
        &self,
        ctx: &Context,
        log: &LogId,
        room: &Room,
        high: u64,
        required_peers: Option<u64>,
    ) -> RoomLogDelivery {
        let mut lacking = SortedSet::new();
        for (_, link) in ctx.links_in_room(room) {
            if self.acked_up_to(&link.peer.id, log) < high {
                lacking.insert(link.peer.id);
            }
        }
        // A reachable peer without a link gets the lines through others, or will be linked.
        for (_, peer, _) in ctx.routes_in_room(room) {
            if !ctx.stream_by_peer.contains_key(peer) && self.acked_up_to(peer, log) < high {
                lacking.insert(*peer);
            }
        }
        // Counts every peer that acknowledged the whole log, even a peer that has left.
        let (mut acked_peers, mut has_lasting_holder) = (0, false);
        for (peer, logs) in self.acked.iter() {
            if logs.get(log).is_some_and(|acked| *acked >= high) {
                acked_peers += 1;
                has_lasting_holder |= !self.transient_peers.contains(peer);
            }
        }
        let everyone = (acked_peers + lacking.len() as u64).max(1);
        RoomLogDelivery {
            acked_peers,
            required_peers: required_peers.unwrap_or(everyone),
            has_lasting_holder,
            has_undelivered: acked_peers == 0 || !lacking.is_empty(),
        }
    }

    /// Sends the notice [`Notice::Settled`] when the awaited delivery is complete. Sends it only
    /// once.
    pub fn notify_if_settled(&mut self, ctx: &mut Context, delivery: &Delivery) {
        if let Wait::Waiting { required_peers } = self.wait
            && delivery.is_settled
        {
            self.wait = Wait::Settled { required_peers };
            ctx.notify(Notice::Settled);
        }
    }

    /// Whether the program waits for delivery, and has not sent [`Notice::Settled`] yet.
    pub fn is_awaiting_delivery(&self) -> bool {
        matches!(self.wait, Wait::Waiting { .. })
    }

    /// Adds the times at which to check the delivery again and to save the receipts.
    pub fn state_deadlines(&self, delivery: Option<&Delivery>, deadlines: &mut Deadlines) {
        let delivery = delivery.filter(|_| self.is_awaiting_delivery());
        let recheck_at = delivery.and_then(|delivery| delivery.recheck_at);
        deadlines.add_some(Timer::RecheckDelivery, recheck_at);
        deadlines.add_some(Timer::PersistReceipts, self.persist_at);
    }
}
