//! The order of a history: the same for every directory that stores the same lines.

use p2pchat::base::batch::batch::{Batch, LogId};
use p2pchat::base::identity::Identity;
use p2pchat::shell::session::history_query::HistoryQuery;
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::store::Store;

use super::support::{
    Author, NET, last_lines, pipe, query_lines, save, store_on_disk, whole_history,
};
use crate::folders::TempDir;

/// All lines sorted in memory by Lamport time, author, incarnation and sequence.
fn expected_order(batches: &[Batch]) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in batches {
        let mut i = 0;
        batch.for_each_line(|line| {
            let key = (
                batch.lamport + i,
                batch.log.author,
                batch.log.incarnation,
                batch.sequence + i,
            );
            let name = format!("{}~{}", batch.username, batch.log.author.short());
            let text = format!("{} {} {name}: {line}", batch.timestamp, batch.log.target);
            lines.push((key, text));
            i += 1;
        });
    }
    lines.sort();
    lines.into_iter().map(|(_, text)| text).collect()
}

/// The next pseudo-random number (xorshift64).
pub fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// Concurrent batches of three authors in two rooms, whose lines interleave. Grace's id comes last
/// by its bytes, but its text begins with a digit and would come first.
pub fn conversation(seed: &mut u64) -> Vec<Batch> {
    let mut authors = [
        Author::new("alice", "general", 1),
        Author::new("alice", "ops", 1),
        Author::new("alice", "general", 2),
        Author::new("grace", "general", 3),
        Author::new("carol", "general", 4),
        Author::new("carol", "ops", 4),
    ];
    let mut clocks = [1, 1, 40, 1, 20, 20];
    let mut batches = Vec::new();
    for n in 0..120 {
        let author = random(seed) as usize % authors.len();
        let count = 1 + random(seed) % 9 * (random(seed) % 2);
        // Alice and Carol have one clock for both rooms, as a node has.
        let lamport = match author {
            0 | 1 => clocks[0].max(clocks[1]),
            4 | 5 => clocks[4].max(clocks[5]),
            _ => clocks[author],
        };
        let lines: Vec<String> = (0..count).map(|i| format!("{n}.{i}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        batches.push(authors[author].say(lamport, &lines));
        clocks[author] = lamport + count + random(seed) % 3;
    }
    batches
}

/// The batches in another order of arrival; the batches of each log stay in order.
pub fn shuffled(batches: &[Batch], seed: &mut u64) -> Vec<Batch> {
    let mut logs: Vec<(LogId, Vec<Batch>)> = Vec::new();
    for batch in batches.iter().rev() {
        match logs.iter_mut().find(|(log, _)| *log == batch.log) {
            Some((_, all)) => all.push(batch.clone()),
            None => logs.push((batch.log.clone(), vec![batch.clone()])),
        }
    }
    let mut order = Vec::new();
    let is_interleaved = random(seed) & 1 == 0;
    while let Some(i) = (!logs.is_empty()).then(|| random(seed) as usize % logs.len()) {
        // Single batches, as when linked, or whole logs, as after a long absence.
        let count = if is_interleaved { 1 } else { logs[i].1.len() };
        for _ in 0..count {
            order.extend(logs[i].1.pop());
        }
        logs.retain(|(_, all)| !all.is_empty());
    }
    order
}

/// Two directories with the same lines print the same bytes, the last n lines included.
#[test]
fn a_history_is_independent_of_the_order_of_arrival() {
    let seed = &mut 88_172_645_463_325_252;
    for _ in 0..4 {
        let batches = conversation(seed);
        let expected = expected_order(&batches);
        for _ in 0..2 {
            let folder = TempDir::new();
            store_on_disk(&folder, &shuffled(&batches, seed));
            assert!(folder.segments("#general").len() > 3);
            assert_eq!(whole_history(&folder), expected);
            for lines in (1..expected.len() + 2).step_by(41) {
                let from = expected.len().saturating_sub(lines);
                assert_eq!(
                    last_lines(&folder, lines as u64),
                    expected[from..],
                    "{lines}"
                );
            }
        }
    }
}

/// A store in memory gives the same bytes as one on disk.
#[test]
fn a_store_in_memory_has_the_same_history() {
    let seed = &mut 4_101_842_887_655_102_017;
    let batches = conversation(seed);
    let own = Identity::from_seed(&[1; 32]).id();
    let mut store = Store::in_memory(own, NET, StoreLimits::default());
    save(&mut store, &shuffled(&batches, seed));
    let (source, network) = store.history_source();
    assert_eq!(network, NET);
    let expected = expected_order(&batches);
    assert_eq!(
        query_lines(&source, &HistoryQuery::default(), pipe()),
        expected
    );
}
