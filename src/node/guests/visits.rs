//! What all networks show of their guests.
use crate::base::error_code::ErrorCode;
use crate::base::event::notice::Notice;
use crate::base::guests::guest::GuestId;
use crate::base::guests::guest_event::GuestEvent;
use crate::node::context::Context;

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

/// Tells our user that a line for a guest was not sent.
pub fn report_unsent(ctx: &mut Context, id: GuestId) {
    let why = match ctx.guests.get(id) {
        Some(guest) => format!("there is no way to {}", guest.name()),
        None => "its guest is gone".to_owned(),
    };
    ctx.notify(Notice::Error {
        code: ErrorCode::Target,
        content: format!("a line was not sent: {why}"),
    });
}

/// Shows a sentence about a guest. `content`: its end.
pub fn remark(ctx: &mut Context, id: GuestId, content: String) {
    if let Some(guest) = ctx.guests.get(id) {
        let room = guest.network.room();
        let notice = guest.notice(ctx.now.wall, GuestEvent::Remark { room, content });
        ctx.notify(notice);
    }
}
