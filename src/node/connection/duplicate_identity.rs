//! Two running programs with one key. A hello with our own key shows that another program uses it.
//! A hello from a second run of a linked peer is deferred: the linked run is pinged, and an answer
//! shows that both runs are alive.
use std::net::SocketAddr;

use crate::base::event::{Notice, Peer, StreamId};
use crate::base::identity::PeerId;
use crate::base::table::SortedSet;
use crate::node::context::Context;
use crate::wire::channel::Channel;
use crate::wire::frame::Frame;
use crate::wire::message::Hello;

/// Milliseconds that a linked run has to answer its ping when another run of its peer connects.
pub(super) const PROBE_TIMEOUT_MS: u64 = 500;
/// Most runs reported as using our key.
const DUPLICATES_REPORTED_MAX: usize = 64;
/// Most bytes of frames kept for a deferred handshake.
const DEFERRED_MAX_BYTES: usize = 256 * 1024;

/// Another program that uses our key.
pub struct DuplicateIdentity {
    /// The run of the other program. `None` if only another peer saw the program.
    pub run: Option<u64>,
    /// Where we met the other program.
    pub address: Option<SocketAddr>,
    /// The peer that reports the other program. The report may be a lie.
    pub reported_by: Option<Peer>,
}

/// The runs reported to the user as using our key.
#[derive(Default)]
pub struct ReportedDuplicates {
    /// `None` is a run that only another peer saw.
    runs: SortedSet<Option<u64>>,
}

impl ReportedDuplicates {
    /// Notifies that another program uses our key, once for each run of that program. Returns
    /// whether the run is new.
    pub fn report(&mut self, ctx: &mut Context, duplicate: DuplicateIdentity) -> bool {
        let is_new = self.runs.len() < DUPLICATES_REPORTED_MAX && self.runs.insert(duplicate.run);
        if is_new {
            ctx.notify(Notice::DuplicateIdentity {
                address: duplicate.address,
                reported_by: duplicate.reported_by,
            });
        }
        is_new
    }
}

/// The handshake of a second run of a linked peer, while the linked run is probed with a ping.
pub(super) struct DeferredHandshake {
    pub(super) channel: Channel,
    pub(super) hello: Box<Hello>,
    /// Frames received behind the hello.
    pub(super) frames: Vec<Frame>,
    /// The linked run answered its ping.
    is_probe_answered: bool,
}

/// What a probe has shown, on the stream of the linked run.
pub(super) enum ProbeOutcome {
    /// Both runs are alive, with one key.
    Duplicate(StreamId),
    /// The linked run is dead: the deferred run takes its place.
    Dead(StreamId),
    /// The peer has lost its link, or is linked with the deferred run.
    Obsolete,
}

impl DeferredHandshake {
    pub(super) fn new(channel: Channel, hello: Hello, frames: Vec<Frame>) -> DeferredHandshake {
        DeferredHandshake {
            channel,
            hello: Box::new(hello),
            frames,
            is_probe_answered: false,
        }
    }

    /// Keeps frames until the handshake has become a link.
    pub(super) fn keep(&mut self, mut frames: Vec<Frame>) {
        self.frames.append(&mut frames);
    }

    /// The kept frames have more than 256 KiB.
    pub(super) fn has_overflowed(&self) -> bool {
        let bytes: usize = self.frames.iter().map(|frame| frame.payload.len()).sum();
        bytes > DEFERRED_MAX_BYTES
    }

    /// The link to this peer answered its ping. The outcome is decided at the deadline only: the
    /// pong of a run that died since may arrive late.
    pub(super) fn handle_pong(&mut self, peer: &PeerId) {
        self.is_probe_answered |= self.hello.sender == *peer;
    }

    /// At the deadline of the probe: decides between the two runs.
    pub(super) fn outcome(&self, ctx: &Context) -> ProbeOutcome {
        let existing = ctx.stream_by_peer.get(&self.hello.sender).copied();
        let link = existing.and_then(|existing| ctx.links.get(&existing));
        match existing.filter(|_| link.is_some_and(|link| link.run != self.hello.run)) {
            Some(existing) if self.is_probe_answered => ProbeOutcome::Duplicate(existing),
            Some(existing) => ProbeOutcome::Dead(existing),
            None => ProbeOutcome::Obsolete,
        }
    }
}
