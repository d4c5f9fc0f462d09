//! Finds the user's name in what others say.
use std::ops::Range;

/// Where `name` stands in `text` as a whole word, in either case of letters. `None`: nowhere at or
/// after byte `from`, which must be the boundary of a character.
pub fn find_mention(text: &str, name: &str, from: usize) -> Option<Range<usize>> {
    let mut before = text[..from].chars().next_back();
    for (i, c) in text[from..].char_indices() {
        let start = from + i;
        if !before.is_some_and(is_word)
            && let Some(len) = prefix_len_bytes(&text[start..], name)
            && !text[start + len..].starts_with(is_word)
        {
            return Some(start..start + len);
        }
        before = Some(c);
    }
    None
}

/// The length of the name with which the text begins. `None`: it begins otherwise.
fn prefix_len_bytes(text: &str, name: &str) -> Option<usize> {
    let mut rest = text.chars();
    for wanted in name.chars() {
        let c = rest.next()?;
        if c != wanted && !c.to_lowercase().eq(wanted.to_lowercase()) {
            return None;
        }
    }
    Some(text.len() - rest.as_str().len())
}

/// Whether the character belongs to a word. A name beside it is a part of another word.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
