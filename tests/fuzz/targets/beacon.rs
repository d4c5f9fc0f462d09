//! A datagram of the open or of a closed network, or of another program. What is accepted of ours
//! is encoded and parsed again.
#![no_main]
use libfuzzer_sys::fuzz_target;
use p2pchat::base::identity::NetworkTag;
use p2pchat::wire::beacon::Beacon;
use p2pchat::wire::go_p2pchat::GoBeacon;
use p2pchat::wire::secret::NetworkKeys;

/// The secret of the test vectors.
const SECRET: &[u8] = b"correct horse battery staple";

fn assert_stable(bytes: &[u8], network: &NetworkTag, key: Option<&[u8; 32]>) {
    if let Some(beacon) = Beacon::parse(bytes, network, key) {
        let again = beacon.encode(network, key, &[7; 24]);
        assert_eq!(Beacon::parse(&again, network, key), Some(beacon));
    }
}

fuzz_target!(|bytes: &[u8]| {
    let _ = GoBeacon::parse(bytes);
    let keys = NetworkKeys::derive(SECRET).expect("keys");
    assert_stable(bytes, &NetworkTag::OPEN, None);
    assert_stable(bytes, &keys.network(), None);
    assert_stable(bytes, &keys.network(), Some(keys.beacon_key()));
});
