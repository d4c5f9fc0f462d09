//! Caches the decompressed verifying keys of authors without a link; a linked peer's key is kept
//! with its link.
use ed25519_dalek::VerifyingKey;

use crate::base::batch::Batch;
use crate::base::identity::PeerId;
use crate::base::table::SortedMap;

/// Most keys in the cache; at this bound it is emptied.
const CACHED_KEYS_MAX: usize = 256;

/// Verifying keys by author.
#[derive(Default)]
pub struct AuthorKeys(SortedMap<PeerId, VerifyingKey>);

impl AuthorKeys {
    /// Whether the batch's author signed it. `false` also for an id that is no key, or a weak
    /// one.
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
