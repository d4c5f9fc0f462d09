//! Bursts of new peers: how long each waits for its first dial.
use crate::base::identity::PeerId;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::discovery::rate_limiter::RateLimiter;

/// New peers form a burst if less than this many milliseconds pass between them, on average.
const NEW_PEER_INTERVAL_MS: u64 = 50;
/// Number of new peers in a burst that are dialed without delay. Dials to further peers are
/// delayed, as there may be too many peers for a full mesh.
const NEW_PEER_BURST_MAX: u64 = 8;
/// The same if our id is larger than the peer's id.
const NEW_PEER_BURST_OF_LARGER_ID_MAX: u64 = 4;
/// Longest random delay before we dial a new peer of a burst, in milliseconds. If our id is larger
/// than the peer's id, this time is added to the random delay. Usually the peer then dials us
/// first, and we need not dial.
const NEW_PEER_DIAL_DELAY_MS: u64 = 100;

/// The rate at which new peers are discovered. Known transient peers do not count.
pub struct NewPeerBurst(RateLimiter);

impl Default for NewPeerBurst {
    fn default() -> NewPeerBurst {
        NewPeerBurst(RateLimiter::new(NEW_PEER_INTERVAL_MS))
    }
}

impl NewPeerBurst {
    /// Lets the burst shrink with time. Returns whether it may have shrunk.
    pub fn drain(&mut self, now: Time) -> bool {
        self.0.drain(now)
    }

    /// Counts a new peer. Returns the milliseconds to wait before the peer is dialed.
    pub fn add(&mut self, ctx: &mut Context, peer: &PeerId) -> u64 {
        self.0.add();
        let level = self.0.level();
        let mut delay_ms = 0;
        if level > NEW_PEER_BURST_MAX {
            delay_ms += ctx.jitter(NEW_PEER_DIAL_DELAY_MS);
        }
        // Only one side should dial, as a second handshake is wasted.
        if level > NEW_PEER_BURST_OF_LARGER_ID_MAX && ctx.own_id() > *peer {
            delay_ms += NEW_PEER_DIAL_DELAY_MS;
        }
        delay_ms
    }
}
