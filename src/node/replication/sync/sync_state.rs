//! Tells whether we and those who are here hold all lines of each other: the answer to
//! [`Command::Sync`](crate::base::event::command::Command::Sync).
//!
//! A link is *behind* while any of this holds:
//!
//! | what | state |
//! |---|---|
//! | the peer has not told all that it holds and requests | [`Link::probes_left`] is above 0 |
//! | a log that it requested is not sent, or not acknowledged | [`SendState`] |
//! | a log of ours is offered, and neither requested nor refused yet | [`SendState::Offered`] |
//! | lines that it announced have not come | [`FetchState`] |
//! | it has offers that we ignored, because there were too many | `has_ignored_offers` |
//! | lines of a gap are on the way, in either direction | `Gaps`, `gap_send` |
//!
//! Digests have no state of their own: equal ones end the exchange, and unequal ones lead to offers
//! before the last probe is answered. Members behind a neighbour are behind until they have
//! acknowledged what this run said. A gap that nobody fills, a refused log and a fork do not
//! count. What a newcomer did not request is history, and not owed to it.
use crate::base::batch::batch::LogId;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::missing_lines::SyncState;
use crate::base::table::SortedSet;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::link::Link;
use crate::node::membership::routes::Routes;
use crate::node::replication::engine::Replication;
use crate::node::replication::logs::table::Logs;
use crate::node::replication::progress::link_progress::LinkProgress;
use crate::node::replication::progress::progress::Progress;
use crate::node::replication::progress::progress_state::{CursorState, FetchState, SendState};

/// How long a transient peer must be silent before it counts as done, at least: milliseconds for
/// which a busy box may not run a program.
const SILENCE_MIN_MS: u64 = 250;
/// The same in round trips.
const SILENT_ROUND_TRIPS: u64 = 3;
/// How many peers [`sync_state`] names.
const BEHIND_NAMED_MAX: usize = 3;

/// Whether we and those who are here hold all lines of each other. The answer changes with inputs,
/// and at [`SyncState::recheck_at`]. Complete without any link, too.
pub fn sync_state(
    ctx: &Context,
    logs: &Logs,
    replication: &Replication,
    routes: &Routes,
    is_expecting_link: bool,
) -> SyncState {
    let links = links_behind(ctx, logs, replication);
    let links = links.iter().filter_map(|stream| ctx.links.get(stream));
    let mut behind: SortedSet<PeerId> = links.map(|link| link.peer.id).collect();
    behind.extend(members_behind(ctx, logs, routes));
    let is_exchanged = behind.is_empty() && replication.can_accept() && !is_expecting_link;
    let peers = behind.iter().take(BEHIND_NAMED_MAX);
    SyncState {
        is_complete: is_exchanged && ctx.is_quiet(),
        linked_peers: ctx.links.len() as u64,
        behind_peers: behind.len() as u64,
        behind: peers.map(|peer| ctx.display_peer(peer)).collect(),
        recheck_at: (is_exchanged && !ctx.is_quiet()).then(|| ctx.quiet_at()),
    }
}

/// Until when a transient peer may still ask us something, for a `sync` of its own, whose requests
/// follow each other within a round trip. `None`: there is no such peer, or it has been silent for
/// longer.
pub fn transient_peers_until(ctx: &Context) -> Option<Time> {
    // A beacon of the peer counts as well; beacons soon thin out.
    let transient = ctx.links.values().filter(|link| link.transient);
    let until = transient.map(|link| {
        let round_trips_ms = SILENT_ROUND_TRIPS * link.rtt_ms.unwrap_or(0);
        link.last_activity + round_trips_ms.max(SILENCE_MIN_MS)
    });
    until.max().filter(|until| *until > ctx.now.time)
}

/// The members of rooms without a link that have not acknowledged what this run said there.
fn members_behind(ctx: &Context, logs: &Logs, routes: &Routes) -> Vec<PeerId> {
    let own = logs.active_logs();
    let own = own.filter_map(|(log, state)| Some((log.target.room()?, state, state.run_head()?)));
    let behind = own.flat_map(|(room, state, head)| {
        let members = routes.unlinked_members(ctx, room);
        let lacks_head = |peer: &&PeerId| state.acked_by(peer) < head;
        members
            .iter()
            .filter(lacks_head)
            .copied()
            .collect::<Vec<_>>()
    });
    behind.collect()
}

/// The links that are behind.
fn links_behind(ctx: &Context, logs: &Logs, replication: &Replication) -> SortedSet<StreamId> {
    let progress = &replication.progress;
    let is_unprobed = |(_, link): &(&StreamId, &Link)| link.probes_left > 0;
    let unprobed = ctx.links.iter().filter(is_unprobed);
    let mut behind: SortedSet<StreamId> = unprobed.map(|(stream, _)| *stream).collect();
    let records = progress.records();
    let records = records.filter(|(_, log, record)| is_record_behind(logs, log, record));
    behind.extend(records.map(|(stream, _, _)| stream));
    let is_busy = |link: &LinkProgress| link.has_ignored_offers || link.gap_send.is_some();
    let busy = progress.links().filter(|(_, link)| is_busy(link));
    behind.extend(busy.map(|(stream, _)| stream));
    behind.extend(replication.gaps.requested_over());
    behind.retain(|stream| ctx.links.contains_key(stream));
    behind
}

/// Whether lines of this log are still to be sent or received over the link of the record.
fn is_record_behind(logs: &Logs, log: &LogId, record: &Progress) -> bool {
    let is_sending = match record.send() {
        SendState::Idle => false,
        SendState::Offered(_) => true,
        SendState::Requested(cursor) => {
            cursor.state != CursorState::AtHead || !cursor.unacked.is_empty()
        }
    };
    let is_fetching = match record.fetch() {
        FetchState::Offered(offer) => offer.high > logs.high(log),
        FetchState::Requested(request) => request.is_behind(logs.high(log)),
        _ => false,
    };
    is_sending || is_fetching
}
