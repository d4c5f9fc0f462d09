//! The hybrid logical clock: order by time where clocks are sane, and always after what was known.
use p2pchat::base::batch::batch::MAX_SAFE_INTEGER;
use p2pchat::base::lines::BATCH_LINES_MAX;
use p2pchat::base::time::WallTime;
use p2pchat::node::hybrid_clock::HybridClock;

/// 2026-11-28, in milliseconds.
const NOW_MS: i64 = 1_795_824_000_000;
const YEAR_2040_MS: i64 = 2_208_988_800_000;
const YEAR_2200_MS: i64 = 7_258_118_400_000;
const LIAR: u64 = 1 << 52;

/// Publishes a batch of `count` lines. Returns the number of its first line.
fn publish(clock: &mut HybridClock, wall_ms: i64, count: u64) -> u64 {
    let lamport = clock.next(WallTime(wall_ms));
    clock.observe(lamport + count - 1);
    lamport
}

/// The next pseudo-random number (xorshift64).
fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// Lines of boxes with sane clocks sort by time, even if their authors never met.
#[test]
fn sane_clocks_sort_by_time_without_contact() {
    let mut seed = 7;
    let mut clocks = [HybridClock::default(); 5];
    let mut wall_ms = NOW_MS;
    let mut last = 0;
    for _ in 0..10_000 {
        // A batch of a thousand lines takes the numbers of one millisecond.
        wall_ms += 1 + (random(&mut seed) % 1000).cast_signed();
        let author = random(&mut seed) as usize % clocks.len();
        let lamport = publish(&mut clocks[author], wall_ms, 1 + random(&mut seed) % 1000);
        assert_eq!(lamport, wall_ms.unsigned_abs() * 1000);
        assert!(lamport > last);
        last = lamport;
    }
}

/// A line comes after each line that its author knew, whatever the clocks show: 1970, 2040, 2200,
/// or jumping back and forth.
#[test]
fn causality_holds_under_any_wall_clock() {
    let walls = [
        0,
        -1,
        i64::MIN,
        i64::MAX,
        NOW_MS,
        YEAR_2040_MS,
        YEAR_2200_MS,
    ];
    for mut seed in 1..50 {
        let mut clocks = [HybridClock::default(); 4];
        // What each author knows: the highest number of a line.
        let mut known = [0; 4];
        for _ in 0..500 {
            let author = random(&mut seed) as usize % clocks.len();
            let wall = match random(&mut seed) % 3 {
                0 => walls[random(&mut seed) as usize % walls.len()],
                _ => NOW_MS + (random(&mut seed) % 100_000).cast_signed(),
            };
            let count = 1 + random(&mut seed) % BATCH_LINES_MAX as u64;
            let lamport = publish(&mut clocks[author], wall, count);
            assert!(lamport > known[author]);
            let last = lamport + count - 1;
            known[author] = last;
            for reader in 0..clocks.len() {
                if random(&mut seed).is_multiple_of(2) && reader != author {
                    clocks[reader].observe(last);
                    known[reader] = known[reader].max(last);
                }
            }
        }
        let end_us = (YEAR_2040_MS.unsigned_abs() + 1_000) * 1000 + 500 * BATCH_LINES_MAX as u64;
        assert!(
            known.iter().all(|last| *last < end_us),
            "no clock runs away"
        );
    }
}

/// Clocks that can't be right are ignored: lines then count on from what is known.
#[test]
fn implausible_clocks_are_ignored() {
    let next = |wall_ms| HybridClock::default().next(WallTime(wall_ms));
    for wall_ms in [
        i64::MIN,
        -1,
        0,
        1,
        1_767_225_599_999,
        YEAR_2200_MS,
        i64::MAX,
    ] {
        assert_eq!(next(wall_ms), 1, "{wall_ms}");
    }
    for wall_ms in [
        1_767_225_600_000,
        NOW_MS,
        YEAR_2040_MS,
        (1 << 52) / 1000 - 1,
    ] {
        assert_eq!(next(wall_ms), wall_ms.unsigned_abs() * 1000, "{wall_ms}");
    }
    let mut clock = HybridClock::default();
    clock.observe(NOW_MS.unsigned_abs() * 1000);
    assert_eq!(clock.next(WallTime(0)), NOW_MS.unsigned_abs() * 1000 + 1);
}

/// A liar at 2^52 costs no more than a Lamport clock does: time no longer orders the lines, but
/// causality does, for those who meet the liar and for newcomers.
#[test]
fn a_liar_costs_no_more_than_a_logical_clock() {
    let (mut alice, mut bob) = (HybridClock::default(), HybridClock::default());
    alice.observe(LIAR);
    for n in 1..10_000 {
        let lamport = publish(&mut alice, NOW_MS, 1);
        assert_eq!(lamport, LIAR + n, "one number for each line");
    }
    // Bob knows only the last line.
    bob.observe(LIAR + 9_999);
    assert!(bob.next(WallTime(NOW_MS)) > LIAR + 9_999);
}

/// Numbers above 2^52 move the clock by bounded steps, so nobody can use up the numbers.
#[test]
fn numbers_far_ahead_are_followed_in_bounded_steps() {
    let mut clock = HybridClock::default();
    for n in 0..1_000 {
        clock.observe(MAX_SAFE_INTEGER - BATCH_LINES_MAX as u64);
        assert_eq!(clock.next(WallTime(NOW_MS)), LIAR + ((n + 1) << 20) + 1);
    }
    let mut clock = HybridClock::default();
    clock.restore(u64::MAX);
    for _ in 0..1_000 {
        let lamport = publish(&mut clock, NOW_MS, BATCH_LINES_MAX as u64);
        assert!(lamport <= MAX_SAFE_INTEGER - BATCH_LINES_MAX as u64);
    }
}
