//! Finds the recipient of a direct message. Resolves a name to a key, at once or when a peer with
//! that name comes.
use crate::base::error_code::{ErrorCode, Refusal};
use crate::base::event::notice::{Notice, ResolvedRecipient};
use crate::base::event::peer::Peer;
use crate::base::name::PeerSelector;
use crate::base::text::bound_name::bound_name_warning;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::guest_table::Guest;
use crate::node::membership::known_peers::{KnownPeers, ResolvedPeer, ambiguity_message};
use crate::node::timer::{Deadlines, Timer};

/// Maximum time to wait for further peers that match a selector, in milliseconds. A command with a
/// short time-out waits for half of its time-out instead. After the wait, a single matching peer is
/// accepted.
const RESOLVE_WAIT_MAX_MS: u64 = 1_000;

const UNKNOWN_NAME: &str = "nobody known by that name; `p2pchat peers` lists who is there";

const BANNED_KEY: &str = "you banned that key; `p2pchat trust unban` lifts the ban";

/// Maximum number of queries that wait for an answer. A further query drops the oldest query. The
/// bound exceeds the number of attached clients, and each client needs only its latest query.
const QUERIES_MAX: usize = 64;

/// A selector that is not resolved yet.
struct PendingResolution {
    selector: PeerSelector,
    /// The number that the answer contains.
    request_id: u64,
    started_at: Time,
    timeout_ms: u64,
}

impl PendingResolution {
    /// How long to wait for further matching peers, in milliseconds. After the wait, the selector
    /// is decided if any peer matches.
    fn settle_ms(&self) -> u64 {
        RESOLVE_WAIT_MAX_MS.min(self.timeout_ms / 2)
    }
}

/// Queries whose selector, such as `@bob`, is not resolved yet.
#[derive(Default)]
pub struct NameResolution {
    pending: Vec<PendingResolution>,
    /// A selector is to be decided because time has passed, once the arrivals are handled.
    is_decision_due: bool,
}

impl NameResolution {
    /// Keeps a query until its selector is resolved, as
    /// [`Command::Resolve`](crate::base::event::command::Command::Resolve) describes.
    pub fn resolve(
        &mut self,
        ctx: &mut Context,
        request_id: u64,
        selector: PeerSelector,
        timeout_ms: u64,
    ) {
        ctx.last_progress = ctx.now.time;
        ctx.guests.seek(&selector, ctx.now.time);
        if self.pending.len() >= QUERIES_MAX {
            self.pending.remove(0);
        }
        self.pending.push(PendingResolution {
            selector,
            request_id,
            started_at: ctx.now.time,
            timeout_ms,
        });
    }

