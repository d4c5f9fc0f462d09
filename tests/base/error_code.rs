//! The words of error codes, which scripts rely on.

use p2pchat::base::error_code::{ErrorCode, ParseErrorCodeError};

/// Each code has one word, which parses back to the code.
#[test]
fn error_codes_keep_their_words() {
    for (code, word) in [
        (ErrorCode::Room, "room"),
        (ErrorCode::TooManyRooms, "rooms"),
        (ErrorCode::Target, "target"),
        (ErrorCode::WrongKey, "key"),
        (ErrorCode::BoundName, "bound"),
        (ErrorCode::OtherKey, "other-key"),
        (ErrorCode::Absent, "absent"),
        (ErrorCode::DuplicateIdentity, "twin"),
        (ErrorCode::Fork, "fork"),
        (ErrorCode::Incarnation, "incarnation"),
        (ErrorCode::TooManyLogs, "logs"),
        (ErrorCode::Presence, "presence"),
        (ErrorCode::Store, "store"),
        (ErrorCode::InvalidLine, "line"),
        (ErrorCode::Failed, "failed"),
    ] {
        assert_eq!(code.as_str(), word);
        assert_eq!(word.parse(), Ok(code));
    }
    assert_eq!("disk".parse::<ErrorCode>(), Err(ParseErrorCodeError));
}
