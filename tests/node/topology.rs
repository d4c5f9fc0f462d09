//! The peers to link with when there are many: rings of each room, mutual and few.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use p2pchat::base::identity::{Hash, PeerId};
use p2pchat::base::name::Room;
use p2pchat::node::topology::{LINKS_MAX, Rings, Topology};

fn id(number: u64) -> PeerId {
    PeerId(Hash::of(&[&number.to_be_bytes()]).0)
}

fn room(name: &str) -> Room {
    Room::new(name).expect("a fit room")
}

/// Whom each wants, as far as it knows all.
fn neighbours(members: &[PeerId]) -> BTreeMap<PeerId, BTreeSet<PeerId>> {
    let general = Room::general();
    let all = members.iter().map(|own| {
        let mut topology = Topology::default();
        assert!(topology.reset(members.len()));
        for peer in members.iter().filter(|peer| *peer != own) {
            topology.add_member(own, &general, peer);
        }
        topology.select_neighbours();
        (*own, topology.wanted().iter().copied().collect())
    });
    all.collect()
}

/// The greatest distance from this one, and how many are within reach.
fn reach(graph: &BTreeMap<PeerId, BTreeSet<PeerId>>, from: PeerId) -> (usize, usize) {
    let mut far: BTreeMap<PeerId, usize> = [(from, 0)].into();
    let mut open = VecDeque::from([from]);
    while let Some(at) = open.pop_front() {
        for next in graph[&at].iter().filter(|next| graph.contains_key(next)) {
            if !far.contains_key(next) {
                far.insert(*next, far[&at] + 1);
                open.push_back(*next);
            }
        }
    }
    (far.values().copied().max().unwrap_or(0), far.len())
}

/// Both ends want each link; a peer wants at most 32, and reaches all others within 6 hops.
#[test]
fn neighbours_are_mutual_few_and_near() {
    for count in [65, 200, 1000] {
        let members: Vec<PeerId> = (0..count).map(id).collect();
        let graph = neighbours(&members);
        for (own, wanted) in &graph {
            assert!(
                wanted.iter().all(|peer| graph[peer].contains(own)),
                "mutual"
            );
            assert!(
                !wanted.contains(own) && wanted.len() <= 32,
                "{}",
                wanted.len()
            );
        }
        for from in members.iter().step_by(7) {
            let (far, reached) = reach(&graph, *from);
            assert!(far <= 6, "{far} hops");
            assert_eq!(reached, members.len());
        }
    }
}

/// The rings have enough redundancy for a fifth of the members to be absent.
#[test]
fn a_room_stays_connected_without_a_fifth_of_its_members() {
    let members: Vec<PeerId> = (0..500).map(id).collect();
    let mut graph = neighbours(&members);
    for gone in members.iter().step_by(5) {
        graph.remove(gone);
    }
    let (far, reached) = reach(&graph, members[1]);
    assert_eq!(reached, graph.len());
    assert!(far <= 6, "{far} hops");
}

/// All members compute the same graph, in whatever order they learn of each other.
#[test]
fn rings_are_independent_of_the_order_of_insertion() {
    let (own, mut forth, mut back) = (id(0), Rings::default(), Rings::default());
    for number in 1..300 {
        forth.add(&own, &id(number));
        back.add(&own, &id(300 - number));
        forth.add(&own, &id(number));
        assert!(!forth.add(&own, &own), "nobody is its own neighbour");
    }
    let near = |rings: &Rings| {
        (1..300)
            .filter(|n| rings.is_neighbour(&own, &id(*n)))
            .count()
    };
    assert!((8..40).contains(&near(&forth)));
    for number in 1..300 {
        assert_eq!(
            forth.is_neighbour(&own, &id(number)),
            back.is_neighbour(&own, &id(number))
        );
    }
}

/// A peer of many rooms has the same bound of links, and keeps both ring neighbours in each room.
#[test]
fn links_are_bounded_and_ring_neighbours_come_first() {
    let own = id(0);
    let mut topology = Topology::default();
    topology.reset(2000);
    let mut nearest = BTreeSet::new();
    for number in 0..25 {
        let room = room(&format!("#room{number}"));
        let members: Vec<PeerId> = (1..60).map(|n| id(number * 1000 + n)).collect();
        members.iter().for_each(|peer| {
            topology.add_member(&own, &room, peer);
        });
        let order = |peer: &&PeerId| (**peer < own, **peer);
        nearest.extend(members.iter().min_by_key(order));
        nearest.extend(members.iter().max_by_key(order));
    }
    topology.select_neighbours();
    assert_eq!(topology.wanted().len(), LINKS_MAX);
    assert!(nearest.iter().all(|peer| topology.is_wanted(peer)));
}

/// Up to 64 peers link with each other; hysteresis keeps the choice stable around that number.
#[test]
fn every_peer_is_wanted_while_peers_are_few() {
    let mut topology = Topology::default();
    assert!(!topology.reset(64) && topology.is_wanted(&id(1)));
    assert!(topology.reset(65) && !topology.is_wanted(&id(1)));
    assert!(topology.reset(49), "one more or less changes nothing");
    assert!(!topology.reset(48) && topology.is_wanted(&id(1)));
}
