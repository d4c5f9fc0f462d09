//! The network secret, and the keys derived from it.

use p2pchat::base::identity::NetworkTag;
use p2pchat::wire::secret::{NetworkKeys, NetworkSecretError, SECRET_MAX_BYTES, generate_secret};

use crate::sentences::assert_one_line;

/// Network tag, pre-shared key and beacon key are independent; a final line end does not count.
#[test]
fn a_secret_derives_three_keys_and_is_never_printed() {
    let text = generate_secret(&[0xa5; 32]);
    assert!(text.len() == 52 && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7')));
    let secret = NetworkKeys::derive(text.as_bytes()).unwrap();
    for end in ["\n", "\r\n"] {
        let same = NetworkKeys::derive(format!("{text}{end}").as_bytes()).unwrap();
        assert_eq!(
            (same.network(), same.psk(), same.beacon_key()),
            (secret.network(), secret.psk(), secret.beacon_key())
        );
    }
    let other = NetworkKeys::derive(format!("{text}\n\n").as_bytes()).unwrap();
    assert_ne!(other.network(), secret.network());
    let keys = [&secret.network().0, secret.psk(), secret.beacon_key()];
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
    assert_ne!(secret.network(), NetworkTag::OPEN);
    let debug = format!("{secret:?}");
    let psk: String = secret.psk().iter().map(|b| format!("{b:02x}")).collect();
    assert!(
        !debug.contains(&text)
            && !debug.contains(&psk[..8])
            && debug.contains(&secret.network().dir_name())
    );

    assert!(NetworkKeys::derive(&[b'x'; 16]).is_ok());
    assert_eq!(
        NetworkKeys::derive(b"fifteen bytes..\n").err(),
        Some(NetworkSecretError::TooShort)
    );
    assert!(NetworkKeys::derive(&[b'x'; SECRET_MAX_BYTES]).is_ok());
    assert_eq!(
        NetworkKeys::derive(&[b'x'; SECRET_MAX_BYTES + 1]).err(),
        Some(NetworkSecretError::TooLong)
    );
    assert_one_line(&NetworkSecretError::TooShort.to_string());
}
