//! Finds paths that lose large packets without an error (a black hole, RFC 2923, section 2.1).
//! Streams on such a path then use smaller segments.
//!
//! A stream of a black hole opens, carries small writes, and times out after its first large write.
//! A stream of a cut path may end in the same way, so only the second such stream in a row counts.
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::base::table::SortedMap;

/// Segment size that every IPv4 path carries (RFC 1122, section 4.2.2.6).
const SEGMENT_V4_BYTES: u32 = 536;
/// Segment size that every IPv6 path carries: 1280 bytes (RFC 8200, section 5) less the headers.
const SEGMENT_V6_BYTES: u32 = 1220;
/// Longest time from a lost write to the end of its stream. The kernel checks its timeout of 9 s
/// only when it repeats a packet.
const TIMEOUT_MAX: Duration = Duration::from_secs(20);
/// Larger writes count as equal. The packets of most networks are smaller.
const WRITE_MAX_BYTES: usize = 9000;
/// How long a stream that lost a large write counts. Larger packets are then tried again, as the
/// path may have changed (RFC 1191, section 6.3).
const PATH_LIFETIME: Duration = Duration::from_mins(10);
/// Maximum number of addresses that are remembered.
const PATHS_MAX: usize = 64;

/// The first of the largest writes to a stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct LargestWrite {
    bytes: usize,
    written_at: Option<Instant>,
}

impl LargestWrite {
    /// Records a write of so many bytes.
    pub fn record(&mut self, bytes: usize, now: Instant) {
        let bytes = bytes.min(WRITE_MAX_BYTES);
        if bytes > self.bytes {
            (self.bytes, self.written_at) = (bytes, Some(now));
        }
    }

    /// Whether the stream had to split the write into the smallest segments, and could have timed
    /// out because of it.
    fn may_be_lost(&self, now: Instant) -> bool {
        let is_recent = |at| now.saturating_duration_since(at) <= TIMEOUT_MAX;
        self.is_large() && self.written_at.is_some_and(is_recent)
    }

    fn is_large(&self) -> bool {
        self.bytes > SEGMENT_V4_BYTES as usize
    }
}

/// What is known of the path to an address.
struct Path {
    /// When the last stream with large writes timed out after its first one.
    lost_at: Instant,
    /// Two such streams in a row timed out. False: one did.
    is_black_hole: bool,
}

impl Path {
    fn is_recent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.lost_at) < PATH_LIFETIME
    }

    fn is_limited(&self, now: Instant) -> bool {
        self.is_black_hole && self.is_recent(now)
    }
}

/// The paths that may lose large packets.
#[derive(Default)]
pub struct PathMtu {
    paths: SortedMap<IpAddr, Path>,
    /// The black holes that the user does not know of.
    unreported: Vec<IpAddr>,
}

impl PathMtu {
    /// Records the end of an open stream to this address. `has_timed_out`: whether the kernel ended
    /// the stream, because the other side acknowledged nothing.
    pub fn record_end(
        &mut self,
        ip: IpAddr,
        largest: &LargestWrite,
        has_timed_out: bool,
        now: Instant,
    ) {
        let is_lost = has_timed_out && largest.may_be_lost(now);
        match self.paths.get_mut(&ip) {
            Some(path) if path.is_limited(now) => {}
            Some(path) if is_lost => {
                path.lost_at = now;
                if !std::mem::replace(&mut path.is_black_hole, true) {
                    self.unreported.push(ip);
                }
            }
            Some(_) if largest.is_large() => {
                self.paths.remove(&ip);
            }
            None if is_lost => self.add_suspect(ip, now),
            _ => {}
        }
    }

    fn add_suspect(&mut self, ip: IpAddr, now: Instant) {
        if self.paths.len() >= PATHS_MAX {
            self.paths.retain(|_, path| path.is_recent(now));
        }
        if self.paths.len() < PATHS_MAX {
            let path = Path {
                lost_at: now,
                is_black_hole: false,
            };
            self.paths.insert(ip, path);
        }
    }

    /// The size to which the segments of a new stream to this address must be limited. `None`: no
    /// limit is needed.
    pub fn segment_limit(&self, ip: IpAddr, now: Instant) -> Option<u32> {
        let path = self.paths.get(&ip)?;
        path.is_limited(now).then_some(match ip {
            IpAddr::V4(_) => SEGMENT_V4_BYTES,
            IpAddr::V6(_) => SEGMENT_V6_BYTES,
        })
    }

    /// The smallest of the [limits](PathMtu::segment_limit) of all addresses.
    pub fn smallest_limit(&self, now: Instant) -> Option<u32> {
        let limits = self
            .paths
            .keys()
            .filter_map(|ip| self.segment_limit(*ip, now));
        limits.min()
    }

    /// The next black hole to tell the user of, each once.
    pub fn take_unreported(&mut self) -> Option<IpAddr> {
        self.unreported.pop()
    }
}
