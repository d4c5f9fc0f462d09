//! Decides over which links a log travels, and which logs we carry.
//!
//! A direct log goes to its recipient while the recipient is linked. Otherwise its author sends
//! it to carriers, who store the sealed lines and cannot read them. Only an acknowledgement from
//! the recipient counts as a receipt.
use std::cmp::Reverse;
use std::net::IpAddr;

use crate::base::batch::batch::{Batch, LogId};
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::Target;
use crate::base::range::LogRange;
use crate::node::context::Context;
use crate::node::link::Link;
use crate::node::replication::logs::log_state::LogState;
use crate::node::replication::logs::table::Logs;
use crate::node::replication::receipts::receipt_record::CARRY_DURATION_MS;
use crate::node::standing::{Standing, UsageTable, source_of};

/// Maximum number of carriers to which an author sends one log, of each kind: those chosen by their
/// ids, and those that say they are linked with the recipient.
const CARRIERS_PER_LOG_MAX: usize = 3;
/// Maximum number of lines that we carry for one recipient.
const CARRIED_LINES_PER_RECIPIENT_MAX: u64 = 1000;
/// Maximum number of lines that we carry for all recipients together.
const CARRIED_LINES_MAX: u64 = 20_000;
/// Maximum number of logs that we carry.
const CARRIED_LOGS_MAX: usize = 1024;

/// The links to the carriers of direct logs for this recipient. The carriers are the linked peers
/// whose ids follow the recipient's id most closely, in cyclic order. Most authors thus select the
/// same carriers, and the recipient soon meets one of them. Peers that say they are linked with the
/// recipient are carriers in addition, because that may be a lie. Transient peers are never
/// selected.
fn select_carriers(ctx: &Context, recipient: &PeerId) -> Vec<StreamId> {
    let peers = ctx.stream_by_peer.iter();
    let behind = peers.clone().filter(|(id, _)| *id > recipient);
    let before = peers.filter(|(id, _)| *id < recipient);
    let (mut carriers, mut linked) = (Vec::new(), Vec::new());
    let ring = behind.chain(before);
    let is_sound = |(id, _): &(&PeerId, &StreamId)| ctx.misbehaviour.of(id).total() == 0;
    let sound = ring.clone().filter(is_sound);
    for (_, stream) in sound.chain(ring.filter(|entry| !is_sound(entry))) {
        let Some(link) = ctx.links.get(stream).filter(|link| !link.transient) else {
            continue;
        };
        let mut routes = link
            .routes
            .values()
            .filter_map(|peers| peers.get(recipient));
        let kind = match routes.any(|route| route.hops == 1) {
            true => &mut linked,
            false => &mut carriers,
        };
        if kind.len() < CARRIERS_PER_LOG_MAX {
            kind.push(*stream);
        }
    }
    linked.append(&mut carriers);
    linked
}

/// The links over which this log is sent. A room's log goes to every linked member that is not
/// send-only. A direct log goes to its recipient. If the recipient is not linked, the author sends
/// the log to carriers.
pub fn destinations(ctx: &Context, log: &LogId) -> Vec<StreamId> {
    match &log.target {
        Target::Room(room) => ctx
            .receivers_in_room(room)
            .map(|(stream, _)| stream)
            .collect(),
        Target::Peer(recipient) => match ctx.stream_by_peer.get(recipient) {
            Some(stream) => vec![*stream],
            None if log.author == ctx.own_id() => select_carriers(ctx, recipient),
            None => Vec::new(),
        },
    }
}

/// Whether the target is a room, or we are the recipient. Lines to other recipients are only
/// carried.
pub fn is_for_us(ctx: &Context, target: &Target) -> bool {
    target
        .recipient()
        .is_none_or(|recipient| recipient == ctx.own_id())
}

/// Whether this direct log needs carriers. True if its recipient is not linked and has not
/// acknowledged the whole log.
pub fn needs_carriers(ctx: &Context, logs: &Logs, range: &LogRange) -> bool {
    let recipient = range.log.target.recipient();
    recipient.is_some_and(|recipient| {
        !ctx.stream_by_peer.contains_key(&recipient)
            && logs.state(&range.log).delivered_to(&recipient) < range.high
    })
}

