//! Finds the recipient of a direct message. Resolves a name to a key, at once or when a peer with
//! that name comes.
use crate::base::error_code::{ErrorCode, Refusal};
use crate::base::event::{Notice, Peer};
use crate::base::identity::PeerId;
use crate::base::lines::Lines;
use crate::base::name::PeerSelector;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::membership::known_peers::{
    KnownPeers, ResolvedPeer, ambiguity_message, key_mismatch_message,
};
use crate::node::timer::{Deadlines, Timer};

/// Maximum time to wait for further peers that match a selector, in milliseconds. A command with a
/// short time-out waits for half of its time-out instead. After the wait, a single matching peer is
/// accepted.
const RESOLVE_WAIT_MAX_MS: u64 = 1_000;

const UNKNOWN_NAME: &str = "nobody known by that name; `p2pchat peers` lists who is there";

/// Maximum number of queries that wait for an answer. A further query drops the oldest query. The
/// bound exceeds the number of attached clients, and each client needs only its latest query.
const QUERIES_MAX: usize = 64;

/// What to do once the recipient is known.
enum OnResolved {
    /// Publish these lines to the recipient.
    Send { lines: Lines, is_action: bool },
    /// Answer the command [`Command::Resolve`](crate::base::event::Command::Resolve).
    Reply { request_id: u64 },
}

/// A selector that is not resolved yet.
struct PendingResolution {
    selector: PeerSelector,
    on_resolved: OnResolved,
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

/// Direct lines whose recipient is known.
pub struct ResolvedMessage {
    /// The recipient's key.
    pub recipient: PeerId,
    /// The lines to publish.
    pub lines: Lines,
    /// The lines are an action, as typed with `/me`.
    pub is_action: bool,
}

/// Commands whose selector, such as `@bob`, is not resolved yet.
#[derive(Default)]
pub struct NameResolution {
    pending: Vec<PendingResolution>,
}

impl NameResolution {
    /// Keeps lines until their recipient is resolved, as
    /// [`Command::SendToPeer`](crate::base::event::Command::SendToPeer) describes.
    pub fn resolve_and_send(
        &mut self,
        ctx: &Context,
        selector: PeerSelector,
        lines: Lines,
        is_action: bool,
        timeout_ms: u64,
    ) {
        let on_resolved = OnResolved::Send { lines, is_action };
        self.enqueue(ctx, selector, on_resolved, timeout_ms);
    }

    /// Keeps a query until its selector is resolved, as
    /// [`Command::Resolve`](crate::base::event::Command::Resolve) describes.
    pub fn resolve(
        &mut self,
        ctx: &Context,
        request_id: u64,
        selector: PeerSelector,
        timeout_ms: u64,
    ) {
        let is_query =
            |pending: &PendingResolution| matches!(pending.on_resolved, OnResolved::Reply { .. });
        let queries = self.pending.iter().filter(|pending| is_query(pending));
        if queries.count() >= QUERIES_MAX
            && let Some(oldest) = self.pending.iter().position(is_query)
        {
            self.pending.remove(oldest);
        }
        self.enqueue(ctx, selector, OnResolved::Reply { request_id }, timeout_ms);
    }

    fn enqueue(
        &mut self,
        ctx: &Context,
        selector: PeerSelector,
        on_resolved: OnResolved,
        timeout_ms: u64,
    ) {
        self.pending.push(PendingResolution {
            selector,
            on_resolved,
            started_at: ctx.now.time,
            timeout_ms,
        });
    }

    /// Whether the recipients of all lines are resolved. Queries may still wait.
    pub fn has_resolved_all(&self) -> bool {
        let has_lines =
            |pending: &PendingResolution| matches!(pending.on_resolved, OnResolved::Send { .. });
        !self.pending.iter().any(has_lines)
    }

    /// Decides each selector that can be decided now. If a selector means one peer, binds the name
    /// of this peer to its key. Returns the lines whose recipient is now known. Emits an error
    /// notice for refused lines, and an answer for each decided query. `is_expecting_link` means
    /// that a further peer is likely to be linked soon.
    pub fn resolve_pending(
        &mut self,
        ctx: &mut Context,
        known_peers: &mut KnownPeers,
        is_expecting_link: bool,
    ) -> Vec<ResolvedMessage> {
        let mut ready = Vec::new();
        if self.pending.is_empty() {
            return ready;
        }
        let present = ctx.reachable_peers();
        for pending in std::mem::take(&mut self.pending) {
            let waited = ctx.now.time.ms_since(pending.started_at);
            let is_complete = !is_expecting_link && ctx.is_quiet();
            let resolved = known_peers.resolve(&pending.selector, &present);
            let is_present = |peer: &Peer| present.iter().any(|other| other.id == peer.id);
            let has_settled = waited >= pending.settle_ms();
            let is_decided = match &resolved {
                _ if waited >= pending.timeout_ms => true,
                ResolvedPeer::NotFound => false,
                ResolvedPeer::Unique(_) if pending.selector.full_id().is_some() => true,
                ResolvedPeer::Unique(peer) if !is_present(peer) => has_settled,
                _ => is_complete || has_settled,
            };
            if !is_decided {
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
            let recipient = match resolved {
                ResolvedPeer::Unique(peer) if peer.id == ctx.own_id() => is_you(),
                ResolvedPeer::Unique(peer) => {
                    known_peers.bind(ctx, &peer);
                    Ok(peer.id)
                }
                ResolvedPeer::NotFound if pending.selector.matches(&ctx.nick, &ctx.own_id()) => {
                    is_you()
                }
                ResolvedPeer::NotFound => refuse(ErrorCode::Target, UNKNOWN_NAME.to_owned()),
                ResolvedPeer::Ambiguous(peers) => {
                    refuse(ErrorCode::Target, ambiguity_message(&peers))
                }
                ResolvedPeer::KeyMismatch { peer, bound } => {
                    refuse(ErrorCode::WrongKey, key_mismatch_message(&peer, &bound))
                }
            };
            match (pending.on_resolved, recipient) {
                (OnResolved::Send { lines, is_action }, Ok(recipient)) => {
                    ready.push(ResolvedMessage {
                        recipient,
                        lines,
                        is_action,
                    })
                }
                (OnResolved::Send { .. }, Err(Refusal { code, content })) => {
                    ctx.notify(Notice::Error { code, content });
                }
                (OnResolved::Reply { request_id }, result) => {
                    ctx.notify(Notice::Resolved { request_id, result })
                }
            }
        }
        ready
    }

    /// Adds the times at which a selector may be decided.
    pub fn state_deadlines(&self, ctx: &Context, deadlines: &mut Deadlines) {
        for pending in &self.pending {
            let started_at = pending.started_at;
            let times = [
                started_at + pending.settle_ms(),
                started_at + pending.timeout_ms,
                ctx.quiet_at(),
            ];
            for at in times {
                if at > ctx.now.time {
                    deadlines.add(Timer::ResolveName, at);
                }
            }
        }
    }
}
