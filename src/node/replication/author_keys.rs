//! Caches the decoded verifying keys of authors without a link. The key of a linked peer is kept
//! in its [`Link`](crate::node::link::Link).
use ed25519_dalek::VerifyingKey;

use crate::base::batch::batch::Batch;
use crate::base::identity::PeerId;
use crate::base::table::SortedMap;

/// Verifying keys of authors. The first byte of an author's id is its place in the cache, so there
/// are at most 256 keys. A new author replaces the one in its place.
#[derive(Default)]
pub struct AuthorKeys(SortedMap<u8, (PeerId, VerifyingKey)>);

impl AuthorKeys {
    /// Whether the batch's author signed it. `false` if the author's id is not a valid key, or is a
    /// weak key.
    pub fn verify(&mut self, batch: &Batch) -> bool {
        self.get(&batch.log.author)
            .is_some_and(|key| batch.verify(&key))
    }

    fn get(&mut self, author: &PeerId) -> Option<VerifyingKey> {
        let place = author.0[0];
        if let Some((cached, key)) = self.0.get(&place)
            && cached == author
        {
            return Some(*key);
        }
        let key = author.verifying_key()?;
        self.0.insert(place, (*author, key));
        Some(key)
    }
}
