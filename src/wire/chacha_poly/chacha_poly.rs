//! ChaCha20-Poly1305 (RFC 8439) as the cipher of snow, made of the crates of RustCrypto. Of the
//! cipher itself, only the exclusive or of text and key stream is our own: the crates take it byte
//! by byte, which the compiler turns into wide instructions only in a program that is optimised for
//! speed. In this one it took twice as long as the rounds.
#![forbid(unsafe_code)]
use chacha20::ChaChaCore;
use chacha20::cipher::consts::{U10, U12, U32, U64};
use chacha20::cipher::inout::InOutBuf;
use chacha20::cipher::{
    Block, BlockSizeUser, Iv, IvSizeUser, Key, KeyIvInit, KeySizeUser, StreamCipherCore,
    StreamCipherCoreWrapper, StreamCipherSeekCore, StreamClosure,
};
use chacha20poly1305::ChaChaPoly1305;
use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use snow::types::Cipher;

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes of the authentication tag at the end of an encrypted payload.
pub const TAG_BYTES: usize = 16;

/// The twenty rounds of ChaCha20, with an exclusive or of words.
struct WordCore(ChaChaCore<U10>);

impl KeySizeUser for WordCore {
    type KeySize = U32;
}

impl IvSizeUser for WordCore {
    type IvSize = U12;
}

impl BlockSizeUser for WordCore {
    type BlockSize = U64;
}

impl KeyIvInit for WordCore {
    fn new(key: &Key<WordCore>, nonce: &Iv<WordCore>) -> WordCore {
        WordCore(ChaChaCore::new(key, nonce))
    }
}

impl StreamCipherCore for WordCore {
    fn remaining_blocks(&self) -> Option<usize> {
        self.0.remaining_blocks()
    }

    fn process_with_backend(&mut self, f: impl StreamClosure<BlockSize = U64>) {
        self.0.process_with_backend(f);
    }

    fn apply_keystream_blocks_inout(&mut self, mut text: InOutBuf<'_, '_, Block<WordCore>>) {
        if text.is_empty() {
            // Without a whole block, as twice for each short message.
            return;
        }
        // Processors with vectors make four or more blocks in one step.
        let mut stream = [Block::<WordCore>::default(); 16];
        while !text.is_empty() {
            let count = text.len().min(stream.len());
            let (blocks, rest) = text.split_at(count);
            self.0.write_keystream_blocks(&mut stream[..count]);
            for (mut block, stream) in blocks.into_iter().zip(&stream) {
                let mut sum = block.clone_in();
                let (words, _) = sum.as_chunks_mut();
                for (word, stream) in words.iter_mut().zip(stream.as_chunks().0) {
                    *word = (u64::from_ne_bytes(*word) ^ u64::from_ne_bytes(*stream)).to_ne_bytes();
                }
                *block.get_out() = sum;
            }
            text = rest;
        }
    }
}

impl StreamCipherSeekCore for WordCore {
    type Counter = u32;

    fn get_block_pos(&self) -> u32 {
        self.0.get_block_pos()
    }

    fn set_block_pos(&mut self, position: u32) {
        self.0.set_block_pos(position);
    }
}

/// The cipher `ChaChaPoly` (Noise specification, revision 34, 12.3). snow sets its key before it
/// uses it.
pub struct ChaChaPoly(ChaChaPoly1305<StreamCipherCoreWrapper<WordCore>>);

impl Default for ChaChaPoly {
    fn default() -> ChaChaPoly {
        ChaChaPoly(KeyInit::new(&[0; KEY_BYTES].into()))
    }
}

/// Four zero bytes, and the number of the message as little endian.
fn nonce(number: u64) -> Iv<WordCore> {
    let mut nonce = Iv::<WordCore>::default();
    nonce[4..].copy_from_slice(&number.to_le_bytes());
    nonce
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; KEY_BYTES]) {
        self.0 = KeyInit::new(key.into());
    }

    fn encrypt(&self, number: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (text, tag) = out.split_at_mut(plaintext.len());
        text.copy_from_slice(plaintext);
        let made = self
            .0
            .encrypt_in_place_detached(&nonce(number), authtext, text);
        tag[..TAG_BYTES].copy_from_slice(&made.expect("the text is shorter than 256 GiB"));
        plaintext.len() + TAG_BYTES
    }

    fn decrypt(
        &self,
        number: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, snow::Error> {
        let (text, tag) = ciphertext
            .split_last_chunk::<TAG_BYTES>()
            .ok_or(snow::Error::Decrypt)?;
        let out = out.get_mut(..text.len()).ok_or(snow::Error::Decrypt)?;
        out.copy_from_slice(text);
        let tag = tag.into();
        let opened = self
            .0
            .decrypt_in_place_detached(&nonce(number), authtext, out, tag);
        opened
            .map(|()| text.len())
            .map_err(|_| snow::Error::Decrypt)
    }
}
