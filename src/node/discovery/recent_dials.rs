//! The recent dials of the [address book](crate::node::discovery::address_book), whose rate is
//! limited: in total, and to each source.
use std::net::IpAddr;

use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::discovery::exchange;
use crate::node::standing::source_of;

/// Maximum number of dials of the book that start within [`BOOK_DIALS_WINDOW_MS`].
const BOOK_DIALS_MAX: usize = 8;
/// See [`BOOK_DIALS_MAX`]: one dial a second, on average.
const BOOK_DIALS_WINDOW_MS: u64 = 8_000;
/// Maximum number of dials of the book to one source that start within
/// `SOURCE_DIALS_WINDOW_MS`. Whoever introduces addresses of a host, the host gets no more.
const SOURCE_DIALS_MAX: usize = 4;
/// See [`SOURCE_DIALS_MAX`].
const SOURCE_DIALS_WINDOW_MS: u64 = 60_000;

/// The dials of the last `SOURCE_DIALS_WINDOW_MS`, the latest last. The rate of dials bounds
/// their number.
#[derive(Default)]
pub struct RecentDials(Vec<(Time, IpAddr)>);

impl RecentDials {
    /// Records a dial to this source that starts now.
    pub fn record(&mut self, now: Time, source: IpAddr) {
        self.0.retain(|(at, _)| *at + SOURCE_DIALS_WINDOW_MS > now);
        self.0.push((now, source));
    }

    /// From when on any address may be dialed.
    pub fn allowed_at(&self) -> Time {
        next_start(self.0.iter(), BOOK_DIALS_MAX, BOOK_DIALS_WINDOW_MS)
    }

    /// From when on the source of this address may be dialed. Dials of our own host reach no third
    /// party.
    pub fn source_allowed_at(&self, ctx: &Context, address: IpAddr) -> Time {
        if exchange::is_own_host(ctx, address) {
            return Time(0);
        }
        let source = source_of(address);
        let of_source = self.0.iter().filter(|(_, dialed)| *dialed == source);
        next_start(of_source, SOURCE_DIALS_MAX, SOURCE_DIALS_WINDOW_MS)
    }
}

/// When one more dial may start, if at most `most` of these dials start within `window_ms`.
fn next_start<'a>(
    dials: impl DoubleEndedIterator<Item = &'a (Time, IpAddr)>,
    most: usize,
    window_ms: u64,
) -> Time {
    let oldest = dials.rev().nth(most - 1);
    oldest.map_or(Time(0), |(at, _)| *at + window_ms)
}
