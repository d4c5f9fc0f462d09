//! The table of bounds: for each, a flood, what is measured while it lasts, and the most that is
//! allowed. Without its bound in the core, each row fails.
use std::net::SocketAddr;

use p2pchat::base::identity::{Identity, NetworkTag, PeerId};
use p2pchat::base::name::Nick;
use p2pchat::wire::beacon::{Beacon, BeaconKind};

use super::{
    beacons, carriers, dials, findings, introductions, messages, presence, streams, tables,
};
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;

/// One bound, and the flood that tests it.
struct Bound {
    name: &'static str,
    flood: &'static str,
    measured: &'static str,
    at_most: u64,
    measure: fn(seed: u64) -> u64,
}

const BOUNDS: &[Bound] = &[
    Bound {
        name: "offers passed on to a recipient",
        flood: "an author offers a carrier 400 delivered logs",
        measured: "logs offered to the recipient",
        at_most: 64,
        measure: carriers::offers_passed_on,
    },
    Bound {
        name: "direct logs of one author at a carrier",
        flood: "a carrier offers 400 direct logs of one author to their recipient",
        measured: "logs requested",
        at_most: 64,
        measure: carriers::requests_for_one_authors_logs,
    },
    Bound {
        name: "requests for a recipient",
        flood: "a recipient requests 100 times lines that its carrier does not store",
        measured: "requests to their author",
        at_most: 1,
        measure: carriers::requests_for_a_recipient,
    },
    Bound {
        name: "requests that wait for a place to carry",
        flood: "an author has 400 logs to a recipient, and the first takes all places",
        measured: "requests that are ended, to be made again",
        at_most: 256,
        measure: carriers::paused_requests,
    },
    Bound {
        name: "requests resumed by an acknowledgement",
        flood: "399 logs wait for a place, and the recipient acknowledges 101 times what takes it",
        measured: "requests",
        at_most: 4,
        measure: carriers::requests_resumed_at_once,
    },
    Bound {
        name: "dials of a reused address",
        flood: "bob ends, and a program with another key starts at his address",
        measured: "dials in 25 s",
        at_most: 6,
        measure: dials::dials_of_a_reused_address,
    },
    Bound {
        name: "dials of a linked peer's address",
        flood: "beacons of 6 made-up peers name carol's address",
        measured: "dials in 25 s",
        at_most: 6,
        measure: |seed| dials::dials_of_a_claimed_address(seed, false),
    },
    Bound {
        name: "dials after a change of the run",
        flood: "beacons of 6 made-up peers name carol's address, each with a new run",
        measured: "dials in 25 s",
        at_most: 6,
        measure: |seed| dials::dials_of_a_claimed_address(seed, true),
    },
    Bound {
        name: "dials of a linked peer",
        flood: "beacons in carol's name, each with a new run",
        measured: "dials in 25 s",
        at_most: 8,
        measure: dials::dials_of_a_linked_peer,
    },
    Bound {
        name: "unproven peers of a source",
        flood: "one host sends beacons of 512 made-up peers and answers no dial",
        measured: "ms until two boxes link",
        at_most: 1_000,
        measure: |seed| dials::under_made_up_peers(seed).0,
    },
    Bound {
        name: "dials of a source",
        flood: "one host sends beacons of 512 made-up peers and answers no dial",
        measured: "its dials in 60 s",
        at_most: 40,
        measure: |seed| dials::under_made_up_peers(seed).1,
    },
    Bound {
        name: "addresses of a peer",
        flood: "beacons in bob's name from 3 addresses that answer no dial",
        measured: "ms until alice links with bob",
        at_most: 1_500,
        measure: dials::link_among_false_addresses,
    },
    Bound {
        name: "replayed beacons",
        flood: "an outsider replays the sealed beacons of three runs of bob from 50 addresses",
        measured: "ms until alice links with bob",
        at_most: 2_000,
        measure: dials::link_among_replayed_beacons,
    },
    Bound {
        name: "requests for a claimed line",
        flood: "a peer claims another first line of ours, 200 times in 2 s",
        measured: "requests",
        at_most: 3,
        measure: |seed| messages::requests_for_a_claim(seed, 1),
    },
    Bound {
        name: "requests for a line beyond our head",
        flood: "a peer claims 50 lines where we have one, 200 times in 2 s",
        measured: "requests",
        at_most: 3,
        measure: |seed| messages::requests_for_a_claim(seed, 50),
    },
    Bound {
        name: "memory of deferred streams",
        flood: "a second run of a linked peer sends frames without payload on 8 streams",
        measured: "frames kept",
        at_most: 4_096,
        measure: streams::frames_of_deferred_streams,
    },
    Bound {
        name: "bytes before the hello",
        flood: "a stream sends a frame of 512 KiB instead of its hello",
        measured: "bytes kept",
        at_most: 16_384,
        measure: streams::bytes_before_the_hello,
    },
    Bound {
        name: "unfinished handshakes of many hosts",
        flood: "1000 addresses begin 2 handshakes every ms",
        measured: "ms until bob is linked, who dials",
        at_most: 100,
        measure: streams::link_among_many_addresses,
    },
    Bound {
        name: "unfinished handshakes of strangers",
        flood: "1000 addresses begin 70 handshakes every ms",
        measured: "ms until bob is linked again, who dials",
        at_most: 100,
        measure: streams::relink_among_many_addresses,
    },
    Bound {
        name: "unfinished handshakes of an IPv6 subnet",
        flood: "a host begins 70 handshakes every ms, each from another address",
        measured: "ms until bob is linked, who dials",
        at_most: 100,
        measure: streams::link_among_ipv6_addresses,
    },
    Bound {
        name: "streams without bytes that a delivery waits for",
        flood: "strangers open a stream every 4 ms",
        measured: "ms until a line is settled",
        at_most: 2_100,
        measure: streams::settle_among_bare_streams,
    },
    Bound {
        name: "handshakes that a delivery waits for",
        flood: "strangers begin a handshake every 100 ms",
        measured: "ms until a line is settled",
        at_most: 2_100,
        measure: streams::settle_among_begun_handshakes,
    },
    Bound {
        name: "beacons that a delivery waits for",
        flood: "strangers send a beacon of another made-up peer every second",
        measured: "ms until a line is settled",
        at_most: 2_100,
        measure: streams::settle_among_forged_beacons,
    },
    Bound {
        name: "notices about a flapping peer",
        flood: "a peer leaves a room and enters it again every 10 ms",
        measured: "notices in 4 s",
        at_most: 20,
        measure: presence::notices_about_a_flapping_peer,
    },
    Bound {
        name: "notices about names",
        flood: "a peer changes its name every 10 ms",
        measured: "notices in 4 s",
        at_most: 21,
        measure: presence::notices_about_names,
    },
    Bound {
        name: "notices about who is away",
        flood: "a peer goes away and comes back every 10 ms",
        measured: "notices in 4 s",
        at_most: 21,
        measure: presence::notices_about_away,
    },
    Bound {
        name: "notices about all peers",
        flood: "a peer advertises 4000 made-up members, and their loss",
        measured: "notices in 4 s",
        at_most: 4_097,
        measure: presence::notices_about_made_up_members,
    },
    Bound {
        name: "unproven peers of a host",
        flood: "one host sends beacons of 200 made-up peers",
        measured: "peers heard",
        at_most: 32,
        measure: beacons::heard_peers_of_a_host,
    },
    Bound {
        name: "gone peers",
        flood: "a host links and leaves with 200 keys",
        measured: "peers listed as gone",
        at_most: 64,
        measure: presence::listed_gone_peers,
    },
    Bound {
        name: "unproven peers of the own host",
        flood: "a program of alice's host sends beacons of 2000 made-up peers",
        measured: "peers heard",
        at_most: 512,
        measure: beacons::heard_peers_of_the_own_host,
    },
    Bound {
        name: "discovered peers",
        flood: "200 hosts send beacons of 4000 made-up peers",
        measured: "peers heard",
        at_most: 2_048,
        measure: beacons::heard_peers_of_many_hosts,
    },
    Bound {
        name: "ignored hosts",
        flood: "72 hosts send beacons of 16 made-up peers each, and refuse all dials",
        measured: "hosts that are ignored",
        at_most: 64,
        measure: beacons::ignored_hosts,
    },
    Bound {
        name: "rate of dials",
        flood: "beacons of 400 made-up peers name ports where nobody listens",
        measured: "dials in a second",
        at_most: 41,
        measure: beacons::dials_in_a_second,
    },
    Bound {
        name: "dials under way to a host",
        flood: "one host sends beacons of 20 made-up peers and answers no dial",
        measured: "dials",
        at_most: 4,
        measure: beacons::dials_of_a_silent_host,
    },
    Bound {
        name: "dials under way to strangers",
        flood: "60 hosts send beacons and answer no dial",
        measured: "dials",
        at_most: 48,
        measure: beacons::dials_of_silent_hosts,
    },
    Bound {
        name: "members behind a neighbour",
        flood: "a peer advertises 4000 made-up members",
        measured: "peers known",
        at_most: 2_048,
        measure: messages::members_of_a_neighbour,
    },
    Bound {
        name: "entries of a message",
        flood: "a peer offers 1000 logs in one message",
        measured: "logs requested",
        at_most: 256,
        measure: messages::requests_for_a_message,
    },
    Bound {
        name: "offers of a peer",
        flood: "a peer offers 8000 logs of others",
        measured: "logs requested",
        at_most: 2_048,
        measure: messages::requests_for_logs_of_others,
    },
    Bound {
        name: "requests to a peer",
        flood: "a peer offers 8000 logs of its own",
        measured: "logs requested",
        at_most: 4_096,
        measure: messages::requests_for_logs_of_one_author,
    },
    Bound {
        name: "pacing of acknowledgements",
        flood: "a peer sends a line every ms",
        measured: "acknowledgements in 200 ms",
        at_most: 41,
        measure: messages::acknowledgements_of_lines,
    },
    Bound {
        name: "pacing of acknowledgements in bulk",
        flood: "a peer sends 10 lines every ms",
        measured: "acknowledgements in 200 ms",
        at_most: 11,
        measure: messages::acknowledgements_of_many_lines,
    },
    Bound {
        name: "pacing of offers",
        flood: "a peer says a line every 10 ms",
        measured: "offers to another in 3 s",
        at_most: 4,
        measure: messages::offers_of_a_busy_log,
    },
    Bound {
        name: "receipts of unknown peers",
        flood: "1000 invented keys sign receipts",
        measured: "peers that count as holding a line",
        at_most: 256,
        measure: messages::receipts_of_invented_keys,
    },
    Bound {
        name: "searches for a recipient",
        flood: "1000 searches for a name that nobody bears",
        measured: "searches that wait",
        at_most: 64,
        measure: messages::waiting_searches,
    },
    Bound {
        name: "claimed interval of beacons",
        flood: "a beacon claims that the next one comes in 11 days",
        measured: "s until its peer is forgotten",
        at_most: 541,
        measure: beacons::seconds_until_forgotten,
    },
    Bound {
        name: "keys of a name",
        flood: "100 peers in turn take the same name",
        measured: "keys recorded for it",
        at_most: 16,
        measure: messages::keys_of_a_name,
    },
    Bound {
        name: "members in hold-down",
        flood: "3 neighbours lose 2048 members each, and advertise them again",
        measured: "members not believed",
        at_most: 4_096,
        measure: messages::members_in_hold_down,
    },
    Bound {
        name: "gaps of forgotten logs",
        flood: "a peer begins 400 logs",
        measured: "gaps shown",
        at_most: 256,
        measure: messages::gaps_of_forgotten_logs,
    },
    Bound {
        name: "lines that are carried",
        flood: "a peer sends letters of 1000 lines to 30 others who are away",
        measured: "lines stored",
        at_most: 20_000,
        measure: messages::carried_lines,
    },
    Bound {
        name: "logs that are carried",
        flood: "a peer sends letters to 1100 others who are away",
        measured: "logs stored",
        at_most: 1_024,
        measure: messages::carried_logs,
    },
    Bound {
        name: "runs of a peer",
        flood: "an insider sends beacons of 100 runs of a peer, then an older one of each run",
        measured: "older beacons that count as replayed",
        at_most: 8,
        measure: tables::remembered_runs_of_a_peer,
    },
    Bound {
        name: "keys that claim names",
        flood: "1100 peers in turn claim the name of another",
        measured: "of the first 100 claims, those not reported again",
        at_most: 16,
        measure: tables::remembered_claims,
    },
    Bound {
        name: "peers that acknowledge a log",
        flood: "3 neighbours forward receipts of 1400 members each",
        measured: "peers that count as holding a line",
        at_most: 4_096,
        measure: tables::acknowledging_peers,
    },
    Bound {
        name: "programs with our key",
        flood: "100 programs with alice's key connect",
        measured: "notices",
        at_most: 64,
        measure: tables::reported_duplicates,
    },
    Bound {
        name: "logs of a read",
        flood: "a peer requests 1536 logs, and the disk is slow",
        measured: "logs that one read requests",
        at_most: 1_024,
        measure: tables::logs_of_a_read,
    },
    Bound {
        name: "addresses of linked peers",
        flood: "peers are linked from 300 addresses in turn",
        measured: "addresses that outrank strangers",
        at_most: 256,
        measure: tables::remembered_addresses,
    },
    Bound {
        name: "dials of introduced addresses",
        flood: "a peer introduces 10000 made-up peers at 250 hosts that answer no dial",
        measured: "dials in a minute",
        at_most: 64,
        measure: introductions::dials_in_a_minute,
    },
    Bound {
        name: "dials of an introduced host",
        flood: "10 peers introduce 200 made-up peers each at ports of one host",
        measured: "its dials in a minute",
        at_most: 4,
        measure: introductions::dials_of_a_victim,
    },
    Bound {
        name: "introduced addresses of a source",
        flood: "a peer introduces 250 made-up peers, each at another host",
        measured: "hosts dialed",
        at_most: 32,
        measure: introductions::hosts_of_a_source,
    },
    Bound {
        name: "introduced addresses",
        flood: "12 peers introduce 32 made-up peers each, each at another host",
        measured: "hosts dialed",
        at_most: 256,
        measure: introductions::hosts_of_many_sources,
    },
    Bound {
        name: "introduced addresses of a peer",
        flood: "3 peers introduce bob at 240 hosts each, 8 at a time",
        measured: "hosts dialed",
        at_most: 4,
        measure: introductions::hosts_of_a_peer,
    },
    Bound {
        name: "addresses of a peer from a source",
        flood: "a peer introduces bob at 240 hosts, 8 at a time",
        measured: "hosts dialed",
        at_most: 2,
        measure: introductions::hosts_of_a_peer_and_a_source,
    },
    Bound {
        name: "peers of an introduction",
        flood: "a message introduces 65 peers, of which one can be dialed: the last",
        measured: "dials",
        at_most: 0,
        measure: introductions::dials_of_a_long_message,
    },
    Bound {
        name: "failed dials of an introduced address",
        flood: "a peer introduces a made-up peer once",
        measured: "dials in an hour",
        at_most: 6,
        measure: introductions::dials_of_a_silent_address,
    },
    Bound {
        name: "introductions that a delivery waits for",
        flood: "a peer introduces made-up peers while bob is linked",
        measured: "ms until a line is settled",
        at_most: 40,
        measure: introductions::settle_among_introductions,
    },
    Bound {
        name: "dials of found addresses",
        flood: "mDNS finds 1000 made-up peers each second",
        measured: "dials in a minute",
        at_most: 64,
        measure: findings::dials_in_a_minute,
    },
    Bound {
        name: "dials of a found host",
        flood: "mDNS finds 1000 ports of one host",
        measured: "its dials in a minute",
        at_most: 4,
        measure: findings::dials_of_a_victim,
    },
    Bound {
        name: "found addresses of a finder",
        flood: "mDNS finds 1000 made-up peers, each at another host",
        measured: "hosts dialed",
        at_most: 64,
        measure: findings::hosts_of_a_finder,
    },
    Bound {
        name: "found and introduced addresses",
        flood: "4 finders find 250 made-up peers each, and 12 peers introduce 32 each",
        measured: "hosts dialed",
        at_most: 256,
        measure: findings::hosts_of_all_finders,
    },
    Bound {
        name: "found addresses of a peer",
        flood: "mDNS finds bob at 1000 hosts, 4 at a time",
        measured: "hosts dialed",
        at_most: 2,
        measure: findings::hosts_of_a_peer,
    },
    Bound {
        name: "addresses of a finding",
        flood: "mDNS finds 1000 addresses of one peer without an id",
        measured: "hosts dialed",
        at_most: 4,
        measure: findings::hosts_of_a_long_finding,
    },
    Bound {
        name: "failed dials of a found address",
        flood: "mDNS finds a made-up peer once",
        measured: "dials in an hour",
        at_most: 6,
        measure: findings::dials_of_a_silent_address,
    },
];

/// Each flood of the table stays within its bound, for any seed.
#[test]
fn floods_stay_within_their_bounds() {
    let mut broken = Vec::new();
    for bound in BOUNDS {
        let most = (0..2).map(bound.measure).max().unwrap_or(0);
        let text = format!(
            "{}: {}; {}: {most} of at most {}",
            bound.name, bound.flood, bound.measured, bound.at_most
        );
        println!("{text}");
        if most > bound.at_most {
            broken.push(text);
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

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
