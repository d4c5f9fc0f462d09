//! Control characters: the ones that could control a terminal, or change the order in which it
//! shows other text.

/// Is this a line separator, a bidi control, or a control character other than TAB?
pub fn is_control(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{a}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}'
        | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Does the text contain a character for which [`is_control`] is true?
pub fn has_control(text: &str) -> bool {
    has(text, b'\n') || has_control_in_lines(text)
}

/// Does a line of the text contain a character for which [`is_control`] is true? Each line ends
/// with `\n`.
pub fn has_control_in_lines(text: &str) -> bool {
    !are_plain(text) && text.chars().any(|c| is_control(c) && c != '\n')
}

/// Is the text free of TAB, `"`, `\`, and bytes for which [`may_begin_control`] is true?
pub fn is_plain_json(text: &str) -> bool {
    !has(text, b'\n') && is_plain_json_in_lines(text)
}

/// As [`is_plain_json`], but each line of the text ends with `\n`.
pub fn is_plain_json_in_lines(text: &str) -> bool {
    !(has(text, b'"') || has(text, b'\\') || has(text, b'\t')) && are_plain(text)
}

fn has(text: &str, byte: u8) -> bool {
    memchr::memchr(byte, text.as_bytes()).is_some()
}

/// Can this byte begin a character for which [`is_control`] is true? True for DEL, for C0 controls
/// except TAB, and for two UTF-8 lead bytes. C2 is the first byte of the C1 controls. E2 is the
/// first byte of the line separators and the bidi controls.
pub fn may_begin_control(byte: u8) -> bool {
    (byte < 0x20) & (byte != b'\t') | (byte == 0x7f) | (byte == 0xc2) | (byte == 0xe2)
}

/// One in each of the eight bytes of a word.
const EACH: u64 = 0x0101_0101_0101_0101;

/// Not zero if a byte of the word is not ASCII, is DEL, or is less than a space.
fn unprintable(word: u64) -> u64 {
    // Only such a byte can carry into or borrow from its neighbour.
    (word | word.wrapping_add(EACH) | word.wrapping_sub(0x20 * EACH)) & (0x80 * EACH)
}

/// The word with `*` for each `\n`.
fn without_line_ends(word: u64) -> u64 {
    let other = word ^ (u64::from(b'\n') * EACH);
    // The highest bit of each byte that is zero, exactly.
    let line_ends = !((other & (0x7f * EACH)).wrapping_add(0x7f * EACH) | other | (0x7f * EACH));
    word | (line_ends >> 2)
}

/// Are the lines of the text free of bytes for which [`may_begin_control`] is true? Checks 32 bytes
/// at once, because each byte that is signed, received or shown comes through here.
fn are_plain(text: &str) -> bool {
    let is_free = |bytes: &[u8]| {
        !bytes
            .iter()
            .any(|byte| may_begin_control(*byte) && *byte != b'\n')
    };
    let is_plain = |words: &[[u8; 8]]| {
        let words = words.iter().map(|word| u64::from_ne_bytes(*word));
        words.fold(0, |found, word| {
            found | unprintable(without_line_ends(word))
        }) == 0
    };
    let (blocks, rest) = text.as_bytes().as_chunks::<32>();
    let (words, _) = rest.as_chunks();
    let is_rest_plain = |last: &[u8; 8]| is_plain(words) && is_plain(std::slice::from_ref(last));
    blocks
        .iter()
        .all(|block| is_plain(block.as_chunks().0) || is_free(block))
        // The last eight bytes contain what is behind the words.
        && (text.as_bytes().last_chunk().is_some_and(is_rest_plain) || is_free(rest))
}
