//! Ordered maps and sets, implemented as sorted vectors. With up to thousands of entries they are
//! as fast as B-trees and take less memory. Each instantiation compiles to about a tenth of the
//! code of a B-tree.
//!
//! [`RecordMap`] is for large records: its insertions move no record.
use std::borrow::Borrow;
use std::marker::PhantomData;
use std::ops::Deref;
use std::{fmt, iter, slice, vec};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A map ordered by key. Lookup takes O(log n). Insertion and removal take O(n), because they move
/// all entries after the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortedMap<K, V>(Vec<(K, V)>);

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> SortedMap<K, V> {
        SortedMap(Vec::new())
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    /// Creates an empty map.
    pub const fn new() -> SortedMap<K, V> {
        SortedMap(Vec::new())
    }

    /// Creates an empty map with memory for this number of entries.
    pub fn with_capacity(entries: usize) -> SortedMap<K, V> {
        SortedMap(Vec::with_capacity(entries))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Are there no entries?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn search<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.0
            .binary_search_by(|(other, _)| other.borrow().cmp(key))
    }

    /// Does the map have this key?
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.search(key).is_ok()
    }

    /// The value of this key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let at = self.search(key).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// Mutable access to the value of this key.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let at = self.search(key).ok()?;
        self.0.get_mut(at).map(|(_, value)| value)
    }

    /// The value of this key. If there is none, inserts the result of `new` first.
    pub fn get_or_insert_with(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        let at = self.search(&key).unwrap_or_else(|at| {
            self.0.insert(at, (key, new()));
            at
        });
        &mut self.0[at].1
    }

    /// The value of this key. If there is none, inserts the default value first.
    pub fn get_or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        self.get_or_insert_with(key, V::default)
    }

    /// Inserts a value for the key. Returns the previous value of the key, if any.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.search(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    /// Removes the entry of this key and returns its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let at = self.search(key).ok()?;
        Some(self.0.remove(at).1)
    }

    /// Keeps the entries for which `keep` returns `true`.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.0.retain_mut(|(key, value)| keep(key, value));
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Frees the memory that the entries do not use. For maps that seldom grow.
    pub fn shrink_to_fit(&mut self) {
        self.0.shrink_to_fit();
    }

    /// All entries in key order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + ExactSizeIterator + Clone {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// All entries in key order, with mutable values.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = (&K, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (&*key, value))
    }

    /// All entries with this key or a greater one, in key order.
    pub fn iter_from<'a>(
        &'a self,
        key: &K,
    ) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, K, V> {
        let at = self.search(key).unwrap_or_else(|at| at);
        let rest = self.0.get(at..).unwrap_or_default();
        rest.iter().map(|(key, value)| (key, value))
    }

    /// All keys in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + ExactSizeIterator + Clone {
        self.0.iter().map(|(key, _)| key)
    }

    /// All values, in key order.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> + ExactSizeIterator + Clone {
        self.0.iter().map(|(_, value)| value)
    }

    /// Mutable access to all values, in key order.
    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// All values, in key order.
    pub fn into_values(self) -> impl DoubleEndedIterator<Item = V> {
        self.0.into_iter().map(|(_, value)| value)
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for SortedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> SortedMap<K, V> {
        let mut table = SortedMap::new();
        for (key, value) in entries {
            table.insert(key, value);
        }
        table
    }
}

impl<K, V> IntoIterator for SortedMap<K, V> {
    type Item = (K, V);
    type IntoIter = vec::IntoIter<(K, V)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, K, V> IntoIterator for &'a SortedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = iter::Map<slice::Iter<'a, (K, V)>, fn(&'a (K, V)) -> (&'a K, &'a V)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

impl<'de, K: Ord + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for SortedMap<K, V> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<SortedMap<K, V>, D::Error> {
        struct Entries<K, V>(PhantomData<(K, V)>);
        impl<'de, K: Ord + Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for Entries<K, V> {
            type Value = SortedMap<K, V>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SortedMap<K, V>, A::Error> {
                let mut table = SortedMap::new();
                while let Some((key, value)) = map.next_entry()? {
                    table.insert(key, value);
                }
                Ok(table)
            }
        }
        source.deserialize_map(Entries(PhantomData))
    }
}

/// An ordered set. Its operations cost as much as those of [`SortedMap`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortedSet<T>(Vec<T>);

impl<T> Default for SortedSet<T> {
    fn default() -> SortedSet<T> {
        SortedSet(Vec::new())
    }
}

impl<T: Ord> SortedSet<T> {
    /// Creates an empty set.
    pub fn new() -> SortedSet<T> {
        SortedSet::default()
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Are there no items?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Does the set contain the item?
    pub fn contains(&self, item: &T) -> bool {
        self.0.binary_search(item).is_ok()
    }

    /// Inserts the item. Returns `true` if the set did not contain it before.
    pub fn insert(&mut self, item: T) -> bool {
        let found = self.0.binary_search(&item);
        if let Err(at) = found {
            self.0.insert(at, item);
        }
        found.is_err()
    }

    /// Removes the item. Returns `true` if the set contained it.
    pub fn remove(&mut self, item: &T) -> bool {
        let found = self.0.binary_search(item);
        if let Ok(at) = found {
            self.0.remove(at);
        }
        found.is_ok()
    }

    /// Keeps the items for which `keep` returns `true`. An emptied set takes no memory.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.0.retain(keep);
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }

