//! Bytes as text: the test vectors of RFC 4648, every length beside the crate `data-encoding`, and
//! texts that are no encoding of anything.
use p2pchat::base::text::rfc4648::{BASE32_NOPAD, BASE64, BASE64URL_NOPAD, HEXLOWER};

#[test]
fn the_vectors_of_the_rfc() {
    for (bytes, hex, base32, base64) in [
        ("", "", "", ""),
        ("f", "66", "my", "Zg=="),
        ("fo", "666f", "mzxq", "Zm8="),
        ("foo", "666f6f", "mzxw6", "Zm9v"),
        ("foob", "666f6f62", "mzxw6yq", "Zm9vYg=="),
        ("fooba", "666f6f6261", "mzxw6ytb", "Zm9vYmE="),
        ("foobar", "666f6f626172", "mzxw6ytboi", "Zm9vYmFy"),
    ] {
        let bytes = bytes.as_bytes();
        assert_eq!(HEXLOWER.encode(bytes), hex);
        assert_eq!(BASE32_NOPAD.encode(bytes), base32);
        assert_eq!(BASE64.encode(bytes), base64);
        assert_eq!(BASE64.decode(base64.as_bytes()).as_deref(), Some(bytes));
    }
}

#[test]
fn every_length_is_as_another_implementation_has_it() {
    let all: Vec<u8> = (0..=u8::MAX).map(|byte| byte.wrapping_mul(167)).collect();
    for length in 0..all.len() {
        let bytes = &all[..length];
        let texts = [
            (
                HEXLOWER.encode(bytes),
                data_encoding::HEXLOWER.encode(bytes),
            ),
            (
                BASE32_NOPAD.encode(bytes),
                data_encoding::BASE32_NOPAD.encode(bytes).to_lowercase(),
            ),
            (BASE64.encode(bytes), data_encoding::BASE64.encode(bytes)),
            (
                BASE64URL_NOPAD.encode(bytes),
                data_encoding::BASE64URL_NOPAD.encode(bytes),
            ),
        ];
        for (ours, theirs) in &texts {
            assert_eq!(ours, theirs);
        }
        let [hex, base32, base64, base64url] = texts.map(|(ours, _)| ours.into_bytes());
        assert_eq!(HEXLOWER.decode(&hex).as_deref(), Some(bytes));
        assert_eq!(BASE32_NOPAD.decode(&base32).as_deref(), Some(bytes));
        assert_eq!(BASE64.decode(&base64).as_deref(), Some(bytes));
        assert_eq!(BASE64URL_NOPAD.decode(&base64url).as_deref(), Some(bytes));
    }
}

/// One changed byte, at each place of a short and of a longer text, and each byte.
#[test]
fn a_changed_text_is_judged_as_another_implementation_judges_it() {
    for length in [4, 7, 9, 13] {
        let bytes = vec![0x5a; length];
        let text = BASE64URL_NOPAD.encode(&bytes).into_bytes();
        for place in 0..text.len() {
            for byte in 0..=u8::MAX {
                let mut changed = text.clone();
                changed[place] = byte;
                let hex = data_encoding::HEXLOWER.decode(&changed).ok();
                assert_eq!(HEXLOWER.decode(&changed), hex);
                let base64 = data_encoding::BASE64URL_NOPAD.decode(&changed).ok();
                assert_eq!(BASE64URL_NOPAD.decode(&changed), base64);
                let upper = changed.to_ascii_uppercase();
                let is_lower = !changed.iter().any(u8::is_ascii_uppercase);
                let base32 = data_encoding::BASE32_NOPAD.decode(&upper).ok();
                assert_eq!(BASE32_NOPAD.decode(&changed), base32.filter(|_| is_lower));
            }
        }
    }
}

#[test]
fn bytes_have_one_text_only() {
    for text in [
        "Zg", "Zg=", "Zg===", "Zh==", "Z===", "====", "=", "Zm9v====", "Zg==Zg==", "Z=g=", "Zm8=\n",
    ] {
        assert_eq!(BASE64.decode(text.as_bytes()), None, "{text:?}");
    }
    for text in ["m", "mzx", "mzxw6y", "mz", "MY", "my======", "m1"] {
        assert_eq!(BASE32_NOPAD.decode(text.as_bytes()), None, "{text:?}");
    }
    for text in ["6", "666", "6G", "6F", "é"] {
        assert_eq!(HEXLOWER.decode(text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn a_text_for_another_number_of_bytes_is_refused() {
    for length in [0, 1, 31, 33, 64] {
        let mut bytes = vec![0; length];
        assert!(
            !BASE32_NOPAD.decode_mut(&[b'a'; 52], &mut bytes),
            "{length}"
        );
    }
    assert!(BASE32_NOPAD.decode_mut(&[b'a'; 52], &mut [0; 32]));
}
