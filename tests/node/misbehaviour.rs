//! The table of what keys have done wrong.
use p2pchat::base::identity::{Identity, PeerId};
use p2pchat::node::misbehaviour::MisbehaviourTable;

fn key(n: u16) -> PeerId {
    let mut seed = [7; 32];
    seed[..2].copy_from_slice(&n.to_be_bytes());
    Identity::from_seed(&seed).id()
}

/// At the bound, a further key takes the place of one with fewer counts: a flood of keys does not
/// hide who misbehaved most.
#[test]
fn a_flood_of_keys_is_bounded_and_hides_nobody() {
    let mut table = MisbehaviourTable::default();
    for _ in 0..2 {
        table.count(key(0), |counts| &mut counts.forks);
    }
    for n in 1..=400 {
        table.count(key(n), |counts| &mut counts.violations);
    }
    let counted = (0..=400).filter(|n| table.of(&key(*n)).total() > 0);
    assert_eq!(counted.count(), 256);
    assert_eq!(table.of(&key(0)).forks, 2);
    assert_eq!(table.of(&key(400)).violations, 1);
}
