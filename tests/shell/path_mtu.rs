//! Which ends of streams show that a path loses large packets.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use p2pchat::shell::net::path_mtu::{LargestWrite, PathMtu};

const BOB: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2));
const CAROL: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 3));

/// The writes of a stream: so many bytes, so many seconds before the stream ends.
fn largest(writes: &[(usize, u64)], end: Instant) -> LargestWrite {
    let mut largest = LargestWrite::default();
    for (bytes, seconds) in writes {
        largest.record(*bytes, end - Duration::from_secs(*seconds));
    }
    largest
}

/// The end of Linux's uptime clock that lies after all these writes.
fn late() -> Instant {
    Instant::now() + Duration::from_secs(10_000)
}

/// Two streams in a row that time out after their first large write show a black hole. It is
/// reported once, and concerns this address only.
#[test]
fn two_streams_in_a_row_show_a_black_hole() {
    for (peer, limit) in [(BOB, 536), (CAROL, 1220)] {
        let (mut paths, end) = (PathMtu::default(), late());
        let lost = largest(&[(300, 600), (8000, 10), (200, 4)], end);
        paths.record_end(peer, &lost, true, end);
        assert_eq!(
            (paths.segment_limit(peer), paths.take_unreported()),
            (None, None)
        );
        // Streams without large writes show nothing.
        paths.record_end(peer, &largest(&[(300, 5)], end), false, end);
        paths.record_end(peer, &lost, true, end);
        assert_eq!(paths.segment_limit(peer), Some(limit));
        assert_eq!(paths.take_unreported(), Some(peer));
        paths.record_end(peer, &lost, true, end);
        assert_eq!(paths.take_unreported(), None);
        assert_eq!(paths.segment_limit(IpAddr::V4(Ipv4Addr::LOCALHOST)), None);
    }
}

/// A pulled cable is no black hole, although it ends streams by timeout again and again: large
/// writes got through before, or between, or there were none.
#[test]
fn a_pulled_cable_is_no_black_hole() {
    let end = late();
    let lost = largest(&[(8000, 10)], end);
    let passed = largest(&[(8000, 60), (8000, 10)], end);
    let small = largest(&[(500, 10)], end);
    for between in [(passed, true), (lost, false)] {
        let mut paths = PathMtu::default();
        for (write, has_timed_out) in [(lost, true), between, (lost, true)] {
            paths.record_end(BOB, &write, has_timed_out, end);
        }
        assert_eq!(paths.segment_limit(BOB), None);
    }
    let mut paths = PathMtu::default();
    for write in [passed, small, passed, small, small] {
        paths.record_end(BOB, &write, true, end);
    }
    assert_eq!(paths.segment_limit(BOB), None);
}

/// The number of addresses is bounded.
#[test]
fn few_addresses_are_remembered() {
    let (mut paths, end) = (PathMtu::default(), late());
    let lost = largest(&[(8000, 10)], end);
    let peers = || (0..65_u32).map(|n| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n)));
    for peer in peers().chain(peers()) {
        paths.record_end(peer, &lost, true, end);
    }
    let limited = peers().filter(|peer| paths.segment_limit(*peer).is_some());
    assert_eq!(limited.count(), 64);
}
