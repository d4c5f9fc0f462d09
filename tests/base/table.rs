//! Sorted maps and sets behave like the standard library's trees.

use std::collections::{BTreeMap, BTreeSet};

use p2pchat::base::table::{Record, RecordMap, SortedMap, SortedSet, sorted_by_number};

/// Pseudo-random numbers, the same in every run.
fn numbers() -> impl Iterator<Item = u64> {
    let next = |n: &u64| Some(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    std::iter::successors(Some(7), next).map(|n| n >> 33)
}

/// Every method agrees with `BTreeMap` after each of 2000 random steps.
#[test]
fn a_sorted_map_behaves_like_a_btree_map() {
    let (mut table, mut tree) = (SortedMap::new(), BTreeMap::new());
    for (step, number) in numbers().take(2_000).enumerate() {
        let key = number % 64;
        match number / 64 % 5 {
            0 => assert_eq!(table.insert(key, step), tree.insert(key, step)),
            1 => assert_eq!(table.remove(&key), tree.remove(&key)),
            2 => {
                let value = table.get_or_insert_with(key, || step);
                assert_eq!(value, tree.entry(key).or_insert(step));
            }
            3 => {
                *table.get_or_default(key) += 1;
                *tree.entry(key).or_default() += 1;
                assert_eq!(table.get_mut(&key), tree.get_mut(&key));
            }
            _ => {
                table.retain(|k, v| *k % 8 != key % 8 || *v % 2 == 0);
                tree.retain(|k, v| *k % 8 != key % 8 || *v % 2 == 0);
            }
        }
        assert_eq!(table.get(&key), tree.get(&key));
        assert_eq!(table.contains_key(&key), tree.contains_key(&key));
        assert!(table.iter().eq(tree.iter()));
        assert_eq!(
            (table.len(), table.is_empty()),
            (tree.len(), tree.is_empty())
        );
    }
    let json = r#"{"b":2,"a":1,"b":3}"#;
    let read: SortedMap<String, u8> = serde_json::from_str(json).unwrap();
    let entries: Vec<(String, u8)> = read.into_iter().collect();
    assert_eq!(entries, [("a".into(), 1), ("b".into(), 3)]);
}

/// Every method agrees with `BTreeSet` after each of 2000 random steps.
#[test]
fn a_sorted_set_behaves_like_a_btree_set() {
    let (mut set, mut tree) = (SortedSet::new(), BTreeSet::new());
    for number in numbers().take(2_000) {
        let item = number % 64;
        if number / 64 % 2 == 0 {
            assert_eq!(set.insert(item), tree.insert(item));
        } else {
            assert_eq!(set.remove(&item), tree.remove(&item));
        }
        assert_eq!(set.contains(&(item + 1)), tree.contains(&(item + 1)));
        assert!(set.iter().eq(tree.iter()));
    }
}

/// A key that is absent starts the iteration at the next one.
#[test]
fn iteration_from_a_key_begins_at_it_or_behind_it() {
    let table: SortedMap<u8, char> = [(2, 'b'), (4, 'd'), (6, 'f')].into_iter().collect();
    let from = |key: u8| table.iter_from(&key).map(|(_, v)| *v).collect::<String>();
    assert_eq!([from(0), from(4), from(5), from(7)], ["bdf", "df", "f", ""]);
}

#[derive(Clone, Debug, PartialEq)]
struct Numbered {
    number: u64,
    step: usize,
}

impl Record for Numbered {
    type Key = u64;

    fn key(&self) -> &u64 {
        &self.number
    }
}

/// Every method agrees with `BTreeMap` after each of 2000 random steps.
#[test]
fn a_record_map_behaves_like_a_btree_map() {
    let (mut map, mut tree) = (RecordMap::default(), BTreeMap::new());
    for (step, random) in numbers().take(2_000).enumerate() {
        let number = random % 64;
        let record = Box::new(Numbered { number, step });
        match random / 64 % 5 {
            0 => {
                map.insert(record.clone());
                tree.insert(number, record);
            }
            1 => {
                map.remove(&number);
                tree.remove(&number);
            }
            2 => {
                let found = map.get_or_insert_with(&number, || record.clone());
                assert_eq!(found, tree.entry(number).or_insert(record));
            }
            3 => {
                map.iter_mut_from(&number).for_each(|found| found.step += 1);
                tree.range_mut(number..)
                    .for_each(|(_, found)| found.step += 1);
                assert_eq!(map.get_mut(&number), tree.get_mut(&number));
            }
            _ => {
                map.retain(|found| found.number % 8 != number % 8 || found.step % 2 == 0);
                tree.retain(|_, found| found.number % 8 != number % 8 || found.step % 2 == 0);
            }
        }
        assert_eq!(map.get(&number), tree.get(&number));
        assert!(map.iter().eq(tree.values()));
        assert!(
            map.iter_from(&number)
                .eq(tree.range(number..).map(|(_, found)| found))
        );
        assert_eq!((map.len(), map.is_empty()), (tree.len(), tree.is_empty()));
        assert_eq!(map.as_slice().len(), map.len());
    }
    let copy: RecordMap<Box<Numbered>> = map.clone().into_iter().rev().collect();
    assert_eq!(copy, map);
}

/// Items are sorted by their numbers, and stay in order where these are equal.
#[test]
fn items_are_sorted_by_a_number() {
    let items = [(3, 'a'), (1, 'b'), (u64::MAX, 'c'), (1, 'd'), (0, 'e')];
    let sorted = sorted_by_number(&items, |(number, _)| *number);
    assert_eq!(sorted.iter().map(|(_, c)| c).collect::<String>(), "ebdac");
    assert!(sorted_by_number::<u64>(&[], |number| *number).is_empty());
}
