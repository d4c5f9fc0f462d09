//! Tracks how far our lines are delivered to each peer. Acknowledgements are cumulative, like
//! raft's `match_index`. They do not decrease while a link lasts. [`LogState::record_ack`] decides
//! which acknowledgements count.
use std::net::{SocketAddr, SocketAddrV6};
use std::ops::RangeInclusive;

use crate::base::batch::batch::LogId;
use crate::base::event::notice::Notice;
use crate::base::event::output::Output;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::interface::Interface;
use crate::base::missing_lines::{Delivery, Undelivered};
use crate::base::name::{Room, Target};
use crate::base::table::{SortedMap, SortedSet, sorted_by_number};
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::link::Link;
use crate::node::membership::routes::Routes;
use crate::node::replication::carrying::carriers::carried_until;
use crate::node::replication::logs::log_state::{LogRole, LogState};
use crate::node::replication::logs::peer_acks::Ack;
use crate::node::replication::logs::table::Logs;
use crate::node::replication::receipts::forwarded_receipts::is_signed_by;
use crate::node::replication::receipts::receipt_record::{CARRY_DURATION_MS, ReceiptRecord};
use crate::node::timer::{Deadlines, Timer};
use crate::wire::message::HaveEntry;

/// A change of the acknowledgements or of the carried logs is saved after this many milliseconds.
const PERSIST_DELAY_MS: u64 = 1_000;
/// While we carry logs, we save their remaining carrying times at this interval, in milliseconds.
const PERSIST_INTERVAL_MS: u64 = 3_600_000;
/// Maximum number of peers whose acknowledgements of one log are kept. Linked peers are kept even
/// if the bound is exceeded.
const ACKING_PEERS_MAX: usize = 4096;
/// Maximum number of receipts in [`DeliveryTracker::unverified`]. When the table is full, it is
/// emptied.
const UNVERIFIED_RECEIPTS_MAX: usize = 256;
/// From this age of its program on, in milliseconds, a peer is linked with all who are on its
/// network, and has named them. In a younger mesh, links are still being established.
const MESHED_AGE_MS: u64 = 2_000;
/// How many peers that lack lines [`undelivered`] names.
const LACKING_NAMED_MAX: usize = 3;

/// The state from which we decide whether our lines are delivered. The acknowledgements themselves
/// are in the [`LogState`] of each log.
#[derive(Default)]
pub struct DeliveryTracker {
    /// When to save the recipients' acknowledgements and the carried logs.
    persist_at: Option<Time>,
    /// Forwarded receipts that do not count yet, each with what it acknowledges. Their
    /// signatures are valid, but a signer may be an invented key. A receipt counts once a route to
    /// its signer is known.
    unverified: SortedMap<(PeerId, LogId), Ack>,
}

/// How far our lines in one log to a room were delivered.
struct RoomLogDelivery {
    acked_peers: u64,
    required_peers: u64,
    /// Whether a peer that is not transient stores all these lines.
    has_lasting_holder: bool,
    /// Whether each of these lines was sent to a guest, or is lost to all. Only guests of Grenache
    /// acknowledge lines, and for them only acknowledged ones count as sent.
    is_settled_with_guests: bool,
    /// Whether guests are here who may still get some of these lines.
    is_lacked_by_guests: bool,
    /// Whether no guest took some of these lines, and none will.
    is_lost_to_guests: bool,
    /// The linked and reachable peers that lack some of these lines.
    lacking: SortedSet<PeerId>,
}

impl RoomLogDelivery {
    /// Whether a linked or reachable peer or the guests lack some of the lines, or neither a peer
    /// stores all of them nor anything became of them at the guests.
    fn has_undelivered(&self) -> bool {
        let has_nobody = self.acked_peers == 0 && !self.is_settled_with_guests;
        has_nobody || self.is_lacked_by_guests || !self.lacking.is_empty()
    }
}

impl DeliveryTracker {
    /// Restores the acknowledgements and the carried logs from the text of the last
    /// [`Output::SaveReceipts`].
    pub fn restore(ctx: &Context, logs: &mut Logs, saved: &str) -> DeliveryTracker {
        let mut tracker = DeliveryTracker::default();
        for record in saved.lines().filter_map(ReceiptRecord::parse) {
            let Some(recipient) = record.log.target.recipient() else {
                continue;
            };
            let acked = record.acked_up_to;
            let state = logs.get_or_create(&ctx.own_id(), &record.log);
            let acks = state.acks.get_or_default(recipient);
            (acks.delivered_from, acks.delivered_up_to) = (1, acked);
            match &mut state.role {
                LogRole::Author(own) => own.reported_up_to = acked,
                LogRole::Carrier { until } => {
                    *until = Some(ctx.now.time.0 as i64 + record.carry_left_ms);
                    tracker.schedule_persist(ctx);
                }
                _ => {}
            }
        }
        tracker
    }

