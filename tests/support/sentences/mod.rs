//! A check for sentences shown to users.

/// Checks that a sentence for the user is one short line without control characters.
pub fn assert_one_line(sentence: &str) {
    assert!(!sentence.is_empty() && !sentence.chars().any(char::is_control));
    assert!(sentence.chars().count() < 240, "{sentence}");
}
