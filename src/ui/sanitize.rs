//! Replaces control characters in shown text, so that the text cannot control the terminal.
use std::borrow::Cow;

/// Can this byte begin a character for which [`is_control`] is true? True for DEL, for C0 controls
/// except TAB, and for two UTF-8 lead bytes. C2 is the first byte of the C1 controls. E2 is the
/// first byte of the line separators and the bidi controls.
pub fn may_need_replacing(byte: u8) -> bool {
    (byte < 0x20) & (byte != b'\t') | (byte == 0x7f) | (byte == 0xc2) | (byte == 0xe2)
}

/// Are all eight bytes printable ASCII?
fn is_printable_ascii(word: [u8; 8]) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_ne_bytes(word);
    // One of the three terms sets the highest bit of a byte that is not ASCII, is DEL, or is less
    // than a space. Only such a byte can carry into or borrow from its neighbour.
    (word | word.wrapping_add(EACH) | word.wrapping_sub(0x20 * EACH)) & (0x80 * EACH) == 0
}

/// Is the text free of bytes for which [`may_need_replacing`] is true? Checks eight bytes at once,
/// because this check runs for every shown line.
fn is_plain(text: &str) -> bool {
    let (words, rest) = text.as_bytes().as_chunks();
    let harmless = |bytes: &[u8]| !bytes.iter().copied().any(may_need_replacing);
    let mut words = words.iter();
    words.all(|word| is_printable_ascii(*word) || harmless(word)) && harmless(rest)
}

/// Is this a line separator, a bidi control, or a control character other than TAB?
pub fn is_control(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{a}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}'
        | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns the character to show instead of `c`. A character stays unchanged unless [`is_control`]
/// is true for it. A C0 control becomes its symbol at U+2400 + `c`. Any other control becomes
/// U+FFFD.
pub fn replace_control(c: char) -> char {
    match c {
        _ if !is_control(c) => c,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        _ => '\u{fffd}',
    }
}

/// Replaces every character for which [`is_control`] is true, as [`replace_control`] says.
pub fn sanitize(text: &str) -> Cow<'_, str> {
    if is_plain(text) || !text.chars().any(is_control) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.chars().map(replace_control).collect())
    }
}