    /// Starts to carry a log for [`CARRY_DURATION_MS`], because one of its lines arrived. If the
    /// log is carried already, its time is not extended.
    pub fn start_carrying(&mut self, ctx: &Context, logs: &mut Logs, log: &LogId) {
        let now = ctx.now.time.0 as i64;
        let role = logs.state_mut(log).map(|state| &mut state.role);
        if let Some(LogRole::Carrier { until }) = role
            && until.is_none_or(|until| until <= now)
        {
            *until = Some(now + CARRY_DURATION_MS);
        }
        self.schedule_persist(ctx);
    }

    /// Starts to carry the restored logs of which no record says until when. The previous run was
    /// killed before it saved the record, or had removed the log, which is still on the disk.
    pub fn resume_carrying(&mut self, ctx: &Context, logs: &mut Logs) {
        for state in logs.direct_states_mut() {
            let is_stored = state.range().is_some();
            if let LogRole::Carrier { until } = &mut state.role
                && until.is_none()
                && is_stored
            {
                *until = Some(ctx.now.time.0 as i64 + CARRY_DURATION_MS);
                self.schedule_persist(ctx);
            }
        }
    }

    fn schedule_persist(&mut self, ctx: &Context) {
        let soon = ctx.now.time + PERSIST_DELAY_MS;
        self.persist_at = Some(self.persist_at.map_or(soon, |at| at.min(soon)));
    }

    /// Saves the recipients' acknowledgements and the carried logs, if a save is scheduled. The
    /// next run then need not send acknowledged lines to carriers.
    ///
    /// Removes the carried logs that [`carried_until`] ends.
    pub fn persist(&mut self, ctx: &mut Context, logs: &mut Logs) {
        if self.persist_at.take().is_none() {
            return;
        }
        let now = ctx.now.time.0 as i64;
        let (mut text, mut ended) = (String::new(), Vec::new());
        for state in logs.direct_states_mut() {
            let log = state.log().clone();
            let Some(recipient) = log.target.recipient() else {
                continue;
            };
            let acked_up_to = state.delivered_to(&recipient);
            let mut carry_left_ms = 0;
            if let LogRole::Carrier { until } = state.role {
                let until = until.and_then(|until| carried_until(ctx, state, until));
                state.role = LogRole::Carrier { until };
                if until.is_none_or(|until| until <= now) {
                    ended.push(log.clone());
                }
                let Some(until) = until else {
                    state.acks.clear();
                    continue;
                };
                carry_left_ms = until - now;
                let next = ctx.now.time + PERSIST_INTERVAL_MS;
                self.persist_at.get_or_insert(next);
            } else if state.acks.is_empty() {
                continue;
            }
            let record = ReceiptRecord {
                log,
                acked_up_to,
                carry_left_ms,
            };
            record.write(&mut text);
        }
        for log in ended {
            logs.forget_lines(&log);
        }
        ctx.emit(Output::SaveReceipts(text));
    }

    /// Calls [`DeliveryTracker::persist`] at the end of a turn, if its time has come.
    pub fn end_turn(&mut self, ctx: &mut Context, logs: &mut Logs) {
        if self.persist_at.is_some_and(|at| at <= ctx.now.time) {
            self.persist(ctx, logs);
        }
    }

    /// Handles a new link. Forgets all earlier acknowledgements of the link's peer, because the
    /// peer may have lost lines.
    pub fn link_up(&mut self, ctx: &Context, logs: &mut Logs, stream: StreamId) {
        let Some(link) = ctx.links.get(&stream) else {
            return;
        };
        let peer = link.peer.id;
        logs.forget_acks(&peer);
        self.unverified.retain(|(holder, _), _| *holder != peer);
    }

