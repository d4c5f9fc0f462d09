//! Control characters in text that is shown.
use std::borrow::Cow;

/// May this byte begin a character that is shown as another? C0 but TAB, DEL, and the lead bytes of C1 (C2) and of the separators and bidi
/// controls (E2). Foreign scripts but for these two lead bytes stay on the fast path.
pub fn may_need_replacing(byte: u8) -> bool {
    (byte < 0x20) & (byte != b'\t') | (byte == 0x7f) | (byte == 0xc2) | (byte == 0xe2)
}

/// Are these eight printable ASCII characters?
fn is_printable_ascii(word: [u8; 8]) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_ne_bytes(word);
    // The highest bit of a byte is set in one of these if it is no ASCII, DEL, or less than a blank. Only such a byte carries into the next.
    (word | word.wrapping_add(EACH) | word.wrapping_sub(0x20 * EACH)) & (0x80 * EACH) == 0
}

/// Each line that is shown goes through this, so eight bytes are looked at together.
fn is_plain(text: &str) -> bool {
    let (words, rest) = text.as_bytes().as_chunks();
    let harmless = |bytes: &[u8]| !bytes.iter().copied().any(may_need_replacing);
    let mut words = words.iter();
    words.all(|word| is_printable_ascii(*word) || harmless(word)) && harmless(rest)
}

/// Would this character, shown as it is, act on the terminal or on its neighbours? TAB does not count.
pub fn is_control(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{a}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}'
        | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What is shown in a character's place: C0 as its picture U+2400 + n, the other controls as U+FFFD, all else as it is.
pub fn replace_control(c: char) -> char {
    match c {
        _ if !is_control(c) => c,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        _ => '\u{fffd}',
    }
}

/// The text as it may be shown anywhere: no character of it acts on a terminal or hides the order of its neighbours.
pub fn sanitize(text: &str) -> Cow<'_, str> {
    if is_plain(text) || !text.chars().any(is_control) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.chars().map(replace_control).collect())
    }
}
