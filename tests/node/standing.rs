//! How much peers count when room is short: who loses first, and who gives up a place to whom.

use p2pchat::base::batch::batch::LogId;
use p2pchat::base::identity::PeerId;
use p2pchat::base::name::{Room, Target};
use p2pchat::base::time::WallTime;
use p2pchat::node::replication::logs::log_places::LogPlaces;
use p2pchat::node::standing::{Rank, Standing, UsageTable, source_of};

const DAY_MS: i64 = 86_400_000;

fn peer(number: u8) -> PeerId {
    PeerId([number; 32])
}

/// A newcomer whose first line came from this host.
fn newcomer(host: u8) -> Standing {
    Standing {
        source: Some([10, 0, 0, host].into()),
        ..Standing::of_rank(Rank::Newcomer)
    }
}

/// A peer is a newcomer for a day. The user's bond outranks any time.
#[test]
fn time_and_the_user_raise_a_peer() {
    let now = WallTime(10 * DAY_MS);
    let rank = |age_ms, is_bound| {
        let first_seen = WallTime(now.0 - age_ms);
        Standing::of_linked(first_seen, is_bound, now).rank
    };
    assert_eq!(rank(DAY_MS - 1, false), Rank::Newcomer);
    assert_eq!(rank(DAY_MS, false), Rank::Known);
    assert_eq!(rank(0, true), Rank::Bound);
    // The wall clock was set back.
    assert_eq!(rank(-DAY_MS, false), Rank::Newcomer);
    assert!(Rank::Unknown < Rank::Newcomer && Rank::Bound < Rank::Own);
}

/// Among newcomers the host loses first that takes most, and of its peers the latest.
#[test]
fn the_host_that_takes_most_loses_first() {
    let mut usage = UsageTable::default();
    let bob = newcomer(1);
    usage.add(peer(1), &bob, 50);
    let flooder = |number: u8| Standing {
        first_seen: WallTime(i64::from(number)),
        ..newcomer(2)
    };
    for number in 10..90 {
        usage.add(peer(number), &flooder(number), 1);
    }
    let place = |number| usage.place(&peer(number), &flooder(number));
    assert!(place(10) < usage.place(&peer(1), &bob));
    assert!(place(89) < place(10));
    // Carol comes last and takes nothing yet.
    let carol = newcomer(3);
    assert!(usage.gives_way((&peer(10), &flooder(10)), (&peer(3), &carol)));
    assert!(!usage.gives_way((&peer(1), &bob), (&peer(10), &flooder(10))));
    let known = Standing::of_rank(Rank::Known);
    assert!(usage.gives_way((&peer(1), &bob), (&peer(4), &known)));
    assert!(!usage.gives_way((&peer(4), &known), (&peer(3), &carol)));
}

/// A log gives up its place only to an author that counts more, or whose host has fewer logs.
#[test]
fn a_flood_of_logs_displaces_only_itself() {
    let log = |number| LogId {
        target: Target::Room(Room::general()),
        author: peer(number),
        incarnation: 1,
    };
    let mut places = LogPlaces::default();
    for number in 10..20 {
        places.usage.add(peer(number), &newcomer(2), 1);
        places.queue.insert(0, (newcomer(2), log(number)));
    }
    let unknown = Standing::of_rank(Rank::Unknown);
    assert_eq!(places.evict_for(&peer(1), &unknown), None);
    // Carol's host takes places until it has as many logs.
    let mut evicted = 0;
    for number in 30..50 {
        evicted += usize::from(places.evict_for(&peer(number), &newcomer(3)).is_some());
    }
    assert_eq!(evicted, 5);
    // The flood takes its own places.
    assert_eq!(places.evict_for(&peer(99), &newcomer(2)), Some(log(15)));
}

/// A host may have any address of its IPv6 network, and has one IPv4 address. All neighbours share
/// the link-local network.
#[test]
fn an_ipv6_network_is_one_source() {
    let source = |text: &str| source_of(text.parse().unwrap());
    assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
    assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
    assert_ne!(source("10.0.0.1"), source("10.0.0.2"));
    assert_ne!(source("fe80::1"), source("fe80::2"));
    assert_eq!(source("fe80::1"), source("fe80::1"));
}
