//! Decides over which links a log travels, and which logs we carry.
//!
//! A direct log goes to its recipient while the recipient is linked. Otherwise its author sends
//! it to carriers, who store the sealed lines and cannot read them. Only an acknowledgement from
//! the recipient counts as a receipt.
use crate::base::batch::LogId;
use crate::base::event::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::Target;
use crate::base::range::LogRange;
use crate::node::context::Context;
use crate::node::link::Link;
use crate::node::replication::logs::log_state::LogState;
use crate::node::replication::logs::table::Logs;
use crate::node::replication::receipt_record::CARRY_DURATION_MS;

/// Maximum number of carriers to which an author sends one log.
const CARRIERS_PER_LOG_MAX: usize = 3;
/// Maximum number of lines that we carry for one recipient.
const CARRIED_LINES_PER_RECIPIENT_MAX: u64 = 1000;
/// Maximum number of lines that we carry for all recipients together.
const CARRIED_LINES_MAX: u64 = 20_000;
/// Maximum number of logs that we carry.
const CARRIED_LOGS_MAX: usize = 1024;

/// The links to the carriers of direct logs for this recipient. The carriers are the linked peers
/// whose ids follow the recipient's id most closely, in cyclic order. Most authors thus select the
/// same carriers, and the recipient soon meets one of them. Transient peers are never selected.
fn select_carriers(ctx: &Context, recipient: &PeerId) -> Vec<StreamId> {
    let peers = ctx.stream_by_peer.iter();
    let behind = peers.clone().filter(|(id, _)| *id > recipient);
    let mut carriers = Vec::new();
    for (_, stream) in behind.chain(peers) {
        let stays = ctx.links.get(stream).is_some_and(|link| !link.transient);
        if stays && carriers.len() < CARRIERS_PER_LOG_MAX && !carriers.contains(stream) {
            carriers.push(*stream);
        }
    }
    carriers
}

/// The links over which this log is sent. A room's log goes to every linked member. A direct log
/// goes to its recipient. If the recipient is not linked, the author sends the log to carriers.
pub fn destinations(ctx: &Context, log: &LogId) -> Vec<StreamId> {
    match &log.target {
        Target::Room(room) => ctx.links_in_room(room).map(|(stream, _)| stream).collect(),
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
/// room. A direct log to us may come from any peer. A log to carry must come from its author.
pub fn can_receive_over(ctx: &Context, link: &Link, log: &LogId) -> bool {
    match log.target {
        Target::Room(_) => link.is_recipient_of(&log.target),
        Target::Peer(recipient) if recipient == ctx.own_id() => log.author != recipient,
        Target::Peer(_) => log.author == link.peer.id && !ctx.transient,
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
    /// The place for logs to this target. Lines that their recipients have acknowledged take none.
    /// Always [`PlaceToCarry::Any`] if the target's logs are for us.
    ///
    /// Reads the records of all direct logs, so callers verify a batch's signature first, or call
    /// this once for all entries of a message.
    pub fn for_target(ctx: &Context, logs: &Logs, target: &Target) -> PlaceToCarry {
        let own = ctx.own_id();
        let Some(recipient) = target.recipient().filter(|recipient| *recipient != own) else {
            return PlaceToCarry::Any;
        };
        let (mut lines_for_recipient, mut all_lines, mut carried_logs) = (0, 0, 0);
        for range in logs.direct_ranges().filter(|range| range.log.author != own) {
            let Some(to) = range.log.target.recipient().filter(|to| *to != own) else {
                continue;
            };
            let undelivered_from = logs.state(&range.log).delivered_to(&to) + 1;
            let lines = (range.high + 1).saturating_sub(range.low.max(undelivered_from));
            lines_for_recipient += if to == recipient { lines } else { 0 };
            all_lines += lines;
            carried_logs += usize::from(lines > 0);
        }
        if lines_for_recipient >= CARRIED_LINES_PER_RECIPIENT_MAX || all_lines >= CARRIED_LINES_MAX
        {
            return PlaceToCarry::None;
        }
        match carried_logs < CARRIED_LOGS_MAX {
            true => PlaceToCarry::Any,
            false => PlaceToCarry::KnownLogs,
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

/// When the carrying of a log ends, which was to end at `until`. If the time is past, the lines
/// must be removed. `None`: nothing of the log is carried, and its end need not be remembered.
///
/// A delivered log stays while its author is linked, because the author continues the log after
/// our head. The end of other logs is remembered for [`CARRY_DURATION_MS`]. If a restart restores
/// such a log from the disk, the log is removed again.
pub fn carried_until(ctx: &Context, log: &LogId, state: &LogState, until: i64) -> Option<i64> {
    let now = ctx.now.time.0 as i64;
    let delivered = state.max_delivered();
    let is_author_linked = ctx.stream_by_peer.contains_key(&log.author);
    match &state.range {
        Some(range) if delivered >= range.high => {
            is_author_linked.then_some(now + CARRY_DURATION_MS)
        }
        Some(_) if now < until => Some(until),
        None if now < until => None,
        _ => (now < until + CARRY_DURATION_MS).then_some(until),
    }
}
