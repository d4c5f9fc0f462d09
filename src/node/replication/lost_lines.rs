//! Handles lines that the store has lost, because the disk damaged them. They are missing again:
//! they become a gap, and are requested from any peer that stores them.
use crate::base::event::notice::Notice;
use crate::base::event::peer::Peer;
use crate::base::range::{LostLines, Removal};
use crate::node::context::Context;
use crate::node::membership::known_peers::KnownPeers;
use crate::node::replication::carrying::carriers::is_for_us;
use crate::node::replication::engine::Replication;
use crate::node::replication::logs::table::Logs;

impl Replication {
    /// Removes lost lines from their log, and notifies the user. Requests the lines again. If the
    /// head of our present log is lost, our next lines get a new incarnation, because the numbers
    /// of the lost lines are in use.
    pub fn handle_lost(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        known_peers: &KnownPeers,
        lost: &LostLines,
    ) {
        let log = &lost.log;
        let state = logs.state_mut(log);
        let Some(range) = state.and_then(|state| state.range_mut()) else {
            return;
        };
        let high = range.high;
        match range.remove(lost) {
            Removal::Nothing => return,
            Removal::Part => {}
            Removal::All => logs.forget_lines(log),
        }
        if logs.high(log) < high {
            if lost.was_printed {
                let state = logs.get_or_create(&ctx.own_id(), log);
                state.printed_up_to = state.printed_up_to.max(*lost.lines.end());
            }
            if logs.is_current(ctx, log) {
                logs.renew_incarnation(ctx);
            }
            // The source believes that we have the lines. A new offer begins a new request.
            self.cancel_requests(log, None);
            self.gaps.schedule_full_query();
        } else {
            self.gaps.schedule_query();
        }
        if is_for_us(ctx, &log.target) {
            let author = match known_peers.nick_of(&log.author) {
                Some(nick) if log.author != ctx.own_id() => Peer {
                    id: log.author,
                    nick: nick.clone(),
                },
                _ => ctx.display_peer(&log.author),
            };
            ctx.notify(Notice::Gap {
                target: log.target.clone(),
                author,
                incarnation: log.incarnation,
                from: *lost.lines.start(),
                to: *lost.lines.end(),
                at: ctx.now.wall,
            });
        }
    }
}
