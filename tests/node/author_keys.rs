//! The cache of authors' keys.
use p2pchat::base::batch::batch::{Batch, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::identity::{Identity, NetworkTag};
use p2pchat::base::lines::Lines;
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::WallTime;
use p2pchat::node::replication::author_keys::AuthorKeys;

/// A batch of this author, signed by `signer`.
fn batch(author: &Identity, signer: &Identity) -> Batch {
    let mut lines = Lines::default();
    lines.push(b"line").expect("a short line");
    let draft = UnsignedBatch {
        log: LogId {
            target: Target::Room(Room::general()),
            author: author.id(),
            incarnation: 1,
        },
        username: Nick::new_or_placeholder("bob"),
        sequence: 1,
        lamport: 1,
        timestamp: WallTime(0),
        run: 1,
        uptime: 0,
        republishes: None,
        salt: 9,
        previous: None,
        form: LineForm::Text,
        lines: &lines,
        sealed: None,
    };
    Batch::sign(signer, &NetworkTag::OPEN, draft)
}

/// Two authors whose ids begin with the same byte.
fn authors_in_one_place() -> [Identity; 2] {
    let identity = |seed: u8| Identity::from_seed(&[seed; 32]);
    let place = |seed: u8| identity(seed).id().0[0];
    let same = |a: u8| (0..a).find(|b| place(*b) == place(a)).map(|b| [a, b]);
    let pair = (0..=255).find_map(same).expect("a pair among 256");
    pair.map(identity)
}

/// Two authors share a place in the cache, and never a key.
#[test]
fn authors_in_one_place_are_told_apart() {
    let authors = authors_in_one_place();
    let mut keys = AuthorKeys::default();
    for author in authors.iter().chain(&authors) {
        for signer in &authors {
            let is_signed = keys.verify(&batch(author, signer));
            assert_eq!(is_signed, author.id() == signer.id());
        }
    }
}
