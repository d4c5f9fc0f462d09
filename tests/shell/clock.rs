//! The clock of a run.
use p2pchat::base::time::Time;
use p2pchat::shell::os::clock::Clock;

/// The boot clock goes back if a process is restored from a snapshot. The time of the run goes on
/// from where it was.
#[test]
fn time_never_goes_back() {
    let mut clock = Clock::start();
    let boot_ms = clock.started().boot_ms;
    let times = [90_000, 86_490_000, 60_000, 60_005, 90_005].map(|after_ms| boot_ms + after_ms);
    let times = times.map(|boot_ms| clock.time_at(boot_ms));
    let expected = [90_000, 86_490_000, 86_490_000, 86_490_005, 86_520_005];
    assert_eq!(times, expected.map(Time));
}
