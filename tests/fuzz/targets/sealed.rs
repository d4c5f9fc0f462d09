//! The sealed content of a direct message, signed by its author.
#![no_main]
use data_encoding::BASE64URL_NOPAD;
use libfuzzer_sys::fuzz_target;
use p2pchat::base::batch::batch::{Batch, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::identity::{Identity, NetworkTag};
use p2pchat::base::lines::Lines;
use p2pchat::base::name::{Nick, Target};
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::WallTime;
use p2pchat::wire::sealed;

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, content)) = bytes.split_first() else {
        return;
    };
    let author = Identity::from_seed(&[1; 32]);
    let recipient = Identity::from_seed(&[2; 32]);
    let log = LogId {
        target: Target::Peer(recipient.id()),
        author: author.id(),
        incarnation: 7,
    };
    let Some(lines) = Lines::parse(content).filter(|lines| !lines.is_empty()) else {
        return;
    };
    // The text sealed as the author does it, or the bytes as they are.
    let text = match mode & 1 {
        0 => sealed::seal([3; 32], &NetworkTag::OPEN, &log, 1, &lines),
        _ => Some(BASE64URL_NOPAD.encode(content)),
    };
    let Some(text) = text else { return };
    let draft = UnsignedBatch {
        log,
        username: Nick::new("alice").expect("a name"),
        sequence: 1,
        lamport: 1,
        timestamp: WallTime(0),
        run: 1,
        uptime: 0,
        previous: None,
        form: LineForm::Text,
        republishes: None,
        lines: &lines,
        sealed: Some(&text),
        salt: 0,
    };
    let batch = Batch::sign(&author, &NetworkTag::OPEN, draft);
    let opened = sealed::open(&recipient, &NetworkTag::OPEN, &batch);
    if let Some(opened) = opened {
        assert_eq!(opened, lines);
    }
});
