//! Bytes as text (RFC 4648): hexadecimal digits, base32 and base64.
//!
//! A sequence of bytes has exactly one text in an encoding. A text with characters that it does not
//! need, or with unused bits that are not zero, is refused.
//!
//! Not by a crate: data-encoding takes 48 KB of the smallest program, and base32ct accepts several
//! texts for one id. Tests compare this file with data-encoding.

/// In a table of values: this byte is no character of the alphabet.
const NO_VALUE: u8 = 0x80;

/// Characters of a block, which is as many bytes as a character has bits.
const BLOCK_CHARS: usize = 8;

/// Hexadecimal digits in lower case.
pub const HEXLOWER: Encoding<4> = Encoding::new(b"0123456789abcdef", false);

/// Base32 in lower case, without padding.
pub const BASE32_NOPAD: Encoding<5> = Encoding::new(b"abcdefghijklmnopqrstuvwxyz234567", false);

/// Base64 with padding.
pub const BASE64: Encoding<6> = Encoding::new(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    true,
);

/// Base64 with the characters that may stand in an address, without padding.
pub const BASE64URL_NOPAD: Encoding<6> = Encoding::new(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
    false,
);

/// An encoding whose characters have so many bits: 4, 5 or 6.
pub struct Encoding<const BITS: usize> {
    /// The characters by their values. The first 2^`BITS` are used.
    alphabet: [u8; 64],
    /// The value of each byte, or [`NO_VALUE`].
    values: [u8; 256],
    /// Whether `=` fills a text up to a multiple of four characters, as in base64.
    is_padded: bool,
}

impl<const BITS: usize> Encoding<BITS> {
    const fn new(characters: &[u8], is_padded: bool) -> Encoding<BITS> {
        assert!(characters.len() == 1 << BITS, "one character a value");
        let mut alphabet = [0; 64];
        let mut values = [NO_VALUE; 256];
        let mut value = 0;
        while value < characters.len() {
            alphabet[value] = characters[value];
            values[characters[value] as usize] = value as u8;
            value += 1;
        }
        Encoding {
            alphabet,
            values,
            is_padded,
        }
    }

    /// Encodes bytes.
    pub fn encode(&self, bytes: &[u8]) -> String {
        let chars = (bytes.len() * 8).div_ceil(BITS);
        let padded = match self.is_padded {
            true => chars.next_multiple_of(4),
            false => chars,
        };
        let mut text = vec![b'='; padded];
        self.encode_mut(bytes, &mut text[..chars]);
        String::from_utf8(text).unwrap_or_default()
    }

    /// Encodes bytes into `text`, whose length is the one of the result without padding.
    pub fn encode_mut(&self, bytes: &[u8], text: &mut [u8]) {
        let (blocks, rest) = bytes.as_chunks::<BITS>();
        let (texts, end) = text.as_chunks_mut::<BLOCK_CHARS>();
        for (block, text) in blocks.iter().zip(texts) {
            self.encode_block(block, text);
        }
        let mut block = [0; BITS];
        block[..rest.len()].copy_from_slice(rest);
        let mut text = [0; BLOCK_CHARS];
        self.encode_block(&block, &mut text);
        end.copy_from_slice(&text[..end.len()]);
    }

    fn encode_block(&self, block: &[u8; BITS], text: &mut [u8; BLOCK_CHARS]) {
        let mut word = [0; 8];
        word[8 - BITS..].copy_from_slice(block);
        let word = u64::from_be_bytes(word);
        let at = |place: usize| self.alphabet[(word >> (BITS * place)) as usize % (1 << BITS)];
        // Not a loop: the compiler would not unroll it, as it optimises for size.
        *text = [at(7), at(6), at(5), at(4), at(3), at(2), at(1), at(0)];
    }

    /// Decodes a text. `None` if it is no text of this encoding.
    pub fn decode(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut text = text;
        if self.is_padded {
            let length = text.len();
            while let [rest @ .., b'='] = text {
                text = rest;
            }
            (text.len().next_multiple_of(4) == length).then_some(())?;
        }
        let mut bytes = vec![0; text.len() * BITS / 8];
        self.decode_mut(text, &mut bytes).then_some(bytes)
    }

    /// Decodes a text without padding into `bytes`. False if it is no text of this encoding for so
    /// many bytes.
    #[must_use]
    pub fn decode_mut(&self, text: &[u8], bytes: &mut [u8]) -> bool {
        if text.len() != (bytes.len() * 8).div_ceil(BITS) {
            return false;
        }
        let (texts, end) = text.as_chunks::<BLOCK_CHARS>();
        let (blocks, rest) = bytes.as_chunks_mut::<BITS>();
        let mut is_valid = true;
        for (text, block) in texts.iter().zip(blocks) {
            is_valid &= self.decode_block(text, block);
        }
        let mut text = [self.alphabet[0]; BLOCK_CHARS];
        text[..end.len()].copy_from_slice(end);
        let mut block = [0; BITS];
        is_valid &= self.decode_block(&text, &mut block);
        let (used, unused) = block.split_at(rest.len());
        rest.copy_from_slice(used);
        is_valid && unused.iter().all(|&byte| byte == 0)
    }

    /// False if the text has a character of another alphabet.
    fn decode_block(&self, text: &[u8; BLOCK_CHARS], block: &mut [u8; BITS]) -> bool {
        let at = |place: usize| u64::from(self.values[usize::from(text[place])]);
        let (a, b, c, d, e, f, g, h) = (at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7));
        let put = |word: u64, value: u64| word << BITS | value;
        let word = put(put(put(put(put(put(put(a, b), c), d), e), f), g), h);
        block.copy_from_slice(&word.to_be_bytes()[8 - BITS..]);
        (a | b | c | d | e | f | g | h) & u64::from(NO_VALUE) == 0
    }
}
