//! To whom a direct message is said: a name becomes a key, now or when its bearer comes.

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

/// Longest time in milliseconds before lines are said to one that is known, at most half of the time that there is: another may bear its name now.
const RESOLVE_WAIT_MAX_MS: u64 = 1_000;

const UNKNOWN_NAME: &str = "nobody known by that name; `p2pchat peers` lists who is there";

/// Most questions for readers that wait: whoever asked the oldest is gone, as no more programs can ask at a time.
const QUERIES_MAX: usize = 64;

/// What is done when the reader is known.
enum OnResolved {
    /// Lines are said.
    Send { lines: Lines, action: bool },
    /// Who asked is told: see [`Command::Find`](crate::base::event::Command::Find).
    Reply { serial: u64 },
}

/// A reader who is not known yet.
struct PendingResolution {
    selector: PeerSelector,
    on_resolved: OnResolved,
    started_at: Time,
    timeout_ms: u64,
}

impl PendingResolution {
    /// Milliseconds after which a peer that fits is accepted although another may yet come.
    fn settle_ms(&self) -> u64 {
        RESOLVE_WAIT_MAX_MS.min(self.timeout_ms / 2)
    }
}

/// Lines whose recipient is known.
pub struct ResolvedMessage {
    /// To whom they go.
    pub recipient: PeerId,
    /// The lines.
    pub lines: Lines,
    /// They are an action, as of `/me`.
    pub is_action: bool,
}

#[derive(Default)]
pub struct NameResolution {
    pending: Vec<PendingResolution>,
}

impl NameResolution {
    /// `within`: see `Command::Tell`.
    pub fn resolve_and_send(
        &mut self,
        ctx: &Context,
        whom: PeerSelector,
        lines: Lines,
        action: bool,
        within: u64,
    ) {
        self.enqueue(ctx, whom, OnResolved::Send { lines, action }, within);
    }

    /// See `Command::Find`.
    pub fn resolve(&mut self, ctx: &Context, serial: u64, whom: PeerSelector, within: u64) {
        let asks =
            |pending: &PendingResolution| matches!(pending.on_resolved, OnResolved::Reply { .. });
        if self.pending.iter().filter(|pending| asks(pending)).count() >= QUERIES_MAX
            && let Some(oldest) = self.pending.iter().position(asks)
        {
            self.pending.remove(oldest);
        }
        self.enqueue(ctx, whom, OnResolved::Reply { serial }, within);
    }

    fn enqueue(&mut self, ctx: &Context, whom: PeerSelector, then: OnResolved, within: u64) {
        self.pending.push(PendingResolution {
            selector: whom,
            on_resolved: then,
            started_at: ctx.now.time,
            timeout_ms: within,
        });
    }

    /// All that was said has found its reader, or was refused.
    pub fn has_resolved_all(&self) -> bool {
        let says =
            |pending: &PendingResolution| matches!(pending.on_resolved, OnResolved::Send { .. });
        !self.pending.iter().any(says)
    }

    /// Lines whose reader is known now; its name is bound to its key from now on. `coming`: others may be linked in a moment.
    pub fn resolve_pending(
        &mut self,
        ctx: &mut Context,
        trust: &mut KnownPeers,
        coming: bool,
    ) -> Vec<ResolvedMessage> {
        let mut ready = Vec::new();
        if self.pending.is_empty() {
            return ready;
        }
        let present = ctx.reachable_peers();
        for pending in std::mem::take(&mut self.pending) {
            let waited = ctx.now.time.ms_since(pending.started_at);
            let quiet = !coming && ctx.is_quiet();
            let meant = trust.resolve(&pending.selector, &present);
            let here = |peer: &Peer| present.iter().any(|other| other.id == peer.id);
            let look = pending.settle_ms();
            let decided = match &meant {
                _ if waited >= pending.timeout_ms => true,
                ResolvedPeer::NotFound => false,
                ResolvedPeer::Unique(_) if pending.selector.full_id().is_some() => true,
                ResolvedPeer::Unique(peer) if !here(peer) => waited >= look,
                _ => quiet || waited >= look,
            };
            if !decided {
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
            let reader = match meant {
                ResolvedPeer::Unique(peer) if peer.id == ctx.own_id() => is_you(),
                ResolvedPeer::Unique(peer) => {
                    trust.bind(ctx, &peer);
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
            match (pending.on_resolved, reader) {
                (OnResolved::Send { lines, action }, Ok(reader)) => ready.push(ResolvedMessage {
                    recipient: reader,
                    lines,
                    is_action: action,
                }),
                (OnResolved::Send { .. }, Err(Refusal { code, content })) => {
                    ctx.notify(Notice::Error { code, content });
                }
                (OnResolved::Reply { serial }, reader) => ctx.notify(Notice::Resolved {
                    request_id: serial,
                    result: reader,
                }),
            }
        }
        ready
    }

    /// States when each name may be decided.
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