/// Whether this log may come over this link. A room's log must come over a link that shares the
/// room. A direct log to us may come from any peer. A log to carry must come from its author, and
/// its recipient must not be banned.
pub fn can_receive_over(ctx: &Context, link: &Link, log: &LogId) -> bool {
    match log.target {
        Target::Room(_) => link.is_recipient_of(&log.target),
        Target::Peer(recipient) if recipient == ctx.own_id() => log.author != recipient,
        Target::Peer(recipient) => {
            let is_banned = ctx.acquaintances.is_banned(&recipient);
            log.author == link.peer.id && !ctx.transient && !is_banned
        }
    }
}

/// The logs to one target of which the bounds of carriers allow us to store more lines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PlaceToCarry {
    /// Any log.
    Any,
    /// Only logs of which we store lines already.
    KnownLogs,
    /// No log.
    None,
}

impl PlaceToCarry {
    /// The place for logs to this target. `author`: the author of the logs. Always
    /// [`PlaceToCarry::Any`] if the target's logs are for us.
    ///
    /// Reads the records of all carried logs, so callers call this once for all entries of a
    /// message.
    pub fn for_author(
        ctx: &Context,
        logs: &Logs,
        target: &Target,
        author: &Claimant,
    ) -> PlaceToCarry {
        let Some(recipient) = carried_for(ctx, target) else {
            return PlaceToCarry::Any;
        };
        match CarryBound::reached(ctx, logs, &[], &recipient) {
            Some(bound) if find_displaced(ctx, logs, &[], bound, &recipient, author).is_none() => {
                match bound {
                    CarryBound::Logs => PlaceToCarry::KnownLogs,
                    CarryBound::LinesToRecipient | CarryBound::Lines => PlaceToCarry::None,
                }
            }
            _ => PlaceToCarry::Any,
        }
    }

    /// Whether we may store more lines of this log.
    pub fn allows(self, logs: &Logs, log: &LogId) -> bool {
        match self {
            PlaceToCarry::Any => true,
            PlaceToCarry::KnownLogs => logs.get(log).is_some(),
            PlaceToCarry::None => false,
        }
    }
}

/// An author who wants a place for lines.
pub struct Claimant {
    /// The author.
    pub author: PeerId,
    /// How much the author counts.
    pub standing: Standing,
}

/// The author of lines that came over this link.
pub fn claimant(ctx: &Context, stream: StreamId, author: &PeerId) -> Claimant {
    Claimant {
        author: *author,
        standing: ctx.standing(author, source_over(ctx, stream)),
    }
}

/// The source of what comes over this link.
pub fn source_over(ctx: &Context, stream: StreamId) -> Option<IpAddr> {
    let link = ctx.links.get(&stream)?;
    Some(source_of(link.address.ip()))
}

/// A bound on what we carry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CarryBound {
    /// [`CARRIED_LINES_PER_RECIPIENT_MAX`].
    LinesToRecipient,
    /// [`CARRIED_LINES_MAX`].
    Lines,
    /// [`CARRIED_LOGS_MAX`].
    Logs,
}

impl CarryBound {
    /// The bound that leaves no place for a further line to this recipient, or for a further log,
    /// without the `displaced` logs.
    fn reached(
        ctx: &Context,
        logs: &Logs,
        displaced: &[LogId],
        recipient: &PeerId,
    ) -> Option<CarryBound> {
        let (mut lines_to_recipient, mut lines, mut carried) = (0, 0, 0);
        for log in carried_logs(ctx, logs, displaced) {
            lines_to_recipient += if log.recipient == *recipient {
                log.lines
            } else {
                0
            };
            lines += log.lines;
            carried += 1;
        }
        match () {
            () if lines_to_recipient >= CARRIED_LINES_PER_RECIPIENT_MAX => {
                Some(CarryBound::LinesToRecipient)
            }
            () if lines >= CARRIED_LINES_MAX => Some(CarryBound::Lines),
            () => (carried >= CARRIED_LOGS_MAX).then_some(CarryBound::Logs),
        }
    }
}

/// A log that we carry.
struct CarriedLog<'a> {
    range: &'a LogRange,
    recipient: PeerId,
    /// Number of the lines that the recipient has not acknowledged. Others take no place.
    lines: u64,
}

/// The recipient for whom logs to this target are carried. `None`: they are for us, or for a room.
fn carried_for(ctx: &Context, target: &Target) -> Option<PeerId> {
    let own = ctx.own_id();
    target.recipient().filter(|recipient| *recipient != own)
}

