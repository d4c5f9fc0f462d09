//! Items in the DHT: their bytes are pinned, and what comes from there is read within bounds.
use data_encoding::HEXLOWER;
use p2pchat::base::identity::{Identity, verify_signature};
use p2pchat::wire::code::{ADDRESSES_MAX, ConnectionCode};
use p2pchat::wire::dht::{DHT_SLOTS, DhtItems, ItemName, next_sequence};
use p2pchat::wire::secret::NetworkKeys;

use super::vector_files::{Vector, vectors};

const SECRET: &[u8] = b"correct horse battery staple\n";

fn closed_items() -> DhtItems {
    let keys = NetworkKeys::derive(SECRET).expect("keys");
    DhtItems::new(&Identity::from_seed(&[1; 32]), Some(keys.beacon_key()))
}

fn open_items() -> DhtItems {
    DhtItems::new(&Identity::from_seed(&[1; 32]), None)
}

fn code(seed: u8, addresses: &[&str]) -> ConnectionCode {
    let addresses = addresses.iter().map(|it| it.parse().expect("an address"));
    let id = Identity::from_seed(&[seed; 32]).id();
    ConnectionCode::new(id, &addresses.collect::<Vec<_>>())
}

/// Checks one item of a vector, and that it is read.
fn check_item(vector: &Vector, items: &DhtItems, name: &ItemName) {
    let sequence: i64 = vector.text("sequence").parse().expect("a number");
    let code: ConnectionCode = vector.text("code").parse().expect("a code");
    vector.check("key", &HEXLOWER.encode(&name.key.0));
    if let Some(salt) = &name.salt {
        vector.check("salt", &HEXLOWER.encode(salt));
    }
    let value = items.encode(name, sequence, &code);
    match name.salt {
        None => vector.check("value", std::str::from_utf8(&value).expect("a text")),
        Some(_) => vector.check("value", &HEXLOWER.encode(&value)),
    }
    let signature = items.sign(name, sequence, &value);
    vector.check("signature", &HEXLOWER.encode(&signature));
    assert_eq!(items.decode(name, &value), Some(code));
}

/// The items of a peer, in the open network and in a closed one, and the first slot of the latter
/// have exactly these bytes.
#[test]
fn items_are_pinned() {
    let vectors = vectors("dht.txt");
    let id = Identity::from_seed(&[1; 32]).id();
    let (open, closed) = (open_items(), closed_items());
    check_item(&vectors[0], &open, &open.of_peer(id));
    check_item(&vectors[1], &closed, &closed.of_peer(id));
    check_item(&vectors[2], &closed, &closed.slots()[0]);
    vectors[2].check("slots", &closed.slots().len().to_string());
}

/// The signature is that of BEP-44 over salt, sequence and value in bencoding.
#[test]
fn the_signature_is_that_of_bep_44() {
    let (open, closed) = (open_items(), closed_items());
    let of_peer = open.of_peer(Identity::from_seed(&[1; 32]).id());
    let slot = closed.slots().remove(3);
    let mut salted = b"4:salt16:".to_vec();
    salted.extend(slot.salt.expect("a salt"));
    salted.extend(b"3:seqi7e1:v5:hello");
    for (items, name, message) in [
        (&open, of_peer, b"3:seqi-4e1:v5:hello".to_vec()),
        (&closed, slot, salted),
    ] {
        let sequence = if name.salt.is_some() { 7 } else { -4 };
        let key = name.key.verifying_key().expect("a key");
        let signature = items.sign(&name, sequence, b"hello");
        assert!(verify_signature(&key, &message, &signature));
    }
}