    /// Records a peer's acknowledgement of a log. For a direct log, ignores all peers except the
    /// recipient. The caller must have compared the hash with ours. Returns whether it delivers
    /// lines that were not delivered.
    pub fn confirm(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        peer: PeerId,
        log: &LogId,
        ack: Ack,
    ) -> bool {
        let is_recipient = log.target.recipient() == Some(peer);
        let Some(state) = logs.state_mut(log) else {
            return false;
        };
        if !is_recipient && log.target.room().is_none() {
            return false;
        }
        if state.acks.len() >= ACKING_PEERS_MAX && !state.acks.contains_key(&peer) {
            let is_linked = |peer: &PeerId| ctx.stream_by_peer.contains_key(peer);
            if !is_linked(&peer) {
                return false;
            }
            state.acks.retain(|peer, _| is_linked(peer));
        }
        let acks = state.acks.get_or_default(peer);
        acks.is_transient |= ctx.link_to(&peer).is_some_and(|link| link.transient);
        if !state.record_ack(peer, ack) {
            return false;
        }
        ctx.last_progress = ctx.now.time;
        let sequence = ack.high;
        let mut is_news = state.run().is_some_and(|run| run.first <= sequence);
        if is_recipient {
            self.schedule_persist(ctx);
            if let Some(own) = state.own_mut() {
                is_news |= own.reported_up_to < sequence;
                own.reported_up_to = sequence.max(own.reported_up_to);
            }
        }
        if is_news {
            ctx.notify(Notice::Delivered {
                log: log.clone(),
                sequence,
                peer: ctx.display_peer(&peer),
            });
        }
        true
    }

    /// Handles a forwarded receipt for a log that we wrote. `holder`: the peer that stores the
    /// lines. The holder must have signed the receipt. The receipt must name our head and the
    /// head's hash. Any other receipt is ignored.
    ///
    /// The receipt counts if the holder is the log's recipient, a known peer, or reachable.
    /// Otherwise, the holder may be an invented key, so the receipt is kept as unverified.
    pub fn handle_forwarded_receipt(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        holder: PeerId,
        log: &LogId,
        entry: &HaveEntry,
    ) {
        if logs.head_hash_at(log, entry.high) == Some(entry.hash)
            && is_signed_by(ctx, holder, log, entry)
        {
            let is_known =
                ctx.acquaintances.is_known(&holder) || log.target.recipient() == Some(holder);
            if is_known || is_advertised(ctx, log, &holder) {
                self.confirm(ctx, logs, holder, log, Ack::new(entry));
                return;
            }
            if self.unverified.len() >= UNVERIFIED_RECEIPTS_MAX {
                self.unverified.clear();
            }
            self.unverified
                .insert((holder, log.clone()), Ack::new(entry));
        }
    }

    /// Handles a new route to a peer. Counts the peer's unverified receipts for logs of rooms in
    /// which the peer is reachable.
    pub fn peer_reachable(&mut self, ctx: &mut Context, logs: &mut Logs, peer: &PeerId) {
        for ((holder, log), ack) in std::mem::take(&mut self.unverified) {
            if holder == *peer && is_advertised(ctx, &log, peer) {
                self.confirm(ctx, logs, holder, &log, ack);
            } else {
                self.unverified.insert((holder, log), ack);
            }
        }
    }

    /// Adds the time at which to save the receipts.
    pub fn state_deadlines(&self, deadlines: &mut Deadlines) {
        deadlines.add_some(Timer::PersistReceipts, self.persist_at);
    }
}

/// How far lines that we wrote were delivered. `lines`: logs that we wrote, each with the
/// lines that must be delivered. A peer that lacks other lines of the log still counts.
pub fn delivery_of(
    ctx: &Context,
    logs: &Logs,
    routes: &Routes,
    lines: &[(&LogId, RangeInclusive<u64>)],
    required_peers: Option<u64>,
    is_expecting_link: bool,
) -> Delivery {
    let is_unsent = |(log, lines): &(&LogId, _)| ctx.guests.is_unsent(log, lines);
    let mut delivery = room_delivery(ctx, logs, routes, lines, required_peers, is_expecting_link);
    delivery.is_unsent_to_guests = lines.iter().any(is_unsent);
    // The required peers decide about lines in rooms, but never store a line for one guest.
    let room_lines = if required_peers.is_none() { lines } else { &[] };
    let is_lost = |(log, lines): &(&LogId, _)| ctx.guests.is_lost(log, lines);
    delivery.is_lost_to_guests = room_lines.iter().any(is_lost);
    if let Some(until) = ctx.guests.unsettled_until(room_lines, ctx.now.time) {
        delivery.is_settled = false;
        delivery.recheck_at = Some(delivery.recheck_at.map_or(until, |at| at.min(until)));
    }
    // Only the recipient must store a direct message. Other peers that store it do not count.
    for (log, lines) in lines {
        let Some(recipient) = log.target.recipient() else {
            continue;
        };
        let is_acked = logs.state(log).is_held_by(&recipient, lines);
        let is_linked = ctx.stream_by_peer.contains_key(&recipient);
        delivery.linked_peers += u64::from(is_linked);
        delivery.acked_peers += u64::from(is_acked);
        delivery.required_peers += 1;
        delivery.has_undelivered |= !is_acked;
        delivery.is_settled &= is_acked || required_peers == Some(0);
    }
    delivery
}

