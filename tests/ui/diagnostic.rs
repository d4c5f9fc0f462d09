//! Sentences on stderr: which notices have one, and its text.

use p2pchat::base::error_code::ErrorCode;
use p2pchat::base::event::notice::Notice;
use p2pchat::ui::diagnostic::{format_diagnostic, notice_warning};

use super::support::{bob_says, chat, identity, peer, short, wall_time};

/// A sentence on stderr names the program, and cannot begin another line.
#[test]
fn a_diagnostic_is_one_line_of_the_program() {
    let line = format_diagnostic("the disk\nis full");
    assert!(line.starts_with("p2pchat: the disk"), "{line}");
    assert!(!line.contains('\n'), "{line}");
}

/// A changed key, a duplicate identity and an error reach the user on stderr; chat does not.
#[test]
fn notices_for_stderr_are_one_sentence_each() {
    let notice = |is_bound| Notice::KeyMismatch {
        peer: peer(2, "bob"),
        known_id: identity(3).id(),
        first_seen: wall_time("2026-11-01T10:00:00Z"),
        is_bound,
    };
    let (b, c) = (short(2), short(3));
    assert_eq!(
        notice_warning(&notice(false)).unwrap(),
        format!(
            "bob~{b} is not the bob~{c} known since 2026-11-01: another key; to write to it: \
             @bob~{b}"
        )
    );
    assert_eq!(
        notice_warning(&notice(true)).unwrap(),
        format!(
            "WARNING: bob~{b} IS NOT the bob~{c} that you know: another key uses this name; to \
             write to it: @{id}; if the key has changed: p2pchat trust add bob {id}",
            id = identity(2).id()
        )
    );
    let duplicate = notice_warning(&Notice::DuplicateIdentity {
        address: None,
        reported_by: None,
    })
    .unwrap();
    assert!(duplicate.contains("--dir") && duplicate.contains("--ephemeral"));
    let error = Notice::Error {
        code: ErrorCode::Store,
        content: "the disk is full".into(),
    };
    let sentence = notice_warning(&error);
    assert_eq!(sentence.as_deref(), Some("the disk is full"));
    assert_eq!(notice_warning(&chat(bob_says(&["hi"]))), None);
}
