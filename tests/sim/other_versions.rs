//! Peers of another version of the protocol: they are counted, and dialed less and less often.
use std::net::SocketAddr;

use p2pchat::base::event::input::Input;
use p2pchat::base::event::stream_id::StreamId;

use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::open_stream;

/// The preface of the present version in the open network.
const PREFACE: [u8; 4] = *b"P2\x02\0";

/// Accepts the next dial to an address outside the LAN, and closes it as a peer of another version
/// does: on the preface, without an answer.
fn reject_next_dial(lan: &mut Lan, who: PeerIndex, address: SocketAddr) -> StreamId {
    let dialed = |lan: &Lan| {
        let mut connections = lan.network.connections.iter();
        connections
            .find(|(_, connection)| connection.address == address)
            .and_then(|(id, connection)| Some((*id, connection.open_end(0)?.stream)))
    };
    lan.run_until("it dials", 70_000, |lan| dialed(lan).is_some());
    let (connection_id, stream) = dialed(lan).expect("a dial");
    lan.network.remove_connection(connection_id);
    lan.external_writes.insert((who, stream), Vec::new());
    lan.feed(who, Input::Connected { stream });
    let written = lan.take_external_writes(who, stream);
    assert_eq!(written[..PREFACE.len()], PREFACE);
    lan.feed(who, Input::Closed { stream });
    stream
}

/// A peer that rejects our version is dialed after 1 s at first, and at last after 64 s. It is
/// never linked.
#[test]
fn a_peer_that_rejects_our_version_is_dialed_with_backoff() {
    let mut lan = Lan::new(1);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let address = SocketAddr::from(([10, 0, 9, 9], 9999));
    lan.add_static_peer(alice, address);
    reject_next_dial(&mut lan, alice, address);
    let mut backoff_ms = 1_000;
    for dial in 1..=10 {
        let before = lan.now_ms;
        reject_next_dial(&mut lan, alice, address);
        // The jitter shortens a backoff by up to half.
        let waited_ms = lan.now_ms - before;
        let expected = backoff_ms / 2..=backoff_ms + 100;
        assert!(expected.contains(&waited_ms), "dial {dial}: {waited_ms} ms");
        backoff_ms = (2 * backoff_ms).min(64_000);
    }
    let counters = lan.node(alice).counters();
    assert_eq!(
        (counters.failed_handshakes, counters.other_versions),
        (11, 0)
    );
    assert_eq!(lan.node(alice).link_count(), 0);
}

/// A dialer of another version gets no answer, and is counted. So is each of its later dials. Bytes
/// of another protocol or network are no other version.
#[test]
fn a_dialer_of_another_version_is_counted() {
    let mut lan = Lan::new(2);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let prefaces = [*b"P2\x01\0", *b"P2\x03\x01", *b"P2\x02\x01", *b"GET "];
    for (n, preface) in (0..).zip(&prefaces) {
        let stream = open_stream(&mut lan, alice, n);
        lan.feed(
            alice,
            Input::Bytes {
                stream,
                bytes: preface,
            },
        );
        assert!(lan.has_closed(alice, stream));
        assert_eq!(lan.take_external_writes(alice, stream), b"");
    }
    let counters = lan.node(alice).counters();
    assert_eq!(
        (counters.failed_handshakes, counters.other_versions),
        (4, 2)
    );
    let shown = counters.named_values();
    assert!(shown.contains(&("other_versions", 2)), "{shown:?}");
}
