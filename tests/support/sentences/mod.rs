//! A check for sentences shown to users.

pub fn one_line(sentence: &str) {
    assert!(!sentence.is_empty() && !sentence.chars().any(char::is_control));
    assert!(sentence.chars().count() < 240, "{sentence}");
}