    /// Whether any selector is undecided.
    pub fn is_searching(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Decides each selector that can be decided now, and answers its query. If a selector means
    /// one peer, binds the name of this peer to its key. `is_expecting_link` means that a further
    /// peer is likely to be linked soon.
    ///
    /// Only a turn of `Input::Timeout`, `is_timeout`, decides a selector because time has passed.
    /// In a program that runs late, the peer that a selector means may be among the arrivals of
    /// other turns.
    pub fn end_turn(
        &mut self,
        ctx: &mut Context,
        known_peers: &mut KnownPeers,
        is_expecting_link: bool,
        is_timeout: bool,
    ) {
        self.is_decision_due = false;
        let present = ctx.reachable_peers();
        for pending in std::mem::take(&mut self.pending) {
            let waited = ctx.now.time.ms_since(pending.started_at);
            if pending.selector.guest_name().is_some() {
                self.decide_guest(ctx, pending, waited, is_timeout);
                continue;
            }
            let is_complete = !is_expecting_link && ctx.is_quiet();
            let resolved = known_peers.resolve_recipient(&pending.selector, &present);
            let is_present = |peer: &Peer| present.iter().any(|other| other.id == peer.id);
            let has_settled = waited >= pending.settle_ms();
            let is_due = match &resolved {
                _ if waited >= pending.timeout_ms => true,
                ResolvedPeer::NotFound => false,
                ResolvedPeer::Unique(peer) if !is_present(peer) => has_settled,
                _ => is_complete || has_settled,
            };
            let is_key =
                matches!(resolved, ResolvedPeer::Unique(_)) && pending.selector.full_id().is_some();
            let needs_no_time = is_key || pending.timeout_ms == 0;
            let is_decided = needs_no_time || is_due && is_timeout;
            if !is_decided {
                self.is_decision_due |= is_due;
                self.pending.push(pending);
                continue;
            }
            let refuse = |code, why| {
                Err(Refusal {
                    code,
                    content: format!("not sent to {}: {why}", pending.selector),
                })
            };
            let is_you = || refuse(ErrorCode::Target, "that is you".to_owned());
            let result = match resolved {
                ResolvedPeer::Unique(peer) if peer.id == ctx.own_id() => is_you(),
                ResolvedPeer::Unique(peer) if ctx.acquaintances.is_banned(&peer.id) => {
                    refuse(ErrorCode::Target, BANNED_KEY.to_owned())
                }
                ResolvedPeer::Unique(peer) => {
                    known_peers.bind(ctx, &peer);
                    let is_absent = !is_present(&peer);
                    Ok(ResolvedRecipient::Peer(peer, is_absent))
                }
                ResolvedPeer::NotFound if pending.selector.matches(&ctx.nick, &ctx.own_id()) => {
                    is_you()
                }
                ResolvedPeer::NotFound => refuse(ErrorCode::Target, UNKNOWN_NAME.to_owned()),
                ResolvedPeer::Ambiguous(peers) => {
                    refuse(ErrorCode::Target, ambiguity_message(&peers))
                }
                ResolvedPeer::KeyMismatch { peer, bound } => {
                    refuse(ErrorCode::WrongKey, bound_name_warning(&peer, &bound))
                }
            };
            let request_id = pending.request_id;
            ctx.notify(Notice::Resolved { request_id, result });
        }
    }

    /// Decides the selector of a guest if that can be decided now, as [`NameResolution::end_turn`]
    /// does for peers.
    fn decide_guest(
        &mut self,
        ctx: &mut Context,
        pending: PendingResolution,
        waited: u64,
        is_timeout: bool,
    ) {
        let found = resolve_guest(ctx, &pending.selector);
        // Another guest of that name may answer our first discovery as well.
        let is_early = ctx.guests.expected_until(pending.started_at).is_some();
        let has_settled =
            ctx.guests.expected_until(ctx.now.time).is_none() || waited >= pending.timeout_ms / 2;
        let is_due = waited >= pending.timeout_ms || found.is_some() && has_settled;
        let needs_no_time = pending.timeout_ms == 0
            || found
                .as_ref()
                .is_some_and(|found| found.is_err() || !is_early);
        if !(needs_no_time || is_due && is_timeout) {
            self.is_decision_due |= is_due;
            self.pending.push(pending);
            return;
        }
        let found = found.unwrap_or_else(|| Err(UNKNOWN_NAME.to_owned()));
        let (request_id, selector) = (pending.request_id, &pending.selector);
        let result = found.map_err(|why| Refusal {
            code: ErrorCode::Target,
            content: format!("not sent to {selector}: {why}"),
        });
        ctx.notify(Notice::Resolved { request_id, result });
    }

    /// Adds the times at which a selector may be decided.
    pub fn state_deadlines(&self, ctx: &Context, deadlines: &mut Deadlines) {
        if self.is_decision_due {
            deadlines.add(Timer::ResolveName, ctx.now.time);
        }
        for pending in &self.pending {
            let started_at = pending.started_at;
            let times = [
                Some(started_at + pending.settle_ms()),
                Some(started_at + pending.timeout_ms / 2),
                Some(started_at + pending.timeout_ms),
                Some(ctx.quiet_at()),
                ctx.guests.expected_until(ctx.now.time),
            ];
            for at in times.into_iter().flatten() {
                if at > ctx.now.time {
                    deadlines.add(Timer::ResolveName, at);
                }
            }
        }
    }
}

/// The guest that a selector means, or why it means none of several. `None`: nobody bears the name.
fn resolve_guest(
    ctx: &Context,
    selector: &PeerSelector,
) -> Option<Result<ResolvedRecipient, String>> {
    match &ctx.guests.select(selector)[..] {
        [] => None,
        [guest] => Some(Ok(ResolvedRecipient::Guest(guest.id))),
        guests => {
            let name = |guest: &Guest| {
                let of_host = guests
                    .iter()
                    .filter(|g| g.address.ip() == guest.address.ip());
                match of_host.count() {
                    1 => format!("@{}@{}", guest.name(), guest.address.ip()),
                    _ => format!("@{}@{}", guest.name(), guest.address),
                }
            };
            let names: Vec<String> = guests.iter().map(|guest| name(guest)).collect();
            Some(Err(format!("could be {}", names.join(" or "))))
        }
    }
}
