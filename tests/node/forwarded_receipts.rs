//! A receipt goes over a link a few times only, so that no ring of relays keeps it alive.
use p2pchat::base::event::stream_id::StreamId;
use p2pchat::base::time::Time;
use p2pchat::node::replication::receipts::forwarded_receipts::ForwardedReceipts;

const BOB: StreamId = StreamId(1);
const CAROL: StreamId = StreamId(3);

/// The text of a signature.
fn signature(number: u32) -> String {
    format!("{number:086}").chars().rev().collect()
}

/// Three times at most, a second apart, on each link; and again after a minute.
#[test]
fn a_receipt_is_forwarded_three_times() {
    let mut forwarded = ForwardedReceipts::default();
    let receipt = signature(1);
    let mut admits = |stream, at| forwarded.admit(stream, &receipt, Time(at));
    assert!(admits(BOB, 0));
    assert!(!admits(BOB, 999));
    assert!(admits(CAROL, 999));
    assert!(admits(BOB, 1_000));
    assert!(admits(BOB, 2_000));
    assert!(!admits(BOB, 3_000));
    assert!(!admits(BOB, 61_999));
    assert!(admits(BOB, 62_000));
    assert!(!admits(BOB, 62_999));
    assert!(!forwarded.admit(BOB, "short", Time(0)));
}

/// 1024 receipts are remembered, the latest ones.
#[test]
fn the_oldest_receipt_is_forgotten() {
    let mut forwarded = ForwardedReceipts::default();
    let all = |forwarded: &mut ForwardedReceipts, numbers: std::ops::Range<u32>| {
        let admitted = numbers.filter(|n| forwarded.admit(BOB, &signature(*n), Time(0)));
        admitted.count()
    };
    assert_eq!(all(&mut forwarded, 0..1_025), 1_025);
    assert_eq!(all(&mut forwarded, 1..1_025), 0);
    assert_eq!(all(&mut forwarded, 0..1), 1);
}
