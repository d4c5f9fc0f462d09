//! Timestamps in RFC 3339: formatting and parsing.

use p2pchat::base::time::WallTime;

/// Times outside the years 0000 to 9999 are printed as the epoch.
#[test]
fn a_timestamp_is_formatted_in_utc() {
    for (ms, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (951_827_696_789, "2000-02-29T12:34:56.789Z"),
        (253_402_207_199_999, "9999-12-30T21:59:59.999Z"),
        (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
        (-62_167_219_200_001, "1970-01-01T00:00:00.000Z"),
        (i64::MAX, "1970-01-01T00:00:00.000Z"),
        (i64::MIN, "1970-01-01T00:00:00.000Z"),
    ] {
        assert_eq!(WallTime(ms).to_string(), text, "{ms}");
    }
}

/// Digits below milliseconds are cut, and a leap second counts as the second before.
#[test]
fn a_timestamp_of_any_offset_is_parsed() {
    for (text, ms) in [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2000-02-29T12:34:56.789Z", 951_827_696_789),
        ("2000-02-29t14:04:56.7899999+01:30", 951_827_696_789),
        ("2000-02-29 04:34:56.7-08:00", 951_827_696_700),
        ("2016-12-31T23:59:60Z", 1_483_228_799_000),
    ] {
        assert_eq!(WallTime::parse(text), Some(WallTime(ms)), "{text}");
    }
}

/// Only full RFC 3339 timestamps in ASCII are parsed.
#[test]
fn malformed_timestamps_are_refused() {
    for text in [
        "",
        "now",
        "2000-02-29",
        "2000-02-29T12:34:56",
        "2000-02-29T12:34Z",
        "2000-02-29T12:34:56.Z",
        "2000-02-29T12:34:56.5",
        "2000-02-29T12:34:56Z ",
        "2000-02-29T12:34:56+1:00",
        "2000-02-29T12:34:56+01:0x",
        "2001-02-29T12:34:56Z",
        "2000-13-01T12:34:56Z",
        "2000-01-01T24:00:00Z",
        "2000-01-01T00:60:00Z",
        "2000-01-01T00:00:61Z",
        "2000/01/01T00:00:00Z",
        "200\u{660}-01-01T00:00:00Z",
        "-200-01-01T00:00:00Z",
        "2000-01-01T00:00:00\u{2212}01:00",
    ] {
        assert_eq!(WallTime::parse(text), None, "{text}");
    }
}
