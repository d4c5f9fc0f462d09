//! The `have` message: advertises which lines of which logs this peer stores. An entry of the
//! receiver's own log is a cumulative acknowledgement (as in TCP), any other entry is an offer.
use crate::base::event::StreamId;
use crate::base::identity::{Hash, PeerId};
use crate::base::name::{Room, Target};
use crate::base::range::LogRange;
use crate::node::context::Context;
use crate::node::replication::logs::Logs;
use crate::wire::message::{Have, HaveEntry, Message, format_incarnation};

/// Domain prefix of the digest over third-party heads.
const DIGEST_PREFIX: &[u8] = b"p2pchat heads\0";
/// Hex digits of the digest that travel.
const DIGEST_CHARS: usize = 32;

/// An entry that advertises a stored range. `run_start`: for an own log, the first line of this
/// run; 0 otherwise.
pub fn have_entry(range: &LogRange, run_start: u64) -> HaveEntry {
    HaveEntry {
        sender: range.log.author,
        incarnation: format_incarnation(range.log.incarnation),
        low: range.low,
        high: range.high,
        hash: range.hash,
        start: run_start,
        age: 0,
        read: 0,
        holder: None,
        signature: None,
    }
}

/// Sends one `have` message. `digest` and `is_initial`: as in [`Have`].
pub fn send_have(
    ctx: &mut Context,
    stream: StreamId,
    target: &Target,
    logs: Vec<HaveEntry>,
    digest: Option<String>,
    is_initial: bool,
) {
    let have = Have {
        target: target.to_string(),
        logs,
        digest,
        before: is_initial,
    };
    ctx.send(stream, &Message::Have(have));
}

/// A digest that equals no other: makes the peer offer every log that it stores for the target.
pub fn unequal_digest() -> String {
    String::new()
}

/// Answers a `want` that the store cannot serve: offers the lines from `low` on, which it can.
pub fn correct_offer(ctx: &mut Context, logs: &Logs, stream: StreamId, range: &LogRange, low: u64) {
    let entry = HaveEntry {
        low,
        ..have_entry(range, logs.run_start(&range.log).unwrap_or(0))
    };
    send_have(ctx, stream, &range.log.target, vec![entry], None, false);
}

/// The target named in a `have` or `want`: any peer, or a room shared with this link.
pub fn parse_shared_target(ctx: &Context, stream: StreamId, target: &str) -> Option<Target> {
    let target = Target::parse(target)?;
    let link = ctx.links.get(&stream)?;
    (target.recipient().is_some() || link.is_recipient_of(&target)).then_some(target)
}

/// The stored ranges of a room whose authors are neither we nor `peer`.
pub fn third_party_ranges<'a>(
    ctx: &'a Context,
    logs: &'a Logs,
    room: &'a Room,
    peer: &'a PeerId,
) -> impl Iterator<Item = &'a LogRange> {
    let of_room = logs.ranges_of_room(room);
    of_room.filter(move |range| range.log.author != ctx.own_id() && range.log.author != *peer)
}

/// A digest over the heads of [`third_party_ranges`]. Two peers with equal digests store the same
/// third-party lines, so that neither has to list them.
pub fn third_party_digest(ctx: &Context, logs: &Logs, room: &Room, peer: &PeerId) -> String {
    let mut heads = Vec::new();
    for range in third_party_ranges(ctx, logs, room, peer) {
        heads.extend_from_slice(&range.log.author.0);
        heads.extend_from_slice(&range.log.incarnation.to_be_bytes());
        heads.extend_from_slice(&range.high.to_be_bytes());
        heads.extend_from_slice(&range.hash.0);
    }
    let mut digest = Hash::of(&[DIGEST_PREFIX, &heads]).to_string();
    digest.truncate(DIGEST_CHARS);
    digest
}
