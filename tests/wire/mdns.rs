//! What a program announces by multicast DNS, and what it reads of others.
use p2pchat::base::event::peer::Peer;
use p2pchat::base::identity::Identity;
use p2pchat::base::name::Nick;
use p2pchat::wire::mdns::{Announcer, SERVICE_TYPE, announcer, instance, property};
use p2pchat::wire::secret::NetworkKeys;

use crate::vector_files::vector;

const KEY: [u8; 32] = [7; 32];
const SALT: u64 = 0x0123_4567_89ab_cdef;

fn peer(name: &str) -> Peer {
    Peer {
        id: Identity::from_seed(&[1; 32]).id(),
        nick: Nick::new(name).expect("a name"),
    }
}

#[test]
fn the_vectors_pin_what_is_announced() {
    let vector = vector("mdns.txt");
    vector.check("service_type", SERVICE_TYPE);
    let own = Peer {
        id: vector.id("id"),
        nick: Nick::new(vector.text("username")).expect("a name"),
    };
    let salt = vector.hex64("salt");
    let keys = NetworkKeys::derive(vector.text("secret").as_bytes()).expect("keys");
    for (key, name) in [(None, "open"), (Some(keys.beacon_key()), "closed")] {
        let (property_name, value) = property(own.id, key, salt);
        vector.check(
            &format!("{name}_property"),
            &format!("{property_name}={value}"),
        );
        let instance = instance(&own, key.is_some(), salt);
        vector.check(&format!("{name}_instance"), &instance);
    }
}

/// A member of a network knows its services, and nobody else does.
#[test]
fn only_members_know_the_services_of_a_network() {
    let own = peer("alice");
    let (_, id) = property(own.id, None, SALT);
    let (_, proof) = property(own.id, Some(&KEY), SALT);
    let (id, proof) = (Some(id.as_bytes()), Some(proof.as_bytes()));
    let other_key = [8; 32];
    let rows = [
        (id, None, None, Announcer::Peer(own.id)),
        (id, None, Some(&KEY), Announcer::Foreign),
        (None, proof, None, Announcer::Foreign),
        (None, proof, Some(&KEY), Announcer::Unnamed),
        (None, proof, Some(&other_key), Announcer::Foreign),
        (id, proof, Some(&KEY), Announcer::Unnamed),
        (id, proof, None, Announcer::Foreign),
        (None, None, None, Announcer::Unnamed),
        (None, None, Some(&KEY), Announcer::Unnamed),
    ];
    for (id, network, key, expected) in rows {
        assert_eq!(announcer(id, network, key), expected);
    }
}

/// An outsider can compare nothing of two runs.
#[test]
fn two_runs_of_a_closed_network_have_nothing_in_common() {
    let own = peer("alice");
    let texts = [1, 2].map(|salt| {
        let (_, value) = property(own.id, Some(&KEY), salt);
        assert_eq!(value.len(), 32);
        let (salt_text, proof) = value.split_at(16);
        assert_eq!(instance(&own, true, salt), salt_text);
        proof.to_owned()
    });
    assert_ne!(texts[0], texts[1]);
}

/// Malformed values are those of no network.
#[test]
fn malformed_properties_are_foreign() {
    let (_, proof) = property(peer("alice").id, Some(&KEY), SALT);
    let upper = proof.to_uppercase();
    let long = "a".repeat(100_000);
    let malformed = ["", "é", "a", &proof[1..], &upper, &long, "\u{0}\u{ff}"];
    for value in malformed
        .map(str::as_bytes)
        .into_iter()
        .chain([[0xff; 32].as_slice()])
    {
        assert_eq!(announcer(Some(value), None, None), Announcer::Foreign);
        assert_eq!(announcer(None, Some(value), Some(&KEY)), Announcer::Foreign);
    }
}

/// An instance fits a DNS label, and is cut between characters.
#[test]
fn a_long_name_is_cut() {
    let own = peer(&"é".repeat(32));
    let instance = instance(&own, false, SALT);
    assert_eq!(instance, "é".repeat(29) + "~" + &own.id.short());
    assert_eq!(instance.len(), 63);
}
