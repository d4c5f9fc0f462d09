//! How often the logs of a link are acknowledged.
use p2pchat::base::batch::batch::LogId;
use p2pchat::base::identity::PeerId;
use p2pchat::base::name::{Room, Target};
use p2pchat::base::time::Time;
use p2pchat::node::replication::logs::ack_times::{ACKED_LOGS_MAX, AckTimes};

fn log(number: usize) -> LogId {
    LogId {
        target: Target::Room(Room::general()),
        author: PeerId([7; 32]),
        incarnation: number as u64,
    }
}

/// However many logs are acknowledged, each one waits 5 ms for its next time, 20 ms in a bulk
/// transfer. So do those that share an interval, all together.
#[test]
fn each_log_waits_for_its_interval() {
    let mut times = AckTimes::default();
    for round in 0..20 {
        let now = Time(1_000 + 5 * round);
        for number in 0..ACKED_LOGS_MAX {
            assert!(times.next_at(&log(number), 1) <= now, "round {round}");
            times.record(&log(number), now);
            assert_eq!(times.next_at(&log(number), 1), now + 5, "round {round}");
            assert_eq!(times.next_at(&log(number), 8), now + 20, "round {round}");
            assert_eq!(times.next_at(&log(number), 512), now, "round {round}");
        }
    }
    // The table is full. Those beyond it wait for each other, and not for those in it.
    let now = Time(1_097);
    let [first, second] = [log(ACKED_LOGS_MAX), log(ACKED_LOGS_MAX + 1)];
    assert_eq!(times.next_at(&first, 1), Time(0));
    times.record(&first, now);
    assert_eq!(times.next_at(&first, 1), now + 5);
    assert_eq!(times.next_at(&second, 1), now + 5);
    for number in 0..ACKED_LOGS_MAX {
        times.record(&log(number), now + 4);
    }
    assert_eq!(times.next_at(&second, 1), now + 5);
    // Old times are forgotten.
    times.record(&log(0), now + 60);
    assert_eq!(times.next_at(&second, 1), Time(0));
}