/// The part of [`delivery_of`] that concerns logs to rooms.
fn room_delivery(
    ctx: &Context,
    logs: &Logs,
    routes: &Routes,
    lines: &[(&LogId, RangeInclusive<u64>)],
    required_peers: Option<u64>,
    is_expecting_link: bool,
) -> Delivery {
    let mut members = SortedSet::new();
    // With several rooms, the log whose lines the fewest peers store decides.
    let mut least: Option<RoomLogDelivery> = None;
    let (mut have_lasting_holders, mut has_undelivered) = (true, false);
    for (log, lines) in lines {
        let Some(room) = log.target.room() else {
            continue;
        };
        for (_, link) in ctx.receivers_in_room(room) {
            members.insert(link.peer.id);
        }
        let of_log = room_log_delivery(ctx, logs.state(log), routes, room, lines, required_peers);
        have_lasting_holders &= of_log.has_lasting_holder;
        has_undelivered |= of_log.has_undelivered();
        let fewest = least.as_ref().map(|least| least.acked_peers);
        if fewest.is_none_or(|fewest| of_log.acked_peers < fewest) {
            least = Some(of_log);
        }
    }
    let quiet_at = ctx.quiet_at();
    let is_with_everyone = have_lasting_holders && !has_undelivered && !is_expecting_link;
    let mut rooms = lines.iter().filter_map(|(log, _)| log.target.room());
    let is_settled = match (&least, required_peers) {
        (None, _) => true,
        (Some(least), Some(required)) => least.acked_peers >= required,
        (Some(_), None) => {
            is_with_everyone
                && (ctx.now.time >= quiet_at || rooms.all(|room| are_members_named(ctx, room)))
        }
    };
    let waits_for_quiet = required_peers.is_none() && is_with_everyone && !is_settled;
    Delivery {
        linked_peers: members.len() as u64,
        acked_peers: least.as_ref().map_or(0, |least| least.acked_peers),
        required_peers: least.as_ref().map_or(0, |least| least.required_peers),
        has_undelivered,
        is_unsent_to_guests: false,
        is_lost_to_guests: false,
        is_settled,
        recheck_at: waits_for_quiet.then_some(quiet_at),
    }
}

/// Whether everyone in this room who could answer our beacon is linked with us, or named by one who
/// is: on each of our networks, a member is linked whose program is older than [`MESHED_AGE_MS`]. A
/// program on this machine is on all of its networks.
/// A member names all that it knows to a transient peer before its first acknowledgement. Who lies
/// about its age or about others only spares us the wait for peers that nobody has named.
fn are_members_named(ctx: &Context, room: &Room) -> bool {
    let is_meshed = |link: &Link| {
        let clock = ctx.author_clocks.find(&link.peer.id, link.run);
        !link.transient && clock.is_some_and(|it| it.clock.age_ms(ctx.now.time) >= MESHED_AGE_MS)
    };
    let has_meshed = |interface: &Interface| {
        let mut links = ctx.links_in_room(room);
        links.any(|(_, link)| {
            let is_here = ctx.is_own_address(link.address.ip());
            (is_here || is_reached_over(interface, link.address)) && is_meshed(link)
        })
    };
    ctx.transient && !ctx.interfaces.is_empty() && ctx.interfaces.iter().all(has_meshed)
}

/// Whether this address is a neighbour's on this interface. All interfaces have the link-local
/// network of IPv6, so its addresses name theirs.
fn is_reached_over(interface: &Interface, address: SocketAddr) -> bool {
    let is_other =
        |v6: &SocketAddrV6| v6.ip().is_unicast_link_local() && v6.scope_id() != interface.index;
    let is_elsewhere = matches!(&address, SocketAddr::V6(v6) if is_other(v6));
    !is_elsewhere && interface.is_on_link(address.ip())
}

