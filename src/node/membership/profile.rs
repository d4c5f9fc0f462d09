//! Our own name, and when it last changed.
use crate::base::event::notice::Notice;
use crate::base::event::stream_id::StreamId;
use crate::base::name::{Nick, Room};
use crate::base::time::Time;
use crate::node::context::Context;
use crate::wire::message::Message;

/// Sends changes of our name to the linked peers.
#[derive(Default)]
pub struct Profile {
    last_renamed: Time,
}

impl Profile {
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

    /// Sends our name on a new link, if the name may have changed after the hello was sent.
    pub fn link_up(&self, ctx: &mut Context, stream: StreamId) {
        let link = ctx.links.get(&stream);
        if link.is_some_and(|link| link.has_missed_change(self.last_renamed)) {
            let username = ctx.nick.to_string();
            ctx.send(stream, &Message::Profile { username });
        }
    }
}
