//! The values of a TXT record of multicast DNS, separated by a zero byte.
#![no_main]
use libfuzzer_sys::fuzz_target;
use p2pchat::wire::mdns::{Announcer, announcer, property};
use p2pchat::wire::secret::NetworkKeys;

/// The secret of the test vectors.
const SECRET: &[u8] = b"correct horse battery staple";

fuzz_target!(|bytes: &[u8]| {
    let keys = NetworkKeys::derive(SECRET).expect("keys");
    let mut values = bytes.splitn(2, |byte| *byte == 0);
    let (id, network) = (values.next(), values.next());
    for key in [None, Some(keys.beacon_key())] {
        if let Announcer::Peer(peer) = announcer(id, network, key) {
            let (_, value) = property(peer, None, 0);
            assert_eq!(id, Some(value.as_bytes()));
        }
        let _ = announcer(None, id, key);
    }
});
