//! Sentences on stderr: which notices have one, and its text.

use p2pchat::base::error_code::ErrorCode;
use p2pchat::base::event::Notice;
use p2pchat::ui::diagnostic;

use super::support::{bob_says, chat, identity, peer, short, wall_time};

/// A changed key, a duplicate identity and an error reach the user on stderr; chat does not.
#[test]
fn notices_for_stderr_are_one_sentence_each() {
    let notice = Notice::KeyMismatch {
        peer: peer(2, "bob"),
        known_id: identity(3).id(),
        first_seen: wall_time("2026-11-01T10:00:00Z"),
    };
    let (b, c) = (short(2), short(3));
    assert_eq!(
        diagnostic::notice_diagnostic(&notice).unwrap(),
        format!("p2pchat: bob~{b} is not the bob~{c} known since 2026-11-01: another key")
    );
    let duplicate = diagnostic::notice_diagnostic(&Notice::DuplicateIdentity {
        address: None,
        reported_by: None,
    })
    .unwrap();
    assert!(duplicate.contains("--dir") && duplicate.contains("--ephemeral"));
    let error = Notice::Error {
        code: ErrorCode::Store,
        content: "the disk is full".into(),
    };
    let sentence = diagnostic::notice_diagnostic(&error);
    assert_eq!(sentence.as_deref(), Some("p2pchat: the disk is full"));
    assert_eq!(
        diagnostic::notice_diagnostic(&chat(bob_says(&["hi"]))),
        None
    );
}
