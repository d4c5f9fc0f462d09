//! The cipher of links, beside the crate that it is made of, and their curve, beside another crate.
use chacha_poly::ChaChaPoly;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use curve25519_dalek::MontgomeryPoint;
use p2pchat::wire::noise::{KeyPair, PLAINTEXT_MAX_BYTES};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
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

fn assert_keys(secret: &[u8; 32], public: &[u8; 32]) {
    let pair = KeyPair::new(secret);
    let expected_public = MontgomeryPoint::mul_base_clamped(*secret).to_bytes();
    let expected_secret = MontgomeryPoint(*public).mul_clamped(*secret).to_bytes();
    assert_eq!(*pair.public(), expected_public, "{secret:?}");
    assert_eq!(
        pair.shared_secret(public),
        expected_secret,
        "{secret:?} {public:?}"
    );
}

#[test]
fn x25519_agrees_with_another_crate() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut random = || {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        bytes
    };
    for _ in 0..500 {
        // Half of all public keys are on the twist of the curve.
        assert_keys(&random(), &random());
    }
    // Around 0, the prime 2^255 - 19 and 2^256: points of low order, and keys that are not reduced.
    for last in [0, 0x7f, 0x80, 0xff] {
        for first in 0..=255 {
            let middle = if last & 0x7f == 0 { 0 } else { 0xff };
            let mut public = [middle; 32];
            (public[0], public[31]) = (first, last);
            assert_keys(&random(), &public);
        }
    }
    for secret in [[0; 32], [0xff; 32], KEY] {
        assert_keys(&secret, &random());
    }
}

/// The first vector of RFC 7748, section 5.2.
#[test]
fn x25519_agrees_with_rfc_7748() {
    let key = |text: &str| -> [u8; 32] {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes());
        bytes.expect("hex").try_into().expect("32 bytes")
    };
    let secret = key("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
    let public = key("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
    let shared = key("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
    assert_eq!(KeyPair::new(&secret).shared_secret(&public), shared);
}
