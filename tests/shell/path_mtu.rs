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
            (paths.segment_limit(peer, end), paths.take_unreported()),
            (None, None)
        );
        // Streams without large writes show nothing.
        paths.record_end(peer, &largest(&[(300, 5)], end), false, end);
        paths.record_end(peer, &lost, true, end);
        assert_eq!(paths.segment_limit(peer, end), Some(limit));
        assert_eq!(paths.take_unreported(), Some(peer));
        paths.record_end(peer, &lost, true, end);
        assert_eq!(paths.take_unreported(), None);
        assert_eq!(
            paths.segment_limit(IpAddr::V4(Ipv4Addr::LOCALHOST), end),
            None
        );
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
        assert_eq!(paths.segment_limit(BOB, end), None);
    }
    let mut paths = PathMtu::default();
    for write in [passed, small, passed, small, small] {
        paths.record_end(BOB, &write, true, end);
    }
    assert_eq!(paths.segment_limit(BOB, end), None);
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
    let limited = |paths: &PathMtu, now| {
        let limited = peers().filter(|peer| paths.segment_limit(*peer, now).is_some());
        limited.count()
    };
    assert_eq!(limited(&paths, end), 64);
    // The others have a place once these are outdated.
    let later = end + Duration::from_secs(601);
    let lost = largest(&[(8000, 10)], later);
    for _ in 0..2 {
        paths.record_end(CAROL, &lost, true, later);
    }
    assert_eq!(paths.segment_limit(CAROL, later), Some(1220));
}

/// Large packets are tried again after 10 minutes (RFC 1191). A path that loses them still is
/// limited after one stream, and is not reported again.
#[test]
fn a_black_hole_is_tried_again_after_ten_minutes() {
    for loses_still in [true, false] {
        let (mut paths, end) = (PathMtu::default(), late());
        let lost = |now| largest(&[(8000, 10)], now);
        for _ in 0..2 {
            paths.record_end(BOB, &lost(end), true, end);
        }
        assert_eq!(paths.take_unreported(), Some(BOB));
        let later = |seconds| end + Duration::from_secs(seconds);
        assert_eq!(paths.segment_limit(BOB, later(599)), Some(536));
        assert_eq!(paths.smallest_limit(later(599)), Some(536));
        assert_eq!(paths.segment_limit(BOB, later(600)), None);
        assert_eq!(paths.smallest_limit(later(600)), None);
        let end = later(700);
        paths.record_end(BOB, &lost(end), loses_still, end);
        let limit = loses_still.then_some(536);
        assert_eq!(paths.segment_limit(BOB, end), limit);
        paths.record_end(BOB, &lost(end), loses_still, end);
        assert_eq!(paths.segment_limit(BOB, end), limit);
        assert_eq!(paths.take_unreported(), None);
    }
}

/// The listener gets the smallest limit, because it cannot tell the addresses apart.
#[test]
fn the_listener_gets_the_smallest_limit() {
    let (mut paths, end) = (PathMtu::default(), late());
    let lost = largest(&[(8000, 10)], end);
    for (peer, smallest) in [(CAROL, 1220), (BOB, 536)] {
        for _ in 0..2 {
            paths.record_end(peer, &lost, true, end);
        }
        assert_eq!(paths.smallest_limit(end), Some(smallest));
    }
}
