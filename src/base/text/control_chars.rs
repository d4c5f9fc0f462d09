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

/// Its highest bits are zero if each of the eight bytes is printable ASCII or `\n`.
fn suspects(bytes: &[u8; 8]) -> u64 {
    let word = u64::from_ne_bytes(*bytes);
    // Each sum tells by the highest bit of a byte: whether it is DEL or not ASCII, at least a
    // space, no line end. In ASCII no sum carries into the next byte, and UTF-8 has no byte FF.
    let is_del = word.wrapping_add(EACH);
    let is_printable = word.wrapping_add(0x60 * EACH);
    let is_no_line_end = (word ^ (u64::from(b'\n') * EACH)).wrapping_add(0x7f * EACH);
    is_del | (!is_printable & is_no_line_end)
}

/// Are the lines of the text free of bytes for which [`may_begin_control`] is true? Checks 32 bytes
/// at once, because each byte that is signed, received or shown comes through here.
fn are_plain(text: &str) -> bool {
    let is_special = |byte: &u8| may_begin_control(*byte) && *byte != b'\n';
    let is_free = |bytes: &[u8]| !bytes.iter().any(is_special);
    let is_plain = |suspects: u64| suspects & (0x80 * EACH) == 0;
    let (words, rest) = text.as_bytes().as_chunks();
    let (blocks, words) = words.as_chunks();
    blocks.iter().all(|block @ [a, b, c, d]| {
        is_plain(suspects(a) | suspects(b) | suspects(c) | suspects(d))
            || is_free(block.as_flattened())
    }) && words
        .iter()
        .all(|word| is_plain(suspects(word)) || is_free(word))
        && is_free(rest)
}
