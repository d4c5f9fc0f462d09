//! Bursts of new peers: how long each waits for its first dial.
use crate::base::identity::PeerId;
use crate::base::rate_limiter::RateLimiter;
use crate::base::time::Time;
use crate::node::context::Context;

/// New peers form a burst if less than this many milliseconds pass between them, on average.
const NEW_PEER_INTERVAL_MS: u64 = 50;
/// Number of new peers in a burst that are dialed without delay. Dials to further peers are
/// delayed, as there may be too many peers for a full mesh.
const NEW_PEER_BURST_MAX: u64 = 8;
/// The same if our id is larger than the peer's id. We yield to each further peer of the burst:
/// only one side should dial, as a second handshake is wasted.
const NEW_PEER_BURST_OF_LARGER_ID_MAX: u64 = 4;
/// Longest random delay before we dial a new peer of a burst, in milliseconds.
const NEW_PEER_DIAL_DELAY_MS: u64 = 100;
/// We yield to a peer until nobody has connected to us for so many milliseconds. On a busy box,
/// the peer's dial may be late.
const YIELD_QUIET_MS: u64 = 100;
/// Longest time for which we yield to a peer, in milliseconds: half of
/// [`LINK_EXPECTED_MS`](crate::node::connection::pending_handshake::LINK_EXPECTED_MS). Strangers
/// who only connect can therefore not keep a `send` from a peer that does not dial.
const YIELD_MAX_MS: u64 = 1_000;

/// When a new peer may be dialed. Applies to all its addresses.
#[derive(Clone, Copy, Default)]
pub struct EarliestDial {
    /// Not before this time.
    not_before: Time,
    /// Until when we yield to the peer. `None`: we do not.
    yield_until: Option<Time>,
}

/// The rate at which new peers are discovered. Known transient peers do not count.
pub struct NewPeerBurst {
    rate: RateLimiter,
    /// When somebody last connected to us, if ever.
    last_accepted: Time,
}

impl Default for NewPeerBurst {
    fn default() -> NewPeerBurst {
        NewPeerBurst {
            rate: RateLimiter::new(NEW_PEER_INTERVAL_MS),
            last_accepted: Time(0),
        }
    }
}

impl NewPeerBurst {
    /// Lets the burst shrink with time. Returns whether it may have shrunk.
    pub fn drain(&mut self, now: Time) -> bool {
        self.rate.drain(now)
    }

    /// Records that somebody has connected to us.
    pub fn record_accepted(&mut self, now: Time) {
        self.last_accepted = now;
    }

    /// Counts a new peer. Returns when it may be dialed.
    pub fn add(&mut self, ctx: &mut Context, peer: &PeerId) -> EarliestDial {
        self.rate.add();
        let (now, level) = (ctx.now.time, self.rate.level());
        let mut earliest_dial = EarliestDial::default();
        if level > NEW_PEER_BURST_MAX {
            earliest_dial.not_before = now + ctx.jitter(NEW_PEER_DIAL_DELAY_MS);
        }
        if level > NEW_PEER_BURST_OF_LARGER_ID_MAX && ctx.own_id() > *peer {
            earliest_dial.not_before = earliest_dial.not_before.max(now) + YIELD_QUIET_MS;
            earliest_dial.yield_until = Some(now + YIELD_MAX_MS);
        }
        earliest_dial
    }

    /// When a peer may be dialed, if nobody connects to us until then.
    pub fn dial_at(&self, earliest_dial: &EarliestDial) -> Time {
        let quiet_at = self.last_accepted + YIELD_QUIET_MS;
        let yielded = earliest_dial.yield_until.map(|until| until.min(quiet_at));
        earliest_dial.not_before.max(yielded.unwrap_or_default())
    }
}
