//! The cipher of links, beside the crate that it is made of.
use chacha_poly::ChaChaPoly;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use p2pchat::wire::noise::PLAINTEXT_MAX_BYTES;
use snow::types::Cipher;

const KEY: [u8; 32] = *b"thirty-two bytes of a secret key";

fn cipher() -> ChaChaPoly {
    let mut cipher = ChaChaPoly::default();
    cipher.set(&KEY);
    cipher
}

fn sealed(number: u64, authtext: &[u8], text: &[u8]) -> Vec<u8> {
    // snow's buffers are longer than what they get.
    let mut out = vec![0; text.len() + 16 + 5];
    let length = cipher().encrypt(number, authtext, text, &mut out);
    out.truncate(length);
    out
}

/// Lengths around those of a block (64 bytes) and of what the cipher takes at once (16 blocks).
fn lengths() -> impl Iterator<Item = usize> {
    (0..200)
        .chain(1000..1100)
        .chain(2040..2060)
        .chain([PLAINTEXT_MAX_BYTES])
}

#[test]
fn a_text_of_any_length_is_sealed_as_the_crate_seals_it() {
    for (number, length) in lengths().enumerate() {
        let number = (number as u64).wrapping_mul(0xfeff_fdfc_fbfa_f9f8);
        let text: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
        let mut nonce = Nonce::default();
        nonce[4..].copy_from_slice(&number.to_le_bytes());
        let payload = Payload {
            msg: &text,
            aad: b"data",
        };
        let expected = ChaCha20Poly1305::new(&KEY.into())
            .encrypt(&nonce, payload)
            .expect("a text");
        let sealed = sealed(number, b"data", &text);
        assert!(sealed == expected, "{length} bytes");
        let mut opened = vec![0; length];
        assert_eq!(
            cipher().decrypt(number, b"data", &sealed, &mut opened).ok(),
            Some(length)
        );
        assert!(opened == text, "{length} bytes");
    }
}

#[test]
fn an_altered_text_is_refused() {
    let text = [b'x'; 100];
    let whole = sealed(7, b"data", &text);
    let refuses = |number, authtext: &[u8], sealed: &[u8]| {
        cipher()
            .decrypt(number, authtext, sealed, &mut [0; 100])
            .is_err()
    };
    assert!(!refuses(7, b"data", &whole));
    assert!(refuses(8, b"data", &whole), "another number");
    assert!(refuses(7, b"date", &whole), "other associated data");
    let mut short = [0; 99];
    assert!(
        cipher().decrypt(7, b"data", &whole, &mut short).is_err(),
        "no room"
    );
    for at in 0..whole.len() {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        assert!(refuses(7, b"data", &altered), "byte {at}");
    }
    for length in 0..whole.len() {
        assert!(
            refuses(7, b"data", &whole[..length]),
            "the first {length} bytes"
        );
    }
}
