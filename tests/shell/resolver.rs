//! The endpoints that a run dials.

use std::io::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mio::{Poll, Token, Waker};
use p2pchat::base::identity::Identity;
use p2pchat::shell::net::resolver::Resolver;
use p2pchat::wire::code::Endpoint;

use super::hosts::wait::wait_until;

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
    let mut resolver = Resolver::new(waker, None);
    for seed in [None, Some(1), Some(2), None] {
        resolver.add(&endpoint(seed, 1)).expect("room");
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

    assert!((2..=64).all(|port| resolver.add(&endpoint(None, port)).is_ok()));
    assert!(resolver.add(&endpoint(None, 65)).is_err());
    assert!(resolver.add(&endpoint(Some(3), 64)).is_ok());
}

/// An id alone.
fn id_alone(seed: u8) -> Endpoint {
    Endpoint {
        host: String::new(),
        port: 0,
        ..endpoint(Some(seed), 0)
    }
}

/// Ids without a host are looked up in helper threads, each by itself, until they are found.
/// Without something that looks up ids they are refused.
#[test]
fn ids_are_looked_up_until_they_are_found() {
    let poll = Poll::new().unwrap();
    let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
    let mut resolver = Resolver::new(Arc::clone(&waker), None);
    let sentence = resolver.add(&id_alone(1)).expect_err("a sentence");
    assert!(
        sentence.contains("is an id without an address"),
        "{sentence}"
    );

    let (alice, address) = (id_alone(1).peer, SocketAddr::from(([10, 0, 0, 7], 9)));
    let requests = Arc::new(Mutex::new(Vec::new()));
    let look_up = {
        let requests = Arc::clone(&requests);
        move |peer, is_requested| {
            let mut requests = requests.lock().unwrap();
            requests.push((Some(peer), is_requested));
            let is_known = requests.iter().filter(|it| it.0 == Some(peer)).count() > 1;
            match is_known || Some(peer) == alice {
                true => Ok(vec![address]),
                false => Err(Error::other("nobody knows")),
            }
        }
    };
    let mut resolver = Resolver::new(waker, Some(Arc::new(look_up)));
    resolver.add(&id_alone(1)).expect("a look-up");
    resolver.add(&id_alone(2)).expect("a look-up");
    let mut resolutions = Vec::new();
    wait_until("both are found", Duration::from_secs(20), || {
        resolutions.extend(resolver.take_resolutions());
        resolutions.iter().filter(|it| it.addresses.is_ok()).count() == 2
    });
    // The one failure is reported once.
    assert_eq!(resolutions.len(), 3);
    let requests = requests.lock().unwrap();
    let bob = id_alone(2).peer;
    let of_bob = requests.iter().filter(|it| it.0 == bob);
    assert_eq!(of_bob.map(|it| it.1).collect::<Vec<_>>(), [true, false]);
    assert_eq!(requests.iter().filter(|it| it.0 == alice).count(), 1);
}
