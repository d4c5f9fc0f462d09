//! The words of messages on the wire.
use p2pchat::wire::message::{ByeReason, Message};

#[test]
fn reasons_of_a_bye_keep_their_words() {
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

#[test]
fn an_unknown_reason_of_a_bye_is_accepted() {
    let bye = Message::parse(br#"{"type":"bye","reason":"tired","since":3}"#);
    let reason = ByeReason::Unknown;
    assert_eq!(bye, Some(Message::Bye { reason }));
}
