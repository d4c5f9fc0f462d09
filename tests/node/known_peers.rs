//! Resolution of peer selectors: by the known peers and the peers that are present.

use p2pchat::base::event::output::KnownPeer;
use p2pchat::base::event::peer::Peer;
use p2pchat::base::identity::{Identity, PeerId};
use p2pchat::base::name::{Nick, PeerSelector};
use p2pchat::base::time::WallTime;
use p2pchat::base::trust::level::TrustLevel;
use p2pchat::node::membership::known_peers::{KnownPeers, ResolvedPeer};

fn id(seed: u8) -> PeerId {
    Identity::from_seed(&[seed; 32]).id()
}

fn peer(nick: &str, seed: u8) -> Peer {
    Peer {
        id: id(seed),
        nick: Nick::new(nick).unwrap(),
    }
}

fn known(nick: &str, seed: u8, bound: bool) -> KnownPeer {
    KnownPeer {
        nick: Nick::new(nick).unwrap(),
        id: id(seed),
        first_seen: WallTime(0),
        trust: if bound {
            TrustLevel::Bound
        } else {
            TrustLevel::Seen
        },
    }
}

/// Resolves a selector among known and present peers.
fn resolve(list: &[KnownPeer], present: &[Peer], selector: &str) -> ResolvedPeer {
    let selector = PeerSelector::parse(selector).unwrap();
    KnownPeers::new(list.to_vec()).resolve(&selector, present)
}

/// Name, short id, prefix and full id select the same peer, known or present.
#[test]
fn a_peer_is_resolved_by_every_form_of_selector() {
    let bob = peer("Bob", 2);
    let full_id = bob.id.to_string();
    for text in [
        "@bob".to_owned(),
        "bob".to_owned(),
        "@BOB".to_owned(),
        format!("@bob~{}", bob.id.short()),
        format!("@bob~{}", &full_id[..20]),
        format!("@~{}", bob.id.short()),
        format!("@{full_id}"),
        format!("@~{}", &full_id[..12]),
    ] {
        for (list, present) in [
            (&[known("Bob", 2, false)][..], &[][..]),
            (&[], std::slice::from_ref(&bob)),
        ] {
            assert_eq!(
                resolve(list, present, &text),
                ResolvedPeer::Unique(bob.clone()),
                "{text}"
            );
        }
    }
    for text in ["@carol", "@bob~aaaa", "@~aaaa"] {
        assert_eq!(
            resolve(&[known("Bob", 2, true)], &[], text),
            ResolvedPeer::NotFound,
            "{text}"
        );
    }
    for text in [
        "",
        "@",
        "@a b",
        "@bob~",
        "@bob~abc",
        "@bob~abc1",
        "@#ops",
        "@-x",
        "@a@b",
    ] {
        assert!(PeerSelector::parse(text).is_err(), "{text}");
    }
}

/// A full id is enough to write to a peer that never appeared.
#[test]
fn a_full_id_resolves_to_an_unknown_peer() {
    let resolved = resolve(&[], &[], &format!("@{}", id(7)));
    assert!(matches!(resolved, ResolvedPeer::Unique(peer) if peer.id == id(7)));
}

/// A name that two keys have is ambiguous, unless presence shows that one has a new name.
#[test]
fn a_shared_name_is_ambiguous() {
    let two = [known("bob", 2, false), known("bob", 3, false)];
    let ResolvedPeer::Ambiguous(peers) = resolve(&two, &[peer("bob", 3)], "@bob") else {
        panic!("not ambiguous");
    };
    assert_eq!(peers.len(), 2);
    // One key twice is one peer. A peer present under a new name has lost the old one.
    let duplicate = [known("bob", 2, false), known("bob", 2, false)];
    assert_eq!(
        resolve(&duplicate, &[], "@bob"),
        ResolvedPeer::Unique(peer("bob", 2))
    );
    let resolved = resolve(&two, &[peer("robert", 2)], "@bob");
    assert_eq!(resolved, ResolvedPeer::Unique(peer("bob", 3)));
}

/// A name bound to a key never resolves to another key, unless the selector names that key.
#[test]
fn a_bound_name_resolves_to_its_key_or_a_mismatch() {
    let list = [
        known("bob", 2, false),
        known("bob", 2, true),
        known("bob", 3, false),
    ];
    let (bob, other) = (peer("bob", 2), peer("bob", 3));
    assert_eq!(
        resolve(&list, &[], "@bob"),
        ResolvedPeer::Unique(bob.clone())
    );
    let both = [bob.clone(), other.clone()];
    assert_eq!(
        resolve(&list, &both, "@bob"),
        ResolvedPeer::Unique(bob.clone())
    );
    let changed = ResolvedPeer::KeyMismatch {
        peer: other.clone(),
        bound: bob.id,
    };
    assert_eq!(
        resolve(&list, std::slice::from_ref(&other), "@bob"),
        changed
    );
    // The selector names the other key: the user means that peer.
    let named = format!("@bob~{}", other.id.short());
    assert_eq!(
        resolve(&list, std::slice::from_ref(&other), &named),
        ResolvedPeer::Unique(other)
    );
    // A bound name still resolves to its key when that peer is present under a new name.
    let resolved = resolve(&list, &[peer("robert", 2)], "@bob");
    assert!(matches!(resolved, ResolvedPeer::Unique(peer) if peer.id == bob.id));
}

/// A selector that is shown, or sent to a running program, selects the same peers when it is read.
#[test]
fn a_selector_parses_back_from_its_text() {
    let full = id(1).to_string();
    for text in ["@bob", "@bob~abcd", "@~abcd", &format!("@{full}")] {
        let selector = PeerSelector::parse(text).unwrap();
        assert_eq!(selector.to_string(), text);
        assert_eq!(PeerSelector::parse(&selector.to_string()), Ok(selector));
    }
}
