//! The `have` message: advertises which lines of which logs the sender stores. An entry about the
//! receiver's own log is a cumulative acknowledgement, as in TCP. The acknowledgement covers the
//! lines from `complete_from` on. Most other entries are offers. `ingest_have` lists all kinds.
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::{Room, Target};
use crate::base::range::LogRange;
use crate::node::context::Context;
use crate::node::replication::logs::table::Logs;
use crate::wire::message::{Have, HaveEntry, Message, format_incarnation, heads_digest};

/// The entry that advertises this stored range. If the store has evicted all lines of the log, the
/// entry names the last evicted line, to acknowledge the lines.
pub fn have_entry(range: &LogRange) -> HaveEntry {
    HaveEntry {
        sender: range.log.author,
        incarnation: format_incarnation(range.log.incarnation),
        low: range.low.min(range.high),
        high: range.high,
        hash: range.hash,
        complete_from: range.complete_from(),
        read: 0,
        holder: None,
        signature: None,
    }
}

/// The entry that offers a log that we wrote. Names all stored lines: those below a gap, too, which
/// only the disk can leave in our log. A request for missing lines is corrected.
pub fn own_entry(range: &LogRange) -> HaveEntry {
    let entry = have_entry(range);
    let lowest = range.stored_from(1).map(|lines| *lines.start());
    HaveEntry {
        low: lowest.unwrap_or(entry.low),
        ..entry
    }
}

/// Sends one `have` message. `digest`: see [`Have::digest`].
pub fn send_have(
    ctx: &mut Context,
    stream: StreamId,
    target: &Target,
    logs: Vec<HaveEntry>,
    digest: Option<String>,
) {
    let have = Have {
        target: target.to_string(),
        logs,
        digest,
    };
    ctx.send(stream, &Message::Have(have));
}

/// A digest that no peer ever computes. A peer that receives it offers all logs of the room.
pub fn unequal_digest() -> String {
    String::new()
}

/// Offers a log to a peer that requested lines which we do not store. `low`: the first line that we
/// store. If the store has evicted all lines, `low` is the line after the last evicted one.
pub fn correct_offer(ctx: &mut Context, stream: StreamId, range: &LogRange, low: u64) {
    let entry = HaveEntry {
        low,
        ..have_entry(range)
    };
    send_have(ctx, stream, &range.log.target, vec![entry], None);
}

/// Parses the target of a `have` or `want`. `None`: the target is malformed, or is a room that this
/// link does not share.
pub fn parse_shared_target(ctx: &Context, stream: StreamId, target: &str) -> Option<Target> {
    let target = Target::parse(target)?;
    let link = ctx.links.get(&stream)?;
    (target.recipient().is_some() || link.is_recipient_of(&target)).then_some(target)
}

/// Whether neither we nor the peer `peer` wrote the log of this range.
pub fn is_third_party(ctx: &Context, range: &LogRange, peer: &PeerId) -> bool {
    range.log.author != ctx.own_id() && range.log.author != *peer
}

/// A digest over the heads of a room's logs that neither we nor the peer `peer` wrote. Two peers
/// with equal digests store the same lines of these logs, so neither peer lists the logs.
pub fn third_party_digest(ctx: &Context, logs: &Logs, room: &Room, peer: &PeerId) -> String {
    let of_room = logs.ranges_of_room(room);
    heads_digest(of_room.filter(|range| is_third_party(ctx, range, peer)))
}
