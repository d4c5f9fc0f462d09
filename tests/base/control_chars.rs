//! Which texts contain control characters. Eight bytes are checked at once, so each position within
//! and after them matters.
use p2pchat::base::text::control_chars::{has_control, is_plain_json};

#[test]
fn a_control_character_is_found_at_each_position() {
    for length in 0..=40 {
        for at in 0..length {
            for (character, is_control) in [
                ('\u{1b}', true),
                ('\u{7f}', true),
                ('\u{9b}', true),
                ('\u{202e}', true),
                ('\t', false),
                ('é', false),
                ('…', false),
            ] {
                let text = with_character(length, at, character);
                assert_eq!(has_control(&text), is_control, "{text:?}");
            }
        }
    }
}

#[test]
fn a_character_that_needs_an_escape_is_found_at_each_position() {
    for length in 0..=40 {
        assert!(is_plain_json(&"x".repeat(length)));
        for at in 0..length {
            for character in ['"', '\\', '\t', '\0', '\u{7f}', '\u{85}'] {
                let text = with_character(length, at, character);
                assert!(!is_plain_json(&text), "{text:?}");
            }
        }
    }
}

fn with_character(length: usize, at: usize, character: char) -> String {
    let mut text = "x".repeat(at);
    text.push(character);
    text + &"x".repeat(length - at - 1)
}