/// How many of these lines of one log all have who need them, from the first one on.
pub fn delivered_lines(
    ctx: &Context,
    logs: &Logs,
    routes: &Routes,
    log: &LogId,
    lines: &RangeInclusive<u64>,
    required_peers: Option<u64>,
) -> u64 {
    let state = logs.state(log);
    let all = (lines.end() + 1).saturating_sub(*lines.start());
    let count = |peer: &PeerId| state.acks.get(peer).map_or(0, |acks| acks.count(lines));
    match (&log.target, required_peers) {
        (Target::Peer(recipient), _) => count(recipient),
        (Target::Room(_), Some(0)) => all,
        (Target::Room(_), Some(required)) => {
            let acks = state.acks.values();
            let counts: Vec<u64> = acks.map(|acks| acks.count(lines)).collect();
            let highest_first = sorted_by_number(&counts, |count| !count);
            let last = usize::try_from(required - 1).ok();
            last.and_then(|last| highest_first.get(last))
                .copied()
                .unwrap_or(0)
        }
        (Target::Room(room), None) => {
            let of_log = room_log_delivery(ctx, state, routes, room, lines, None);
            match of_log.has_undelivered() {
                true => of_log.lacking.iter().map(count).min().unwrap_or(0),
                false => all,
            }
        }
    }
}

/// The lines of one log, if not enough peers have acknowledged them.
pub fn undelivered(
    ctx: &Context,
    logs: &Logs,
    routes: &Routes,
    log: &LogId,
    lines: &RangeInclusive<u64>,
    required_peers: Option<u64>,
) -> Option<Undelivered> {
    let state = logs.state(log);
    let of_log = match &log.target {
        Target::Room(room) => room_log_delivery(ctx, state, routes, room, lines, required_peers),
        Target::Peer(recipient) => {
            let is_acked = state.is_held_by(recipient, lines);
            RoomLogDelivery {
                acked_peers: u64::from(is_acked),
                required_peers: required_peers.unwrap_or(1).min(1),
                has_lasting_holder: is_acked,
                is_settled_with_guests: false,
                is_lacked_by_guests: false,
                is_lost_to_guests: false,
                lacking: [*recipient].into_iter().filter(|_| !is_acked).collect(),
            }
        }
    };
    let is_delivered = match required_peers {
        Some(_) => of_log.acked_peers >= of_log.required_peers,
        None => !of_log.has_undelivered() && !of_log.is_lost_to_guests,
    };
    let lacking = of_log.lacking.iter().take(LACKING_NAMED_MAX);
    let recipient = log.target.recipient();
    (!is_delivered).then(|| Undelivered {
        is_recipient_absent: recipient.is_some_and(|peer| !ctx.is_reachable(&peer)),
        target: log.target.clone(),
        acked_peers: of_log.acked_peers,
        required_peers: of_log.required_peers,
        lacking: lacking.map(|peer| ctx.display_peer(peer)).collect(),
        lacking_peers: of_log.lacking.len() as u64,
        is_lacked_by_guests: of_log.is_lacked_by_guests,
        is_lost_to_guests: of_log.is_lost_to_guests,
    })
}

fn room_log_delivery(
    ctx: &Context,
    state: &LogState,
    routes: &Routes,
    room: &Room,
    lines: &RangeInclusive<u64>,
    required_peers: Option<u64>,
) -> RoomLogDelivery {
    let mut lacking = SortedSet::new();
    for (_, link) in ctx.receivers_in_room(room) {
        if !state.is_held_by(&link.peer.id, lines) {
            lacking.insert(link.peer.id);
        }
    }
    // A member without a link gets the lines through others, or will be linked.
    let unlinked = routes.unlinked_members(ctx, room);
    lacking.extend(
        unlinked
            .iter()
            .filter(|peer| !state.is_held_by(peer, lines))
            .copied(),
    );
    // Counts every peer that acknowledged all these lines, even a peer that has left.
    let (mut acked_peers, mut has_lasting_holder) = (0, false);
    let acks = state.acks.values();
    for acks in acks.filter(|acks| acks.covers(lines)) {
        acked_peers += 1;
        has_lasting_holder |= !acks.is_transient;
    }
    let is_settled_with_guests = ctx.guests.is_settled(state.log(), lines);
    has_lasting_holder |= is_settled_with_guests;
    let everyone = (acked_peers + lacking.len() as u64).max(1);
    RoomLogDelivery {
        acked_peers,
        required_peers: required_peers.unwrap_or(everyone),
        has_lasting_holder,
        is_settled_with_guests,
        is_lacked_by_guests: ctx.guests.lack_lines(state.log(), lines),
        is_lost_to_guests: ctx.guests.is_lost(state.log(), lines),
        lacking,
    }
}

/// Whether a neighbour advertises this peer in the room of the log. Routes in hold-down count, as
/// they lead to a peer that was reachable before.
fn is_advertised(ctx: &Context, log: &LogId, peer: &PeerId) -> bool {
    let Some(room) = log.target.room() else {
        return false;
    };
    let mut links = ctx.links.values();
    links.any(|link| {
        let routes = link.routes.get(room);
        routes.is_some_and(|routes| routes.contains_key(peer))
    })
}
