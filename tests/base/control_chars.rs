//! Which texts contain control characters. 32 bytes are checked at once, and then eight, so each
//! position within and after them matters.
use p2pchat::base::text::control_chars::{
    has_control, has_control_in_lines, is_control, is_plain_json, is_plain_json_in_lines,
};

#[test]
fn a_control_character_is_found_at_each_position() {
    for length in 0..=80 {
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
                assert_eq!(has_control_in_lines(&text), is_control, "{text:?}");
            }
        }
    }
}

#[test]
fn each_character_is_told_from_the_others() {
    for character in '\0'..='\u{2100}' {
        for at in [0, 13, 40] {
            let text = with_character(41, at, character);
            assert_eq!(has_control(&text), is_control(character), "{text:?}");
            let is_line_end = character == '\n';
            assert_eq!(
                has_control_in_lines(&text),
                is_control(character) && !is_line_end,
                "{text:?}"
            );
        }
    }
}

#[test]
fn a_character_that_needs_an_escape_is_found_at_each_position() {
    for length in 0..=80 {
        assert!(is_plain_json(&"x".repeat(length)));
        for at in 0..length {
            for character in ['"', '\\', '\t', '\0', '\u{7f}', '\u{85}'] {
                let text = with_character(length, at, character);
                assert!(!is_plain_json(&text), "{text:?}");
                assert!(!is_plain_json_in_lines(&text), "{text:?}");
            }
        }
    }
}

#[test]
fn a_line_end_is_a_control_character_unless_it_ends_a_line() {
    for length in 0..=80 {
        for at in 0..length {
            let text = with_character(length, at, '\n');
            assert!(
                has_control(&text) && !has_control_in_lines(&text),
                "{text:?}"
            );
            assert!(
                !is_plain_json(&text) && is_plain_json_in_lines(&text),
                "{text:?}"
            );
            // Beside a line end, each other control character is found as well.
            for character in ['\u{b}', '\u{9}', '\u{1}', '\u{0}', '\u{7f}', '\u{85}'] {
                for text in [
                    text.replace('\n', &format!("\n{character}")),
                    text.replace('\n', &format!("{character}\n")),
                ] {
                    assert_eq!(has_control_in_lines(&text), character != '\t', "{text:?}");
                    assert!(!is_plain_json_in_lines(&text), "{text:?}");
                }
            }
        }
    }
}

fn with_character(length: usize, at: usize, character: char) -> String {
    let mut text = "x".repeat(at);
    text.push(character);
    text + &"x".repeat(length - at - 1)
}
