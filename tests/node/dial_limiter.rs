//! How often we dial.
use p2pchat::base::time::Time;
use p2pchat::node::discovery::dial_limiter::DialLimiter;

/// How many dials start in ten seconds if some always wait. `lead_to_transient`: whether each of
/// them at once leads to a peer that says that it is transient.
fn dials_in_ten_seconds(lead_to_transient: bool) -> usize {
    let mut limiter = DialLimiter::default();
    let mut dials = 0;
    let mut now = Time(0);
    while now < Time(10_000) {
        while limiter.can_dial(now) {
            limiter.record();
            dials += 1;
            assert!(dials < 10_000, "no limit");
            if lead_to_transient {
                limiter.record_transient(now);
            }
        }
        let next = limiter.next_at().expect("a limit");
        assert!(next > now, "{next:?} at {now:?}");
        now = next;
    }
    dials
}

/// Beacons make us dial 20 times a second. A script that sends line after line is served 200 times a
/// second more, and whoever only says that it is such a script gets no more than that.
#[test]
fn dials_are_limited_whoever_is_dialed() {
    assert_eq!(dials_in_ten_seconds(false), 40 + 199);
    let most = dials_in_ten_seconds(true);
    assert!((2_000..=40 + 199 + 20 + 2_000).contains(&most), "{most}");
}
