//! The endpoints that a run dials.

use std::sync::Arc;

use mio::{Poll, Token, Waker};
use p2pchat::base::identity::Identity;
use p2pchat::shell::net::resolver::Resolver;
use p2pchat::wire::code::Endpoint;

fn endpoint(seed: Option<u8>, port: u16) -> Endpoint {
    Endpoint {
        peer: seed.map(|seed| Identity::from_seed(&[seed; 32]).id()),
        host: "10.0.0.7".into(),
        port,
    }
}

/// Of the endpoints with one host and port, the newest with an id counts. Nothing that was found out
/// for another one is reported any more.
#[test]
fn an_id_replaces_another_one() {
    let poll = Poll::new().unwrap();
    let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
    let mut resolver = Resolver::new(waker);
    for seed in [None, Some(1), Some(2), None] {
        assert!(resolver.add(&endpoint(seed, 1)));
    }
    let found: Vec<Endpoint> = resolver
        .take_resolutions()
        .into_iter()
        .map(|resolution| resolution.endpoint)
        .collect();
    // Named again, it is resolved again.
    assert_eq!(found, [endpoint(Some(2), 1), endpoint(Some(2), 1)]);
    resolver.resolve_all();
    assert_eq!(resolver.take_resolutions().len(), 1);

    assert!((2..=64).all(|port| resolver.add(&endpoint(None, port))));
    assert!(!resolver.add(&endpoint(None, 65)));
    assert!(resolver.add(&endpoint(Some(3), 64)));
}
