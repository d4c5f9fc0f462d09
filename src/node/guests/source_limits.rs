//! Limits how much each host can make us show of its guests.
use std::net::IpAddr;

use crate::base::error_code::ErrorCode;
use crate::base::event::notice::Notice;
use crate::base::guests::guest::GuestNetwork;
use crate::base::rate_limiter::RateLimiter;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::timer::{Deadlines, Timer};

/// Number of messages that a host may send at once. Further ones are dropped.
const GUEST_MESSAGES_BURST: u64 = 30;
/// Milliseconds after which a host may send one more message.
const GUEST_MESSAGE_INTERVAL_MS: u64 = 500;
/// Maximum number of hosts of a network that are watched. At the bound, the messages of further
/// ones are dropped.
const GUEST_SOURCES_MAX: usize = 256;
/// Milliseconds from the first dropped message to the report of all.
const GUEST_DROPS_REPORT_MS: u64 = 60_000;

/// Counts the messages of the hosts of a network.
#[derive(Default)]
pub struct SourceLimits {
    sources: SortedMap<IpAddr, RateLimiter>,
    /// Number of dropped messages since the last report, the host of the last one, and when to
    /// report them.
    dropped: Option<(u64, IpAddr, Time)>,
}

impl SourceLimits {
    /// Whether to handle a message of this host. Counts it.
    pub fn admit(&mut self, now: Time, source: IpAddr) -> bool {
        let is_full = self.sources.len() >= GUEST_SOURCES_MAX;
        if is_full && !self.sources.contains_key(&source) {
            self.sources.retain(|_, limiter| {
                limiter.drain(now);
                limiter.level() > 0
            });
            if self.sources.len() >= GUEST_SOURCES_MAX {
                self.record_drop(now, source);
                return false;
            }
        }
        let new = || RateLimiter::new(GUEST_MESSAGE_INTERVAL_MS);
        let limiter = self.sources.get_or_insert_with(source, new);
        limiter.drain(now);
        if limiter.level() >= GUEST_MESSAGES_BURST {
            self.record_drop(now, source);
            return false;
        }
        limiter.add();
        true
    }

    /// Records that a message of this host was not shown, or not repeated.
    pub fn record_drop(&mut self, now: Time, source: IpAddr) {
        let first = (0, source, now + GUEST_DROPS_REPORT_MS);
        let (count, last, _) = self.dropped.get_or_insert(first);
        (*count, *last) = (*count + 1, source);
    }

    /// Adds the time of the next report.
    pub fn state_deadlines(&self, deadlines: &mut Deadlines) {
        deadlines.add_some(Timer::Guests, self.dropped.map(|(_, _, at)| at));
    }

    /// Reports the dropped messages if that is due.
    pub fn handle_timeout(&mut self, ctx: &mut Context, network: GuestNetwork) {
        let now = ctx.now.time;
        if let Some((count, source, _)) = self.dropped.take_if(|(_, _, at)| *at <= now) {
            ctx.notify(Notice::Error {
                code: ErrorCode::Guests,
                content: format!(
                    "{count} messages of guests of {} were dropped in the last minute, because too \
                     many came: the last one from {source}",
                    network.room()
                ),
            });
        }
    }
}
