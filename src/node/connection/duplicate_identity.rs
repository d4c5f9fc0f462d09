//! Two running programs that share one key. A hello with our own key shows that another program
//! uses our key. When a second run of a linked peer connects, its handshake is deferred and the
//! linked run is pinged. If the linked run answers, both runs are alive and share a key.
use std::net::SocketAddr;

use crate::base::event::notice::Notice;
use crate::base::event::peer::Peer;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::table::SortedSet;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::peer_clock::PeerClock;
use crate::wire::channel::Channel;
use crate::wire::frame::Frame;
use crate::wire::message::Hello;

/// Milliseconds that a linked run has to answer a ping. The ping is sent when another run of the
/// same peer connects.
pub(super) const PROBE_TIMEOUT_MS: u64 = 500;
/// Maximum number of runs with our key that are reported to the user.
const DUPLICATES_REPORTED_MAX: usize = 64;

/// Another program that uses our key.
pub struct DuplicateIdentity {
    /// The run of the other program. `None` if a peer reported the program, as the report contains
    /// no run.
    pub run: Option<u64>,
    /// The address of the other program. `None` if it did not connect directly to this program.
    pub address: Option<SocketAddr>,
    /// The peer that reported the other program to us, if one did. The report may be false.
    pub reported_by: Option<Peer>,
}

/// Other runs that use our key. The user was notified of each.
#[derive(Default)]
pub struct ReportedDuplicates {
    /// The reported runs. `None` stands for all programs that peers reported, as their runs are
    /// unknown.
    runs: SortedSet<Option<u64>>,
}

impl ReportedDuplicates {
    /// Notifies the user that another program uses our key, once for each run of that program.
    /// Returns whether the user was notified by this call.
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

/// The handshake of a second run of a linked peer. It waits while the linked run is pinged.
pub(super) struct DeferredHandshake {
    pub(super) channel: Channel,
    pub(super) hello: Box<Hello>,
    /// Frames received after the hello.
    pub(super) frames: Vec<Frame>,
    /// When the hello arrived.
    pub(super) deferred_at: Time,
    /// The linked run answered the ping.
    is_probe_answered: bool,
}

/// The result of pinging the linked run. The [`StreamId`] is that of the linked run.
pub(super) enum ProbeOutcome {
    /// Both runs are alive and share one key.
    Duplicate(StreamId),
    /// The linked run did not answer and counts as dead. The second run takes its place.
    Dead(StreamId),
    /// There is nothing to decide. The peer has no link any more, or its link already leads to the
    /// second run.
    Obsolete,
}

impl DeferredHandshake {
    pub(super) fn new(
        channel: Channel,
        hello: Hello,
        frames: Vec<Frame>,
        now: Time,
    ) -> DeferredHandshake {
        DeferredHandshake {
            channel,
            hello: Box::new(hello),
            deferred_at: now,
            frames,
            is_probe_answered: false,
        }
    }

    /// The hello as the second run would send it now. Adds the time since the hello arrived to the
    /// age and the wall-clock time.
    pub(super) fn current_hello(&self, now: Time) -> Hello {
        let clock = PeerClock::new(self.deferred_at, self.hello.age, self.hello.wall);
        Hello {
            age: clock.age_ms(now),
            wall: clock.wall(now),
            ..(*self.hello).clone()
        }
    }

    /// About how much memory the received bytes and frames take, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        let frames = self.frames.iter().map(Frame::memory_bytes);
        self.channel.buffered_bytes() + frames.sum::<usize>()
    }

    /// Records that the linked run of this peer answered the ping. Does nothing if this handshake
    /// belongs to another peer.
    pub(super) fn handle_pong(&mut self, peer: &PeerId) {
        self.is_probe_answered |= self.hello.sender == *peer;
    }

    /// Decides between the linked run and the second run. Called at the deadline of the ping, even
    /// if the linked run answered earlier. The linked run may still end before the deadline.
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
