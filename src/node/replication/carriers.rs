//! Who gets what was said to one reader: the reader, if it is linked, else carriers, who cannot read it.
//!
//! A direct log travels as a room's does: what one has is offered, what one lacks is asked for. Only the reader's own word is a receipt.
use crate::base::batch::LogId;
use crate::base::event::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::Target;
use crate::base::range::Range;
use crate::node::context::Hub;
use crate::node::link::Link;
use crate::node::replication::delivery::Receipts;
use crate::node::replication::logs::Logs;

/// Peers that carry a log whose reader is not linked.
const CARRIERS: usize = 3;
/// Most lines carried for one reader.
pub const CARRIED_MAX: u64 = 1000;
/// Most lines carried in all.
const CARRIED_ALL: u64 = 20_000;
/// Most logs of which something is carried.
const CARRIED_LOGS: usize = 1024;

/// The linked peers that carry for this reader, those whose ids follow its own: all authors would choose the same, so that few boxes hold
/// much and the reader finds it soon.
fn carriers(hub: &Hub, reader: &PeerId) -> Vec<StreamId> {
    let behind = hub.linked.iter().filter(|(id, _)| *id > reader);
    let mut carriers = Vec::new();
    for (_, stream) in behind.chain(hub.linked.iter()) {
        let stays = hub.links.get(stream).is_some_and(|link| !link.passing);
        if stays && carriers.len() < CARRIERS && !carriers.contains(stream) {
            carriers.push(*stream);
        }
    }
    carriers
}

/// The links to which this log goes: a room's to all who share it, a direct one to its reader, or from its author to carriers.
pub fn takers(hub: &Hub, log: &LogId) -> Vec<StreamId> {
    match &log.target {
        Target::Room(room) => hub.in_room(room).map(|(stream, _)| stream).collect(),
        Target::Peer(reader) => match hub.linked.get(reader) {
            Some(stream) => vec![*stream],
            None if log.author == hub.id() => carriers(hub, reader),
            None => Vec::new(),
        },
    }
}

/// Its reader, as long as that is not linked and was not seen to hold all of it.
pub fn waits(hub: &Hub, receipts: &Receipts, range: &Range) -> bool {
    let reader = range.log.target.reader();
    reader.is_some_and(|reader| {
        !hub.linked.contains_key(&reader) && receipts.holds(&reader, &range.log) < range.high
    })
}

/// May this log come over this link? A direct one that is for us may come from everybody; one to be carried from its author alone.
pub fn may_bring(hub: &Hub, logs: &Logs, receipts: &Receipts, link: &Link, log: &LogId) -> bool {
    match log.target {
        Target::Room(_) => link.shares(&log.target),
        Target::Peer(reader) if reader == hub.id() => log.author != reader,
        Target::Peer(reader) => {
            log.author == link.peer.id
                && !hub.passing
                && has_place(hub, logs, receipts, log, reader)
        }
    }
}

/// May more of this log be carried?
fn has_place(hub: &Hub, logs: &Logs, receipts: &Receipts, log: &LogId, reader: PeerId) -> bool {
    let own = hub.id();
    let (mut of_reader, mut all, mut count) = (0, 0, 0);
    for range in logs.direct().filter(|range| range.log.author != own) {
        let Some(to) = range.log.target.reader().filter(|to| *to != own) else {
            continue;
        };
        let from = range.low.max(receipts.holds(&to, &range.log) + 1);
        let lines = (range.high + 1).saturating_sub(from);
        of_reader += if to == reader { lines } else { 0 };
        all += lines;
        count += usize::from(lines > 0);
    }
    let known = logs.get(log).is_some() || count < CARRIED_LOGS;
    known && of_reader < CARRIED_MAX && all < CARRIED_ALL
}
