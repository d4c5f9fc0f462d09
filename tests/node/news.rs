//! The truth table of news: what dates a line, and when a line is news for a reader.
use p2pchat::base::batch::batch::{Batch, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::identity::{Identity, NetworkTag, PeerId};
use p2pchat::base::lines::Lines;
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::{Now, ReaderStart, Time, WallTime};
use p2pchat::node::author_clocks::{AuthorClock, AuthorClocks, SentClocks};
use p2pchat::node::peer_clock::PeerClock;
use p2pchat::node::replication::news::{Evidence, is_at_or_after};

/// Our wall clock at the comparison; our program then runs for 1000 s.
const WALL: i64 = 1_767_225_600_000;
const NOW: Now = Now {
    time: Time(1_000_000),
    wall: WallTime(WALL),
};
const HOUR: i64 = 3_600_000;
/// Older than everything.
const UNKNOWN: i64 = i64::MIN;

/// A batch of alice's run 7, with these times.
fn batch(uptime: u64, timestamp: i64, lamport: u64) -> Batch {
    let alice = Identity::from_seed(&[2; 32]);
    let mut lines = Lines::default();
    lines.push(b"hello").expect("a line");
    let draft = UnsignedBatch {
        log: LogId {
            target: Target::Room(Room::general()),
            author: alice.id(),
            incarnation: 1,
        },
        username: Nick::new("alice").expect("a name"),
        sequence: 1,
        lamport,
        timestamp: WallTime(timestamp),
        run: 7,
        uptime,
        previous: None,
        form: LineForm::Text,
        lines: &lines,
        sealed: None,
        republishes: None,
        salt: 9,
    };
    Batch::sign(&alice, &NetworkTag::OPEN, draft)
}

/// Clocks of alice: the run, its age, and its wall clock at our time 1000 s.
fn clock(run: u64, age: u64, wall: i64) -> AuthorClock {
    AuthorClock {
        run,
        clock: PeerClock::new(NOW.time, age, WallTime(wall)),
    }
}

/// When this batch was published, if these clocks of alice are known.
fn published_at(batch: &Batch, direct: Option<AuthorClock>, relayed: Option<AuthorClock>) -> i64 {
    let mut clocks = AuthorClocks::default();
    if let Some(clock) = relayed {
        clocks.record_relayed(batch.log.author, clock, author(1));
    }
    if let Some(clock) = direct {
        clocks.record_direct(batch.log.author, clock, &|_| true);
    }
    Evidence::of(batch, &clocks).published_at(batch, NOW)
}

#[test]
fn a_line_is_dated_by_the_best_evidence() {
    // The run began 200 s ago, and published the line after 50 s. Wall clocks are nonsense.
    let line = batch(50_000, -WALL, 1);
    let of_run = Some(clock(7, 200_000, 0));
    assert_eq!(published_at(&line, of_run, None), 850_000);
    assert_eq!(published_at(&line, None, of_run), 850_000);
    // What the author's own hello said outranks what a neighbour relays.
    let lie = Some(clock(7, 10_000_000, 0));
    assert_eq!(published_at(&line, of_run, lie), 850_000);
    // The run is relayed, and another run was linked.
    let other = Some(clock(6, 900_000, WALL));
    assert_eq!(published_at(&line, other, of_run), 850_000);
    // Never later than now.
    let line = batch(300_000, 0, 1);
    assert_eq!(published_at(&line, of_run, None), 1_000_000);

    // Another run of alice: her wall clock shows 90 s after 1970, and the line 60 s.
    let line = batch(50_000, 60_000, 1);
    let other = Some(clock(8, 40_000, 90_000));
    assert_eq!(published_at(&line, other, None), 970_000);
    assert_eq!(published_at(&line, None, other), 970_000);
    // From before our start.
    let line = batch(50_000, -HOUR, 1);
    assert_eq!(published_at(&line, other, None), 910_000 - HOUR);

    // No clock of alice: by our wall clock.
    let line = |timestamp, lamport| published_at(&batch(0, timestamp, lamport), None, None);
    assert_eq!(line(WALL - 30_000, 1), 970_000);
    assert_eq!(line(WALL - HOUR, 1), 1_000_000 - HOUR);
    // She had heard a line of 10 s ago; a Lamport number in our future proves nothing.
    let lamport = |wall: i64| (wall * 1_000) as u64;
    assert_eq!(line(0, lamport(WALL - 10_000)), 990_000);
    assert_eq!(line(0, lamport(WALL + 10_000)), 1_000_000 - WALL);
    // A timestamp in our future: a little is tolerated, more dates nothing.
    assert_eq!(line(WALL + 59_000, 1), 1_000_000);
    assert_eq!(line(WALL + 61_000, 1), UNKNOWN);
}

#[test]
fn a_line_is_news_if_it_is_not_older_than_the_reader() {
    let same = |at_ms| ReaderStart::SameBoot { at_ms };
    let earlier = |wall| ReaderStart::EarlierBoot {
        wall: WallTime(wall),
    };
    for (reader, published_at, timestamp, expected) in [
        // In the same boot, no wall clock matters.
        (same(500_000), 500_000, 0, true),
        (same(500_000), 499_999, WALL, false),
        (same(-HOUR), -HOUR, 0, true),
        (same(-HOUR), -HOUR - 1, WALL, false),
        (same(-HOUR), UNKNOWN, WALL, false),
        // In an earlier boot, an hour before now by our wall clock.
        (earlier(WALL - HOUR), 1_000_000 - HOUR, 0, true),
        (earlier(WALL - HOUR), 999_999 - HOUR, WALL, false),
        (earlier(WALL - HOUR), UNKNOWN, WALL, false),
        // The wall clock was set, but the reader began before this program in any case.
        (earlier(WALL - 1), 0, 0, true),
        (earlier(WALL - 1), -1, 0, false),
        // Our wall clock is not set yet: it has not reached the reader's beginning.
        (earlier(WALL + HOUR), 0, 0, true),
        (earlier(WALL + HOUR), -1, WALL + HOUR, true),
        (earlier(WALL + HOUR), -1, WALL + HOUR - 1, false),
        (earlier(WALL + HOUR), UNKNOWN, WALL + HOUR, true),
    ] {
        let is_news = is_at_or_after(reader, published_at, WallTime(timestamp), NOW);
        let case = format!("{reader:?}, {published_at}, {timestamp}");
        assert_eq!(is_news, expected, "{case}");
    }
}

/// A monotonic clock that stood still, as in a paused virtual machine, makes no line look older.
#[test]
fn a_later_hello_of_the_same_run_does_not_move_it_back() {
    let line = batch(190_000, 0, 1);
    let mut clocks = AuthorClocks::default();
    let first = PeerClock::new(Time(10_000), 100_000, WallTime(0));
    let second = PeerClock::new(Time(20_000), 200_000, WallTime(0));
    for clock in [first, second] {
        clocks.record_direct(line.log.author, AuthorClock { run: 7, clock }, &|_| true);
    }
    let now = Now {
        time: Time(200_000),
        ..NOW
    };
    let published_at = Evidence::of(&line, &clocks).published_at(&line, now);
    assert_eq!(published_at, 100_000);
}

/// An author with this number.
fn author(n: u64) -> PeerId {
    let mut id = [7; 32];
    id[..8].copy_from_slice(&n.to_be_bytes());
    PeerId(id)
}

/// A peer can invent authors: relayed clocks displace only relayed clocks, the oldest first.
#[test]
fn invented_authors_displace_no_clock_of_a_hello() {
    let mut clocks = AuthorClocks::default();
    for n in 0..1_000 {
        clocks.record_direct(author(n), clock(1, 0, 0), &|_| false);
    }
    for n in 10_000..20_000 {
        clocks.record_relayed(author(n), clock(1, 0, 0), author(1));
    }
    assert!((0..1_000).all(|n| clocks.find(&author(n), 1).is_some()));
    assert!(clocks.find(&author(20_000 - 8_192), 1).is_some());
    assert!(clocks.find(&author(20_000 - 8_193), 1).is_none());
}

/// A neighbour that invents authors displaces its own relayed clocks, and none of other neighbours.
#[test]
fn invented_authors_displace_no_clock_of_another_neighbour() {
    let (honest, liar) = (author(1), author(2));
    let mut clocks = AuthorClocks::default();
    for n in 0..1_000 {
        clocks.record_relayed(author(n), clock(1, 0, 0), honest);
    }
    for n in 10_000..20_000 {
        clocks.record_relayed(author(n), clock(1, 0, 0), liar);
    }
    assert!((0..1_000).all(|n| clocks.find(&author(n), 1).is_some()));
    for n in 1_000..1_100 {
        clocks.record_relayed(author(n), clock(1, 0, 0), honest);
    }
    assert!((0..1_100).all(|n| clocks.find(&author(n), 1).is_some()));
}

/// A full table takes a new clock in place of the oldest. Those of a linked author stay.
#[test]
fn a_new_author_displaces_the_oldest_that_is_not_linked() {
    let mut clocks = AuthorClocks::default();
    let is_linked = |peer: &PeerId| *peer == author(0);
    for n in 0..8_192 {
        clocks.record_direct(author(n), clock(1, 0, 0), &is_linked);
    }
    // The clock of another run takes the place of the author's first.
    clocks.record_direct(author(1), clock(2, 0, 0), &is_linked);
    for n in 8_192..8_292 {
        clocks.record_direct(author(n), clock(1, 0, 0), &is_linked);
    }
    let is_known = |n: &u64| clocks.find(&author(*n), 1).is_some();
    let forgotten: Vec<u64> = (0..8_292).filter(|n| !is_known(n)).collect();
    assert_eq!(forgotten, (2..102).collect::<Vec<u64>>());
}

/// The clocks of an author's last two runs stay, those of hellos and those of neighbours.
#[test]
fn the_clock_of_the_previous_run_stays() {
    let mut clocks = AuthorClocks::default();
    let known = |clocks: &AuthorClocks| {
        let found = [1, 2, 3].map(|run| clocks.find(&author(1), run));
        found.map(|clock| clock.expect("a clock").run)
    };
    for run in [1, 2, 3] {
        clocks.record_relayed(author(1), clock(run, 0, 0), author(2));
    }
    assert_eq!(known(&clocks), [3, 2, 3]);
    for run in [3, 2, 1, 1] {
        clocks.record_direct(author(1), clock(run, 0, 0), &|_| true);
    }
    assert_eq!(known(&clocks), [1, 2, 3]);
    assert_eq!(clocks.find(&author(1), 9).expect("a clock").run, 1);
}

/// A neighbour that invents runs of an author displaces no clock that another neighbour relayed.
#[test]
fn invented_runs_displace_no_clock_of_another_neighbour() {
    let (honest, liar) = (author(2), author(3));
    let mut clocks = AuthorClocks::default();
    clocks.record_relayed(author(1), clock(5, 0, 0), honest);
    for run in [100, 101, 102] {
        clocks.record_relayed(author(1), clock(run, 0, 0), liar);
    }
    clocks.record_relayed(author(1), clock(5, 1_000_000, 0), liar);
    assert_eq!(clocks.find(&author(1), 5), Some(clock(5, 0, 0)));
    // Its own oldest one it does.
    assert_eq!(clocks.find(&author(1), 100), clocks.find(&author(1), 102));
}

/// A clock goes over a link once for each run, and a bounded number of them is remembered.
#[test]
fn a_clock_is_sent_once_for_each_run() {
    let mut sent = SentClocks::default();
    assert!(sent.insert(author(1), 7) && !sent.insert(author(1), 7));
    assert!(sent.insert(author(1), 8) && !sent.insert(author(1), 8));
    assert!(!sent.insert(author(1), 7));
    for n in 0..5_000 {
        sent.insert(author(n), 1);
        assert!(sent.clock_count() <= 2_048);
    }
}
