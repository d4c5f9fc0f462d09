//! A datagram of the open or of a closed network, or a datagram or a line of another program. What
//! is accepted is encoded and parsed again.
#![no_main]
use libfuzzer_sys::fuzz_target;
use p2pchat::base::identity::NetworkTag;
use p2pchat::base::time::WallTime;
use p2pchat::wire::beacon::Beacon;
use p2pchat::wire::go_p2pchat::{GoBeacon, GoMessage};
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
    if let Some(beacon) = GoBeacon::parse(bytes) {
        let again = beacon.encode(WallTime(0), 0);
        assert!(again.len() > 1024 || GoBeacon::parse(&again) == Some(beacon));
    }
    if let Some(message) = GoMessage::parse(bytes) {
        let mut again = Vec::new();
        message.write(WallTime(0), 0, &mut again);
        assert_eq!(GoMessage::parse(&again), Some(message));
    }
    let keys = NetworkKeys::derive(SECRET).expect("keys");
    assert_stable(bytes, &NetworkTag::OPEN, None);
    assert_stable(bytes, &keys.network(), None);
    assert_stable(bytes, &keys.network(), Some(keys.beacon_key()));
});
