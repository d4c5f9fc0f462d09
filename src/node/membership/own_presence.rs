//! Our own name and presence, and when they last changed.
use crate::base::event::notice::Notice;
use crate::base::event::stream_id::StreamId;
use crate::base::name::{Nick, Room};
use crate::base::presence::away::AwayText;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::wire::message::Message;

/// Sends changes of our name and of our presence to the linked peers.
#[derive(Default)]
pub struct OwnPresence {
    last_renamed: Time,
    away: Option<AwayText>,
    /// Whether a linked peer may believe something else than what a link without a message means:
    /// that we are not away.
    has_been_away: bool,
}

impl OwnPresence {
    /// Changes our name. Sends the new name on every link, and notifies the user in each joined
    /// room.
    pub fn set_nick(&mut self, ctx: &mut Context, nick: Nick, joined: &[Room]) {
        let old = std::mem::replace(&mut ctx.nick, nick);
        if old == ctx.nick {
            return;
        }
        self.last_renamed = ctx.now.time;
        let username = ctx.nick.to_string();
        ctx.broadcast(&Message::Profile { username });
        let (peer, at) = (ctx.own_peer(), ctx.now.wall);
        for room in joined {
            ctx.notify(Notice::Renamed {
                room: room.clone(),
                peer: peer.clone(),
                old: old.clone(),
                at,
            });
        }
    }

    /// Says that our user is away or back, on every link, and in each joined room to our user.
    pub fn set_away(&mut self, ctx: &mut Context, away: Option<AwayText>, joined: &[Room]) {
        if self.away == away {
            return;
        }
        self.away = away;
        self.has_been_away = true;
        ctx.broadcast(&self.presence());
        for room in joined {
            ctx.notify(Notice::Presence {
                room: room.clone(),
                peer: ctx.own_peer(),
                away: self.away.clone(),
                at: ctx.now.wall,
            });
        }
    }

    fn presence(&self) -> Message {
        let away = self.away.as_ref().map(|text| text.as_str().to_owned());
        Message::Presence { away }
    }

    /// Sends our name on a new link, if the name may have changed after the hello was sent. Sends
    /// our presence, unless we never were away.
    pub fn link_up(&self, ctx: &mut Context, stream: StreamId) {
        let link = ctx.links.get(&stream);
        if link.is_some_and(|link| link.has_missed_change(self.last_renamed)) {
            let username = ctx.nick.to_string();
            ctx.send(stream, &Message::Profile { username });
        }
        if self.has_been_away {
            ctx.send(stream, &self.presence());
        }
    }
}