/// All carried logs except the `displaced` ones. Lines of or to banned peers are not passed on, so
/// they take no place.
fn carried_logs<'a>(
    ctx: &'a Context,
    logs: &'a Logs,
    displaced: &'a [LogId],
) -> impl Iterator<Item = CarriedLog<'a>> + 'a {
    let ranges = logs.direct_ranges_to_others(ctx.own_id());
    let carried =
        ranges.filter(|range| range.log.author != ctx.own_id() && !displaced.contains(&range.log));
    carried.filter_map(|range| {
        let recipient = range.log.target.recipient()?;
        let is_banned = |peer| ctx.acquaintances.is_banned(peer);
        if is_banned(&range.log.author) || is_banned(&recipient) {
            return None;
        }
        let undelivered_from = logs.state(&range.log).delivered_to(&recipient) + 1;
        let lines = (range.high + 1).saturating_sub(range.low.max(undelivered_from));
        Some(CarriedLog {
            range,
            recipient,
            lines,
        })
    })
}

/// The next carried log that gives up its place at a bound to a log of this author, after the
/// `displaced` ones: one that is delivered, or else one of the author with the lowest
/// [`EvictionPlace`]. `None`: no other author counts less than this one, or as much but takes more.
///
/// [`EvictionPlace`]: crate::node::standing::EvictionPlace
fn find_displaced(
    ctx: &Context,
    logs: &Logs,
    displaced: &[LogId],
    bound: CarryBound,
    recipient: &PeerId,
    claimant: &Claimant,
) -> Option<LogId> {
    let beside: Vec<(CarriedLog, Standing)> = carried_logs(ctx, logs, displaced)
        .filter(|log| match bound {
            CarryBound::LinesToRecipient => log.recipient == *recipient && log.lines > 0,
            CarryBound::Lines => log.lines > 0,
            CarryBound::Logs => true,
        })
        .map(|log| {
            let source = logs.state(&log.range.log).source;
            let standing = ctx.standing(&log.range.log.author, source);
            (log, standing)
        })
        .collect();
    let mut usage = UsageTable::default();
    for (log, standing) in &beside {
        let taken = match bound {
            CarryBound::Logs => 1,
            CarryBound::LinesToRecipient | CarryBound::Lines => log.lines,
        };
        usage.add(log.range.log.author, standing, taken);
    }
    let others = beside.iter();
    let others = others.filter(|(log, _)| log.range.log.author != claimant.author);
    let (log, standing) = others.min_by_key(|(log, standing)| {
        let place = usage.place(&log.range.log.author, standing);
        (log.lines > 0, place, Reverse(log.lines))
    })?;
    let author = &log.range.log.author;
    let gives_way = log.lines == 0
        || usage.gives_way((author, standing), (&claimant.author, &claimant.standing));
    gives_way.then(|| log.range.log.clone())
}

/// The logs of other authors that give way to a batch of this author, if we carry it. `None`: there
/// is no place. The caller forgets these logs if it stores the batch: their authors still have the
/// lines. `replaced`: the log of the batch, if the batch takes the place of all its lines.
pub fn find_place_to_carry(
    ctx: &Context,
    logs: &Logs,
    batch: &Batch,
    claimant: &Claimant,
    replaced: Option<LogId>,
) -> Option<Vec<LogId>> {
    let mut displaced: Vec<LogId> = replaced.into_iter().collect();
    let Some(recipient) = carried_for(ctx, &batch.log.target) else {
        return Some(Vec::new());
    };
    while let Some(bound) = CarryBound::reached(ctx, logs, &displaced, &recipient) {
        if bound == CarryBound::Logs && logs.get(&batch.log).is_some() {
            break;
        }
        displaced.push(find_displaced(
            ctx, logs, &displaced, bound, &recipient, claimant,
        )?);
    }
    displaced.retain(|log| *log != batch.log);
    Some(displaced)
}

/// When the carrying of a log ends, which was to end at `until`. If the time is past, the lines
/// must be removed. `None`: nothing of the log is carried, and its end need not be remembered.
///
/// A delivered log stays while its author is linked, because the author continues the log after
/// our head. The end of other logs is remembered for [`CARRY_DURATION_MS`]. If a restart restores
/// such a log from the disk, the log is removed again.
pub fn carried_until(ctx: &Context, state: &LogState, until: i64) -> Option<i64> {
    let now = ctx.now.time.0 as i64;
    let delivered = state.max_delivered();
    let is_author_linked = ctx.stream_by_peer.contains_key(&state.log().author);
    match state.range() {
        Some(range) if delivered >= range.high => {
            is_author_linked.then_some(now + CARRY_DURATION_MS)
        }
        Some(_) if now < until => Some(until),
        None if now < until => None,
        _ => (now < until + CARRY_DURATION_MS).then_some(until),
    }
}
