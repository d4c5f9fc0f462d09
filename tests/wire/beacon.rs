//! The beacon: its size, its default fields, and the hashes of its rooms.

use p2pchat::base::identity::{NetworkTag, PeerId};
use p2pchat::base::name::{Nick, Room};
use p2pchat::wire::beacon::{BEACON_MAX_BYTES, BEACON_ROOMS_MAX, Beacon, BeaconKind, room_hash};

/// The id of a fixed peer.
fn id() -> PeerId {
    PeerId([1; 32])
}

/// A beacon with the longest possible fields and this number of rooms.
fn beacon(rooms: usize) -> Beacon {
    Beacon {
        kind: BeaconKind::Discover,
        peer: id(),
        nick: Nick::new(&"\u{10348}".repeat(32)).expect("the longest name"),
        port: 65_535,
        run: u64::MAX,
        counter: (1 << 53) - 1,
        interval_ms: 180_000,
        transient: true,
        room_hashes: vec![u32::MAX; rooms],
        has_more_rooms: false,
    }
}

/// The longest possible beacon fits, sealed or plain, and is parsed back.
#[test]
fn a_beacon_with_all_rooms_fits_a_datagram() {
    let (network, key) = (NetworkTag([7; 32]), [9; 32]);
    for key in [None, Some(&key)] {
        let beacon = beacon(BEACON_ROOMS_MAX);
        let bytes = beacon.encode(&network, key, &[1; 24]);
        assert!(bytes.len() <= BEACON_MAX_BYTES, "{} bytes", bytes.len());
        assert_eq!(Beacon::parse(&bytes, &network, key), Some(beacon));
    }
}

/// A beacon may lack the room hashes; its sender then counts as a member of any room.
#[test]
fn a_beacon_without_room_hashes_may_be_of_any_room() {
    let text = format!(
        r#"{{"type":"discover","peer_id":"{}","username":"bob","port":9999,"network":"{}","run":"000000000000001f","interval":5000}}"#,
        id(),
        NetworkTag::OPEN
    );
    let beacon = Beacon::parse(text.as_bytes(), &NetworkTag::OPEN, None).expect("a beacon");
    assert!(beacon.has_more_rooms && beacon.room_hashes.is_empty() && !beacon.transient);
}

/// Hashes cannot be compared across runs or networks to find out who is in which room.
#[test]
fn a_room_hash_differs_by_run_network_and_room() {
    let (general, ops) = (Room::general(), Room::new("ops").expect("a fit room"));
    let hash = room_hash(&NetworkTag::OPEN, 1, &general);
    assert_eq!(hash, room_hash(&NetworkTag::OPEN, 1, &general));
    assert_ne!(hash, room_hash(&NetworkTag::OPEN, 2, &general));
    assert_ne!(hash, room_hash(&NetworkTag([1; 32]), 1, &general));
    assert_ne!(hash, room_hash(&NetworkTag::OPEN, 1, &ops));
}

/// An observer sees neither the network nor anything that two beacons of one box have in common.
#[test]
fn sealed_beacons_cannot_be_followed() {
    let (network, key) = (NetworkTag([7; 32]), [9; 32]);
    let datagrams = [1, 2].map(|random| beacon(1).encode(&network, Some(&key), &[random; 24]));
    let sealed = datagrams.map(|datagram| String::from_utf8(datagram).expect("JSON"));
    assert!(!sealed[0].contains(&network.to_string()));
    let head = r#"{"type":"sealed","sealed":""#;
    let bodies = sealed.map(|text| text.strip_prefix(head).expect("a sealed beacon").to_owned());
    assert_ne!(bodies[0][..8], bodies[1][..8]);
}

/// Cloned machines draw the same random bytes, and still use a nonce for one content only.
#[test]
fn a_nonce_depends_on_the_content() {
    let (network, key) = (NetworkTag([7; 32]), [9; 32]);
    let datagrams = [1, 2].map(|counter| {
        let beacon = Beacon {
            counter,
            ..beacon(1)
        };
        beacon.encode(&network, Some(&key), &[1; 24])
    });
    let nonces = datagrams.map(|datagram| datagram[27..27 + 32].to_vec());
    assert_ne!(nonces[0], nonces[1]);
}