    /// Removes all items.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// All items in order.
    pub fn iter(&self) -> slice::Iter<'_, T> {
        self.0.iter()
    }

    /// All items that are equal to this item or greater, in order.
    pub fn iter_from(&self, item: &T) -> slice::Iter<'_, T> {
        let at = self.0.binary_search(item).unwrap_or_else(|at| at);
        self.0.get(at..).unwrap_or_default().iter()
    }
}

impl<T: Ord> Extend<T> for SortedSet<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        for item in items {
            self.insert(item);
        }
    }
}

impl<T: Ord> FromIterator<T> for SortedSet<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> SortedSet<T> {
        let mut set = SortedSet::new();
        set.extend(items);
        set
    }
}

impl<T> IntoIterator for SortedSet<T> {
    type Item = T;
    type IntoIter = vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a SortedSet<T> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// A record that contains the key under which a [`RecordMap`] finds it.
pub trait Record {
    /// The key.
    type Key: Ord;

    /// The record's key. It must not change while a [`RecordMap`] contains the record.
    fn key(&self) -> &Self::Key;
}

/// Records ordered by the keys that they contain, each behind a pointer `P`, such as a [`Box`].
/// Lookup takes O(log n). Insertion and removal take O(n), but move only pointers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMap<P>(Vec<P>);

impl<P> Default for RecordMap<P> {
    fn default() -> RecordMap<P> {
        RecordMap(Vec::new())
    }
}

impl<R: Record, P: Deref<Target = R>> RecordMap<P> {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Are there no records?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn search(&self, key: &R::Key) -> Result<usize, usize> {
        self.0.binary_search_by(|record| record.key().cmp(key))
    }

    /// The record with this key.
    pub fn get(&self, key: &R::Key) -> Option<&P> {
        let at = self.search(key).ok()?;
        self.0.get(at)
    }

    /// Mutable access to the pointer to the record with this key.
    pub fn get_mut(&mut self, key: &R::Key) -> Option<&mut P> {
        let at = self.search(key).ok()?;
        self.0.get_mut(at)
    }

    /// Mutable access to the pointer to the record with this key. If there is none, inserts the
    /// result of `new` first, which must have this key.
    pub fn get_or_insert_with(&mut self, key: &R::Key, new: impl FnOnce() -> P) -> &mut P {
        let at = self.search(key).unwrap_or_else(|at| {
            self.0.insert(at, new());
            at
        });
        &mut self.0[at]
    }

    /// Inserts a record. Replaces the record with the same key, if there is one.
    pub fn insert(&mut self, record: P) {
        match self.search(record.key()) {
            Ok(at) => self.0[at] = record,
            Err(at) => self.0.insert(at, record),
        }
    }

    /// Removes the record with this key.
    pub fn remove(&mut self, key: &R::Key) {
        if let Ok(at) = self.search(key) {
            self.0.remove(at);
        }
    }

    /// Keeps the records for which `keep` returns `true`.
    pub fn retain(&mut self, keep: impl FnMut(&mut P) -> bool) {
        self.0.retain_mut(keep);
    }

    /// All records in key order.
    pub fn as_slice(&self) -> &[P] {
        &self.0
    }

    /// All records in key order.
    pub fn iter(&self) -> slice::Iter<'_, P> {
        self.0.iter()
    }

    /// All records with this key or a greater one, in key order.
    pub fn iter_from(&self, key: &R::Key) -> slice::Iter<'_, P> {
        let at = self.search(key).unwrap_or_else(|at| at);
        self.0.get(at..).unwrap_or_default().iter()
    }

    /// As [`RecordMap::iter_from`], with mutable pointers.
    pub fn iter_mut_from(&mut self, key: &R::Key) -> slice::IterMut<'_, P> {
        let at = self.search(key).unwrap_or_else(|at| at);
        self.0.get_mut(at..).unwrap_or_default().iter_mut()
    }
}

impl<R: Record, P: Deref<Target = R>> FromIterator<P> for RecordMap<P> {
    fn from_iter<I: IntoIterator<Item = P>>(records: I) -> RecordMap<P> {
        let mut map = RecordMap::default();
        for record in records {
            map.insert(record);
        }
        map
    }
}

impl<P> IntoIterator for RecordMap<P> {
    type Item = P;
    type IntoIter = vec::IntoIter<P>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The items in ascending order of their keys; items with equal keys stay in order. Each type with
/// a sort of its own costs 2 KB of code. This one sorts numbers, whatever the items are.
pub fn sorted_by_number<T: Clone>(items: &[T], key: impl Fn(&T) -> u64) -> Vec<T> {
    let keys = items.iter().enumerate().map(|(i, item)| (key(item), i));
    let mut order: Vec<(u64, usize)> = keys.collect();
    order.sort_unstable();
    let sorted = order.iter().filter_map(|(_, i)| items.get(*i));
    sorted.cloned().collect()
}
