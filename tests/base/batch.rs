//! Batches: what is signed, and which bytes are accepted.
use p2pchat::base::batch::{Batch, LogId, MAX_SAFE_INTEGER, MalformedBatch, UnsignedBatch};
use p2pchat::base::identity::{Identity, NetworkTag};
use p2pchat::base::lines::Lines;
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::time::WallTime;

const NETWORK: NetworkTag = NetworkTag::OPEN;

fn alice() -> Identity {
    Identity::from_seed(&[1; 32])
}

/// The first batch of alice in #general.
fn first_batch(texts: &[&str]) -> Batch {
    let mut lines = Lines::default();
    for text in texts {
        lines.push(text.as_bytes()).expect("a fit line");
    }
    let draft = UnsignedBatch {
        log: LogId {
            target: Target::Room(Room::general()),
            author: alice().id(),
            incarnation: 7,
        },
        username: Nick::new("alice").expect("a fit name"),
        sequence: 1,
        lamport: 40,
        timestamp: WallTime(1_700_000_000_000),
        run: 0xabc,
        uptime: 1234,
        previous: None,
        action: false,
        lines: &lines,
        sealed: None,
    };
    Batch::sign(&alice(), &NETWORK, draft)
}

/// The batch whose JSON has `to` in place of `from`.
fn with(from: &str, to: &str) -> Result<Batch, MalformedBatch> {
    let batch = first_batch(&["good day"]);
    let json = String::from_utf8(batch.as_bytes().to_vec()).expect("JSON");
    assert!(json.contains(from), "{json}");
    Batch::parse(json.replacen(from, to, 1).into_bytes(), &NETWORK)
}

#[test]
fn the_run_and_its_uptime_are_signed() {
    let batch = first_batch(&["good day"]);
    let parsed = Batch::parse(batch.as_bytes().to_vec(), &NETWORK).expect("a batch");
    assert_eq!((parsed.run, parsed.uptime), (0xabc, 1234));
    let key = alice().id().verifying_key().expect("a key");
    assert!(parsed.verify(&key));
    for (from, to) in [("abc\"", "abd\""), ("1234", "1235")] {
        let changed = with(from, to).expect("well-formed");
        assert!(!changed.verify(&key), "{to}");
    }
}

#[test]
fn hexadecimal_fields_have_one_form() {
    for (from, to) in [
        ("\"0000000000000abc\"", "\"abc\""),
        ("\"0000000000000abc\"", "\"+000000000000abc\""),
        ("\"0000000000000abc\"", "\"0000000000000ABC\""),
        ("\"0000000000000abc\"", "2748"),
        ("\"0000000000000007\"", "\"7\""),
        ("\"0000000000000007\"", "\"+000000000000007\""),
    ] {
        assert_eq!(with(from, to).err(), Some(MalformedBatch), "{to}");
    }
}

#[test]
fn numbers_are_bounded_so_that_every_json_reader_keeps_them_exact() {
    assert!(with("1234", &MAX_SAFE_INTEGER.to_string()).is_ok());
    for number in ["9007199254740992", "18446744073709551616", "-1", "1.5"] {
        assert!(with("1234", number).is_err(), "{number}");
    }
}
