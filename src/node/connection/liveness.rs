//! Links that stand: what they say, how they stay alive, and how they end.

use crate::base::event::{Output, Peer, StreamId};
use crate::base::identity::PeerId;
use crate::base::table::{Set, Table};
use crate::base::time::Time;
use crate::node::context::Hub;
use crate::wire::frame::{Frame, Kind};
use crate::wire::message::Message;

/// Silence after which a link is pinged, in milliseconds.
pub const PING_AFTER: u64 = 18_000;
/// Time for the answer. Both together stay below the 30 s after which a frozen peer must be shown gone.
pub const PONG_WITHIN: u64 = 10_000;

/// What became of links, for the features.
pub enum Event {
    Up(StreamId),
    /// Another peer than the user named answered a dial.
    Other(StreamId, Peer),
    Message(StreamId, Message),
    Batch(StreamId, Vec<u8>),
    /// A link ended. `replaced`: by another one to the same run.
    Down {
        stream: StreamId,
        peer: Peer,
        since: Time,
        /// Whom it reached.
        reached: Set<PeerId>,
        replaced: bool,
    },
    /// A dial or its handshake came to nothing. `own`: it reached ourselves.
    Failed {
        stream: StreamId,
        own: bool,
    },
}

/// Bytes of a link.
pub fn bytes(hub: &mut Hub, stream: StreamId, bytes: &[u8], events: &mut Vec<Event>) {
    let now = hub.now.time;
    let Some(link) = hub.links.get_mut(&stream) else {
        return;
    };
    link.heard = now;
    let mut frames = Vec::new();
    let mut fits = true;
    let reader = &mut link.frames;
    let opened = link.session.open(bytes, &mut hub.scratch, |plain| {
        fits &= reader.feed(plain, &mut frames).is_ok()
    });
    deliver(stream, frames, events);
    if opened.is_err() || !fits {
        hub.counters.broken_links += 1;
        close(hub, stream, "broken", events);
    }
}

/// Frames of a link, as events.
pub fn deliver(stream: StreamId, frames: Vec<Frame>, events: &mut Vec<Event>) {
    for frame in frames {
        match frame.kind {
            Kind::Batch => events.push(Event::Batch(stream, frame.payload)),
            Kind::Message => events.push(Event::Message(
                stream,
                Message::parse(&frame.payload).unwrap_or(Message::Unknown),
            )),
        }
    }
}

/// The other side, or the network, ended a stream.
pub fn closed(hub: &mut Hub, stream: StreamId, events: &mut Vec<Event>) {
    remove(hub, stream, false, events);
}

/// The peer said that the link ends. `replaced`: because another one to it is to stay.
pub fn ended(hub: &mut Hub, stream: StreamId, replaced: bool, events: &mut Vec<Event>) {
    if hub.links.contains_key(&stream) {
        hub.put(Output::Close { stream });
        remove(hub, stream, replaced, events);
    }
}

/// Ends a link with a word of why.
pub fn close(hub: &mut Hub, stream: StreamId, reason: &str, events: &mut Vec<Event>) {
    down(hub, stream, reason, false, events);
}

/// Ends a link with a word of why. `replaced`: because another one to the same run is to stay.
pub fn down(
    hub: &mut Hub,
    stream: StreamId,
    reason: &str,
    replaced: bool,
    events: &mut Vec<Event>,
) {
    if hub.links.contains_key(&stream) {
        hub.send(
            stream,
            &Message::Bye {
                reason: reason.into(),
            },
        );
        hub.flush();
        hub.put(Output::Close { stream });
        remove(hub, stream, replaced, events);
    }
}

fn remove(hub: &mut Hub, stream: StreamId, replaced: bool, events: &mut Vec<Event>) {
    let Some(link) = hub.links.remove(&stream) else {
        return;
    };
    hub.linked.remove(&link.peer.id);
    events.push(Event::Down {
        stream,
        peer: link.peer,
        since: link.since,
        reached: link.reach.values().flat_map(Table::keys).copied().collect(),
        replaced,
    });
}

/// Asks for a sign of life, unless an answer is still awaited.
pub fn ping(hub: &mut Hub, stream: StreamId) {
    let awaited = hub.links.get(&stream).is_some_and(|l| l.ping.is_some());
    if !awaited {
        ping_anew(hub, stream);
    }
}

/// Asks for a sign of life from now on: the answer to an earlier ping may be that of one who has died since.
pub fn ping_anew(hub: &mut Hub, stream: StreamId) {
    let nonce = hub.random() >> 11;
    let now = hub.now.time;
    if let Some(link) = hub.links.get_mut(&stream) {
        link.ping = Some((nonce, now));
        hub.send(stream, &Message::Ping { nonce });
    }
}

/// The answer to a ping.
pub fn pong(hub: &mut Hub, stream: StreamId, nonce: u64) {
    let now = hub.now.time;
    let Some(link) = hub.links.get_mut(&stream) else {
        return;
    };
    if let Some((sent, at)) = link.ping
        && sent == nonce
    {
        link.ping = None;
        link.rtt = Some(now.since(at));
    }
}

/// A sign of life that came past the link: a beacon of the same run.
pub fn sign_of_life(hub: &mut Hub, peer: &PeerId, run: u64) {
    let now = hub.now.time;
    if let Some(stream) = hub.linked.get(peer)
        && let Some(link) = hub.links.get_mut(stream)
        && link.run == run
    {
        link.heard = now;
    }
}

/// Pings those that have been silent, and ends those that still are.
pub fn wake(hub: &mut Hub, events: &mut Vec<Event>) {
    let now = hub.now.time;
    let mut silent = Vec::new();
    let mut dead = Vec::new();
    for (stream, link) in &hub.links {
        match link.ping {
            Some((_, at)) if at.max(link.heard) + PONG_WITHIN <= now => dead.push(*stream),
            None if link.heard + PING_AFTER <= now => silent.push(*stream),
            _ if link.overflows() => dead.push(*stream),
            _ => {}
        }
    }
    for stream in silent {
        ping(hub, stream);
    }
    for stream in dead {
        close(hub, stream, "silent", events);
    }
}

/// When to ping or end a link.
pub fn deadline(hub: &Hub) -> Option<Time> {
    let deadlines = hub.links.values().map(|link| match link.ping {
        Some((_, at)) => at.max(link.heard) + PONG_WITHIN,
        None => link.heard + PING_AFTER,
    });
    deadlines.min()
}

/// Goodbye to everybody.
pub fn leave(hub: &mut Hub, events: &mut Vec<Event>) {
    for stream in hub.links.keys().copied().collect::<Vec<_>>() {
        close(hub, stream, "leave", events);
    }
}
