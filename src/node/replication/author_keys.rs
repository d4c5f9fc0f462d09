//! Caches the decoded verifying keys of authors without a link. The key of a linked peer is kept
//! in its [`Link`](crate::node::link::Link).
use ed25519_dalek::VerifyingKey;

use crate::base::batch::Batch;
use crate::base::identity::PeerId;
use crate::base::table::SortedMap;

/// Maximum number of keys in the cache. A full cache is emptied before the next key is added.
const CACHED_KEYS_MAX: usize = 256;

/// Verifying keys by author.
#[derive(Default)]
pub struct AuthorKeys(SortedMap<PeerId, VerifyingKey>);

impl AuthorKeys {
    /// Whether the batch's author signed it. `false` if the author's id is not a valid key, or is a
    /// weak key.
    pub fn verify(&mut self, batch: &Batch) -> bool {
        self.get(&batch.log.author)
            .is_some_and(|key| batch.verify(&key))
    }

    fn get(&mut self, author: &PeerId) -> Option<VerifyingKey> {
        if let Some(key) = self.0.get(author) {
            return Some(*key);
        }
        let key = author.verifying_key()?;
        if self.0.len() >= CACHED_KEYS_MAX {
            self.0.clear();
        }
        self.0.insert(*author, key);
        Some(key)
    }
}