/// Outsiders see neither ids nor how many addresses an item has, and cannot link a slot with
/// another one, with the tag of the network or with a member.
#[test]
fn items_of_a_closed_network_tell_nothing() {
    let (items, keys) = (closed_items(), NetworkKeys::derive(SECRET).expect("keys"));
    let short = code(1, &["10.0.0.7:9999"]);
    let many: Vec<String> = (0..8)
        .map(|n| format!("[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ff0{n}]:65535"))
        .collect();
    let long = code(1, &many.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(long.addresses.len(), ADDRESSES_MAX);
    let slots = items.slots();
    assert_eq!(slots.len(), usize::from(DHT_SLOTS));
    for name in slots.iter().chain([&items.of_peer(short.id)]) {
        let values = [&short, &long].map(|code| items.encode(name, 5, code));
        assert_eq!(values[0].len(), values[1].len());
        assert!(values[0].len() <= 1_000, "the limit of BEP-44");
        assert_ne!(items.encode(name, 6, &short), values[0]);
        let all = [&values[0][..], &name.key.0, &name.salt.expect("a salt")].concat();
        let secrets = [
            &short.id.0[..],
            &keys.network().0,
            keys.beacon_key(),
            b"10.0.0.7",
        ];
        for secret in secrets {
            assert!(!all.windows(secret.len()).any(|window| window == secret));
        }
    }
    let salts = slots.iter().map(|slot| slot.salt.expect("a salt"));
    let salts: std::collections::BTreeSet<_> = salts.collect();
    assert_eq!(salts.len(), slots.len());
    assert!(open_items().slots().is_empty());
}

/// A code counts only for the peer that it names, in the slot and the network that sealed it.
#[test]
fn an_item_in_a_wrong_place_is_not_read() {
    let (open, closed) = (open_items(), closed_items());
    let (alice, bob) = (code(1, &["10.0.0.7:9999"]), code(2, &["10.0.0.8:9999"]));
    let of_alice = open.of_peer(alice.id);
    assert_eq!(
        open.decode(&of_alice, &open.encode(&of_alice, 1, &bob)),
        None
    );
    let slots = closed.slots();
    let value = closed.encode(&slots[0], 1, &alice);
    assert_eq!(closed.decode(&slots[0], &value), Some(alice.clone()));
    assert_eq!(closed.decode(&slots[1], &value), None);
    let of_bob = closed.of_peer(bob.id);
    assert_eq!(
        closed.decode(&of_bob, &closed.encode(&of_bob, 1, &alice)),
        None
    );
    let others = NetworkKeys::derive(b"another secret of some length").expect("keys");
    let others = DhtItems::new(&Identity::from_seed(&[1; 32]), Some(others.beacon_key()));
    assert_eq!(others.decode(&others.slots()[0], &value), None);
}

/// Values of any bytes are read within bounds. Addresses of our own host are left out.
#[test]
fn foreign_values_are_read_within_bounds() {
    let (open, closed) = (open_items(), closed_items());
    let alice = code(1, &["10.0.0.7:9999"]);
    let of_alice = open.of_peer(alice.id);
    let id = alice.id;
    let many = ["10.0.0.7:9999"; 9].join(",");
    for text in [
        String::new(),
        id.to_string(),
        format!("{id}@"),
        format!("{id}@{many}"),
        format!("{id}@127.0.0.1:22"),
        format!("{id}@[::1]:22,[::ffff:127.0.0.1]:22,0.0.0.0:5,224.0.0.1:5,[fe80::1]:5"),
        format!("{id}@box:9999"),
        format!("{id}@10.0.0.7:0"),
        format!("{id}@10.0.0.7:9999,=aaaa"),
        "a".repeat(2_000),
    ] {
        assert_eq!(open.decode(&of_alice, text.as_bytes()), None, "{text}");
    }
    let mixed = format!("{id}@127.0.0.1:22,10.0.0.7:9999,10.0.0.7:9999,0.0.0.0:1");
    assert_eq!(
        open.decode(&of_alice, mixed.as_bytes()),
        Some(alice.clone())
    );
    assert_eq!(open.decode(&of_alice, &[0xff; 100]), None);
    let slot = closed.slots().remove(0);
    let value = closed.encode(&slot, 1, &alice);
    for at in 0..value.len() {
        let mut damaged = value.clone();
        damaged[at] ^= 1;
        assert_eq!(closed.decode(&slot, &damaged), None, "{at}");
        assert_eq!(closed.decode(&slot, &value[..at]), None, "{at}");
    }
}

/// A sequence grows with the time, and never falls back: not behind an item that a clock which was
/// ahead has published.
#[test]
fn sequences_only_grow() {
    assert_eq!(next_sequence(None, 1_000), 1_000);
    assert_eq!(next_sequence(Some(999), 1_000), 1_000);
    assert_eq!(next_sequence(Some(1_000), 1_000), 1_001);
    assert_eq!(next_sequence(Some(5_000), 0), 5_001);
    assert_eq!(next_sequence(Some(i64::MAX), 1_000), i64::MAX);
}
