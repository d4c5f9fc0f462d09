//! Control characters: the ones that could control a terminal, or change the order in which it
//! shows other text.

/// Is this a line separator, a bidi control, or a control character other than TAB?
pub fn is_control(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{a}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}'
        | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Does the text contain a character for which [`is_control`] is true?
pub fn has_control(text: &str) -> bool {
    !is_plain(text) && text.chars().any(is_control)
}

/// Can this byte begin a character for which [`is_control`] is true? True for DEL, for C0 controls
/// except TAB, and for two UTF-8 lead bytes. C2 is the first byte of the C1 controls. E2 is the
/// first byte of the line separators and the bidi controls.
pub fn may_begin_control(byte: u8) -> bool {
    (byte < 0x20) & (byte != b'\t') | (byte == 0x7f) | (byte == 0xc2) | (byte == 0xe2)
}

/// Are all eight bytes printable ASCII?
fn is_printable_ascii(word: [u8; 8]) -> bool {
    let each = 0x0101_0101_0101_0101;
    let word = u64::from_ne_bytes(word);
    // One of the three terms sets the highest bit of a byte that is not ASCII, is DEL, or is less
    // than a space. Only such a byte can carry into or borrow from its neighbour.
    (word | word.wrapping_add(each) | word.wrapping_sub(0x20 * each)) & (0x80 * each) == 0
}

/// Does one of the eight bytes equal this one?
fn contains(word: [u8; 8], byte: u8) -> bool {
    let each = 0x0101_0101_0101_0101;
    let other = u64::from_ne_bytes(word) ^ (u64::from(byte) * each);
    // The lowest byte that is zero borrows into its highest bit.
    other.wrapping_sub(each) & !other & (0x80 * each) != 0
}

/// Is the text free of bytes for which [`may_begin_control`] is true? Checks eight bytes at once,
/// because this check runs for every received and every shown line.
fn is_plain(text: &str) -> bool {
    is_free_of(text, may_begin_control, is_printable_ascii)
}

/// Is the text free of TAB, `"`, `\`, and bytes for which [`may_begin_control`] is true? Checks
/// eight bytes at once, because this check runs for every line that we sign.
pub fn is_plain_json(text: &str) -> bool {
    let may_need_escape = |byte: u8| matches!(byte, b'\t' | b'"' | b'\\') | may_begin_control(byte);
    let is_plain_word =
        |word: [u8; 8]| is_printable_ascii(word) && !contains(word, b'"') && !contains(word, b'\\');
    is_free_of(text, may_need_escape, is_plain_word)
}

/// Is the text free of bytes for which `is_special` is true? `is_plain_word`: whether eight bytes
/// certainly contain none of them.
fn is_free_of(
    text: &str,
    is_special: impl Fn(u8) -> bool,
    is_plain_word: impl Fn([u8; 8]) -> bool,
) -> bool {
    let (words, rest) = text.as_bytes().as_chunks();
    // The last eight bytes contain the rest.
    let last = text.as_bytes().last_chunk();
    let is_free = |bytes: &[u8]| !bytes.iter().any(|byte| is_special(*byte));
    let mut words = words.iter();
    words.all(|word| is_plain_word(*word) || is_free(word))
        && (last.is_some_and(|word| is_plain_word(*word)) || is_free(rest))
}
