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

/// The peers that each member wants to link with, when all know all.
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

/// The greatest distance from a member in hops, and how many members it reaches.
fn reach(graph: &BTreeMap<PeerId, BTreeSet<PeerId>>, from: PeerId) -> (usize, usize) {
    let mut distances: BTreeMap<PeerId, usize> = [(from, 0)].into();
    let mut queue = VecDeque::from([from]);
    while let Some(at) = queue.pop_front() {
        for next in graph[&at].iter().filter(|next| graph.contains_key(next)) {
            if !distances.contains_key(next) {
                distances.insert(*next, distances[&at] + 1);
                queue.push_back(*next);
            }
        }
    }
    (
        distances.values().copied().max().unwrap_or(0),
        distances.len(),
    )
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
            let (distance, reached) = reach(&graph, *from);
            assert!(distance <= 6, "{distance} hops");
            assert_eq!(reached, members.len());
        }
    }
}

/// The rings have enough redundancy for a fifth of the members to be absent.
#[test]
fn a_room_stays_connected_without_a_fifth_of_its_members() {
    let members: Vec<PeerId> = (0..500).map(id).collect();
    let mut graph = neighbours(&members);
    for absent in members.iter().step_by(5) {
        graph.remove(absent);
    }
    let (distance, reached) = reach(&graph, members[1]);
    assert_eq!(reached, graph.len());
    assert!(distance <= 6, "{distance} hops");
}

/// All members compute the same graph, in whatever order they learn of each other.
#[test]
fn rings_are_independent_of_the_order_of_insertion() {
    let (own, mut ascending, mut descending) = (id(0), Rings::default(), Rings::default());
    for number in 1..300 {
        ascending.add(&own, &id(number));
        descending.add(&own, &id(300 - number));
        ascending.add(&own, &id(number));
        assert!(!ascending.add(&own, &own), "nobody is its own neighbour");
    }
    let count_neighbours = |rings: &Rings| {
        (1..300)
            .filter(|n| rings.is_neighbour(&own, &id(*n)))
            .count()
    };
    assert!((8..40).contains(&count_neighbours(&ascending)));
    for number in 1..300 {
        assert_eq!(
            ascending.is_neighbour(&own, &id(number)),
            descending.is_neighbour(&own, &id(number))
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
    assert!(topology.reset(49), "the lower threshold is not reached");
    assert!(!topology.reset(48) && topology.is_wanted(&id(1)));
}
