//! Parts of the core that need no clock. The simulator in `tests/sim` tests the rest.

mod ack_times;
mod author_keys;
mod dial_limiter;
mod forwarded_receipts;
mod hybrid_clock;
mod known_peers;
mod logs;
#[cfg(feature = "trust")]
mod misbehaviour;
mod news;
mod own_lines;
mod progress;
mod save_barrier;
mod standing;
mod topology;
