//! Who gets what was said to one reader: the reader, if it is linked, else carriers, who cannot read it.
//!
//! A direct log travels as a room's does: what one has is offered, what one lacks is asked for. Only the reader's own word is a receipt.
use crate::base::batch::LogId;
use crate::base::event::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::Target;
use crate::base::range::LogRange;
use crate::node::context::Context;
use crate::node::link::Link;
use crate::node::replication::delivery::DeliveryTracker;
use crate::node::replication::logs::Logs;

/// Peers that carry a log whose reader is not linked.
const CARRIERS_PER_LOG_MAX: usize = 3;
/// Most lines carried for one reader.
pub const CARRIED_LINES_PER_READER_MAX: u64 = 1000;
/// Most lines carried in all.
const CARRIED_LINES_MAX: u64 = 20_000;
/// Most logs of which something is carried.
const CARRIED_LOGS_MAX: usize = 1024;

/// The linked peers that carry for this reader, those whose ids follow its own: all authors would choose the same, so that few boxes hold
/// much and the reader finds it soon.
fn select_carriers(ctx: &Context, reader: &PeerId) -> Vec<StreamId> {
    let behind = ctx.stream_by_peer.iter().filter(|(id, _)| *id > reader);
    let mut carriers = Vec::new();
    for (_, stream) in behind.chain(ctx.stream_by_peer.iter()) {
        let stays = ctx.links.get(stream).is_some_and(|link| !link.transient);
        if stays && carriers.len() < CARRIERS_PER_LOG_MAX && !carriers.contains(stream) {
            carriers.push(*stream);
        }
    }
    carriers
}

/// The links to which this log goes: a room's to all who share it, a direct one to its reader, or from its author to carriers.
pub fn recipients(ctx: &Context, log: &LogId) -> Vec<StreamId> {
    match &log.target {
        Target::Room(room) => ctx.links_in_room(room).map(|(stream, _)| stream).collect(),
        Target::Peer(reader) => match ctx.stream_by_peer.get(reader) {
            Some(stream) => vec![*stream],
            None if log.author == ctx.own_id() => select_carriers(ctx, reader),
            None => Vec::new(),
        },
    }
}

/// Its reader, as long as that is not linked and was not seen to hold all of it.
pub fn needs_carriers(ctx: &Context, receipts: &DeliveryTracker, range: &LogRange) -> bool {
    let reader = range.log.target.recipient();
    reader.is_some_and(|reader| {
        !ctx.stream_by_peer.contains_key(&reader)
            && receipts.acked_up_to(&reader, &range.log) < range.high
    })
}

/// May this log come over this link? A direct one that is for us may come from everybody; one to be carried from its author alone.
pub fn can_receive_over(
    ctx: &Context,
    logs: &Logs,
    receipts: &DeliveryTracker,
    link: &Link,
    log: &LogId,
) -> bool {
    match log.target {
        Target::Room(_) => link.is_recipient_of(&log.target),
        Target::Peer(reader) if reader == ctx.own_id() => log.author != reader,
        Target::Peer(reader) => {
            log.author == link.peer.id
                && !ctx.transient
                && can_carry(ctx, logs, receipts, log, reader)
        }
    }
}

/// May more of this log be carried?
fn can_carry(
    ctx: &Context,
    logs: &Logs,
    receipts: &DeliveryTracker,
    log: &LogId,
    reader: PeerId,
) -> bool {
    let own = ctx.own_id();
    let (mut of_reader, mut all, mut count) = (0, 0, 0);
    for range in logs.direct_ranges().filter(|range| range.log.author != own) {
        let Some(to) = range.log.target.recipient().filter(|to| *to != own) else {
            continue;
        };
        let from = range.low.max(receipts.acked_up_to(&to, &range.log) + 1);
        let lines = (range.high + 1).saturating_sub(from);
        of_reader += if to == reader { lines } else { 0 };
        all += lines;
        count += usize::from(lines > 0);
    }
    let known = logs.get(log).is_some() || count < CARRIED_LOGS_MAX;
    known && of_reader < CARRIED_LINES_PER_READER_MAX && all < CARRIED_LINES_MAX
}
