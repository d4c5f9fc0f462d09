//! Congestion: nobody who is linked takes more of the lines that we publish. Lines that are
//! published meanwhile must be read again from the store, for each link.
use crate::node::context::Context;
use crate::node::replication::engine::Replication;

impl Replication {
    /// Whether recipients of the batch that we published last are linked, and none of their sockets
    /// accepts more bytes.
    pub fn is_congested(&self, ctx: &Context) -> bool {
        let Some(target) = &self.last_target else {
            return false;
        };
        let recipients = ctx.links.values().filter(|link| link.receives(target));
        let mut recipients = recipients.peekable();
        recipients.peek().is_some() && recipients.all(|link| link.is_blocked)
    }
}
