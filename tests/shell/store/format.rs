//! The document of the store's format: its examples are valid.
use p2pchat::base::batch::batch::Batch;
use p2pchat::base::identity::NetworkTag;
use p2pchat::base::name::{FolderName, Room};
use p2pchat::shell::store::segment::frontier::{self, Frontier};
use p2pchat::shell::store::segment::segment_file::dropped_line;

use crate::documents::examples;

const FORMAT: &str = include_str!("../../../src/shell/store/FORMAT.md");

/// Whoever reads segments with a program of their own starts from the examples.
#[test]
fn the_examples_are_valid() {
    let examples = examples(FORMAT);
    let [stored, frontier, dropped] = &examples[..] else {
        panic!("{examples:?}");
    };
    let (batch, local) =
        Batch::parse_stored(stored.as_bytes(), &NetworkTag::OPEN).expect("a stored batch");
    let key = batch.log.author.verifying_key().expect("a key");
    assert!(batch.verify(&key) && local.late);
    let folder = FolderName::from(&Room::general());
    let parsed = Frontier::parse(frontier.as_bytes(), &folder).expect("a frontier");
    let mut written = Vec::new();
    frontier::write(
        parsed.ranges.as_slice(),
        &parsed.author_bytes,
        parsed.max_lamport,
        &mut written,
    );
    assert_eq!(written, format!("{frontier}\n").into_bytes());
    assert_eq!(*dropped, dropped_line(83_512).trim_end());
}
