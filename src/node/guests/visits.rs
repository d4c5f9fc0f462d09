//! What all networks show of their guests.
use crate::base::event::notice::Notice;
use crate::base::guests::guest::{GuestId, GuestLines, GuestLinesResult};
use crate::base::guests::guest_event::GuestEvent;
use crate::node::context::Context;
use crate::node::guest_table::GuestClaim;

/// Finds the guest who makes this claim, or adds it. Records its name and, if the port is known,
/// its address. Returns `None` at the bounds.
pub fn observe(ctx: &mut Context, claim: GuestClaim<'_>) -> Option<GuestId> {
    let now = ctx.now;
    let (address, nick) = (claim.address, claim.nick.clone());
    let known = ctx.guests.find(claim.network, claim.source, claim.user);
    let known = known.map(|guest| guest.id);
    let id = match known {
        Some(id) => id,
        None => ctx.guests.insert(claim, now.time)?,
    };
    let guest = ctx.guests.get_mut(id)?;
    guest.last_heard = now.time;
    if address.port() != 0 {
        guest.address = address;
    }
    let old = std::mem::replace(&mut guest.nick, nick.clone());
    let is_new = known.is_none() || std::mem::replace(&mut guest.is_gone, false);
    if is_new {
        let joined = guest.notice(now.wall, GuestEvent::Joined(guest.network.room()));
        ctx.notify(joined);
    } else if old != nick {
        remark(ctx, id, format!("was guest/{old}"));
    }
    Some(id)
}

/// Shows a guest as gone.
pub fn end_visit(ctx: &mut Context, id: GuestId) {
    let now = ctx.now.wall;
    if let Some(guest) = ctx.guests.get_mut(id)
        && !std::mem::replace(&mut guest.is_gone, true)
    {
        let left = guest.notice(now, GuestEvent::Left(guest.network.room()));
        ctx.notify(left);
    }
}

/// Reports what became of a line for one guest. `result`: if it was lost, the end of a sentence
/// about the guest.
pub fn report_direct(
    ctx: &mut Context,
    id: GuestId,
    request_id: u64,
    result: Result<(), &'static str>,
) {
    let result = result.map_err(|why| {
        let name = ctx.guests.get(id).map(|guest| guest.name());
        format!("{} {why}", name.as_deref().unwrap_or("its guest"))
    });
    ctx.notify(Notice::SentToGuest(GuestLinesResult {
        request_id,
        lines: 1,
        result,
    }));
}

/// Reports that some lines for one guest are not sent. `why`: as [`GuestLinesResult::result`].
pub fn refuse_direct(ctx: &mut Context, request_id: u64, lines: u64, why: &str) {
    if lines > 0 {
        ctx.notify(Notice::SentToGuest(GuestLinesResult {
            request_id,
            lines,
            result: Err(why.to_owned()),
        }));
    }
}

/// Shows our user's lines for one guest as sent.
pub fn show_direct(ctx: &mut Context, direct: &GuestLines) {
    let own = ctx.own_peer();
    for line in direct.lines.iter() {
        let event = GuestEvent::Received {
            author: own.id,
            username: own.nick.clone(),
            content: line.to_owned(),
        };
        if let Some(guest) = ctx.guests.get(direct.guest) {
            let notice = guest.notice(ctx.now.wall, event);
            ctx.notify(notice);
        }
    }
}

/// Shows a sentence about a guest. `content`: its end.
pub fn remark(ctx: &mut Context, id: GuestId, content: String) {
    if let Some(guest) = ctx.guests.get(id) {
        let room = guest.network.room();
        let notice = guest.notice(ctx.now.wall, GuestEvent::Remark { room, content });
        ctx.notify(notice);
    }
}
