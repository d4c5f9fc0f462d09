//! Congestion: nobody who is linked takes more of the lines that we publish. Who pours a file in
//! waits then, as at a full pipe, because lines that are published meanwhile must be read again
//! from the store, for each link.
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::link::Link;
use crate::node::replication::engine::Replication;

/// How long to wait for recipients that read nothing, in milliseconds. They then get the lines
/// from the store, so that one who has stopped holds up nobody.
const CONGESTION_MAX_MS: u64 = 1_000;

impl Replication {
    /// Until when to publish nothing more to the target of the latest batch, unless a socket
    /// accepts bytes before. `None`: a recipient takes lines, nobody reads them, or none is linked.
    pub fn congested_until(&self, ctx: &Context, now: Time) -> Option<Time> {
        let target = self.last_target.as_ref()?;
        let recipients = ctx.links.values().filter(|link| link.receives(target));
        let blocked_at = |link: &Link| link.is_blocked.then_some(link.blocked_at);
        // Nobody blocks a socket at the time 0.
        let last = recipients
            .map(blocked_at)
            .try_fold(Time::default(), |last, at| Some(at?.max(last)))?;
        let until = last + CONGESTION_MAX_MS;
        (last > Time::default() && until > now).then_some(until)
    }
}
