//! Replaces control characters in text to be shown, so that it cannot act on the terminal.
use std::borrow::Cow;

/// Can this byte begin a character that [`is_control`] matches? These are C0 except TAB, DEL, and
/// the lead bytes of C1 (C2) and of separators and bidi controls (E2). Text without them needs no
/// decoding.
pub fn may_need_replacing(byte: u8) -> bool {
    (byte < 0x20) & (byte != b'\t') | (byte == 0x7f) | (byte == 0xc2) | (byte == 0xe2)
}

/// Are all eight bytes printable ASCII?
fn is_printable_ascii(word: [u8; 8]) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_ne_bytes(word);
    // A byte sets its highest bit in one of the terms if it is not ASCII, DEL, or less than a
    // space. Only such a byte carries into the next.
    (word | word.wrapping_add(EACH) | word.wrapping_sub(0x20 * EACH)) & (0x80 * EACH) == 0
}

/// Is the text free of bytes that may need replacing? Examines eight bytes at once, as every
/// shown line passes here.
fn is_plain(text: &str) -> bool {
    let (words, rest) = text.as_bytes().as_chunks();
    let harmless = |bytes: &[u8]| !bytes.iter().copied().any(may_need_replacing);
    let mut words = words.iter();
    words.all(|word| is_printable_ascii(*word) || harmless(word)) && harmless(rest)
}

/// Is this a control character other than TAB, a line separator, or a bidi control?
pub fn is_control(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{a}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}'
        | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The character to show: C0 as its picture U+2400 + n, other controls as U+FFFD, all others
/// unchanged.
pub fn replace_control(c: char) -> char {
    match c {
        _ if !is_control(c) => c,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        _ => '\u{fffd}',
    }
}

/// Replaces every control character: see [`replace_control`].
pub fn sanitize(text: &str) -> Cow<'_, str> {
    if is_plain(text) || !text.chars().any(is_control) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.chars().map(replace_control).collect())
    }
}
