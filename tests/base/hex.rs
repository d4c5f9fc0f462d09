//! The text of 64-bit numbers: exactly 16 lower-case hex digits.
use p2pchat::base::hex;

#[test]
fn a_number_has_one_text_form() {
    for (number, text) in [
        (0, "0000000000000000"),
        (0x9f, "000000000000009f"),
        (u64::MAX, "ffffffffffffffff"),
    ] {
        assert_eq!(hex::format(number), text);
        assert_eq!(hex::parse(text), Some(number), "{text}");
    }
    for text in [
        "",
        "+1",
        "+00000000000009f",
        "-00000000000009f",
        "9f",
        "000000000000009F",
        " 00000000000009f",
        "0x0000000000009f",
        "0000000000000009f",
        "000000000000009f\0",
        "00000000000000９",
    ] {
        assert_eq!(hex::parse(text), None, "{text:?}");
    }
}
