//! The words of messages on the wire, which other versions rely on.
use p2pchat::wire::message::{ByeReason, Message};

/// Peers of other versions rely on the words.
#[test]
fn bye_reasons_keep_their_words() {
    for (reason, word) in [
        (ByeReason::Leave, "leave"),
        (ByeReason::Duplicate, "duplicate"),
        (ByeReason::DuplicateIdentity, "twin"),
        (ByeReason::Full, "full"),
        (ByeReason::UnexpectedPeer, "other"),
        (ByeReason::InvalidMessage, "broken"),
        (ByeReason::Silent, "silent"),
    ] {
        let bytes = format!(r#"{{"type":"bye","reason":"{word}"}}"#).into_bytes();
        let message = Message::Bye { reason };
        assert_eq!(Message::parse(&bytes), Some(message.clone()));
        assert_eq!(message.encode(), bytes);
    }
}

/// A later version may add reasons and fields.
#[test]
fn an_unknown_bye_reason_is_accepted() {
    let bye = Message::parse(br#"{"type":"bye","reason":"tired","since":3}"#);
    let reason = ByeReason::Unknown;
    assert_eq!(bye, Some(Message::Bye { reason }));
}
