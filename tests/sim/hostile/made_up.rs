//! Peers, beacons and addresses that hostile hosts make up.
use std::net::SocketAddr;

use p2pchat::base::identity::{Identity, NetworkTag, PeerId};
use p2pchat::base::name::Nick;
use p2pchat::wire::beacon::{Beacon, BeaconKind};

use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;

/// A beacon of a peer that does not exist, or in the name of one that does.
pub fn made_up_beacon(peer: PeerId, run: u64, port: u16) -> Beacon {
    Beacon {
        kind: BeaconKind::Discover,
        peer,
        nick: Nick::new_or_placeholder("ghost"),
        port,
        run,
        counter: 1,
        interval_ms: 10_000,
        transient: false,
        room_hashes: Vec::new(),
        has_more_rooms: true,
    }
}

/// A beacon of the open network that anybody can forge.
pub fn forged_beacon(peer: PeerId, run: u64, port: u16) -> Vec<u8> {
    encode(&made_up_beacon(peer, run, port))
}

/// The bytes of a beacon of the open network.
pub fn encode(beacon: &Beacon) -> Vec<u8> {
    beacon.encode(&NetworkTag::OPEN, None, &[0; 24])
}

/// The identity of a peer that does not exist.
pub fn made_up_identity(n: u64) -> Identity {
    let mut seed = [66; 32];
    seed[..8].copy_from_slice(&n.to_be_bytes());
    Identity::from_seed(&seed)
}

/// The id of a peer that does not exist.
pub fn made_up_peer(n: u64) -> PeerId {
    made_up_identity(n).id()
}

/// Alice and another peer, linked for 6 s.
pub fn linked_pair(seed: u64, name: &str) -> (Lan, PeerIndex, PeerIndex) {
    let mut lan = Lan::new(seed);
    let [alice, other] = lan.add_peers(["alice", name]);
    lan.start_all([alice, other]);
    lan.run_until_linked(alice, other, 100);
    lan.run_for(6_000);
    (lan, alice, other)
}

/// An address of the LAN where nobody answers.
pub fn silent_source(n: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, 77, n as u8], 40_000))
}
