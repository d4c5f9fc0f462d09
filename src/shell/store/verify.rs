//! Verifies stored batches with as few signature checks as possible.
use ed25519_dalek::VerifyingKey;

use crate::base::batch::{Batch, LogId};
use crate::base::identity::PeerId;
use crate::base::table::SortedMap;

/// Decoded public keys by author. Decoding a key takes a tenth of the time of a verification.
#[derive(Default)]
pub struct VerifyingKeyCache(SortedMap<PeerId, Option<VerifyingKey>>);

impl VerifyingKeyCache {
    /// Whether the batch has a valid signature of its author.
    pub fn verify(&mut self, batch: &Batch) -> bool {
        let author = batch.log.author;
        let key = self.0.get_or_insert_with(author, || author.verifying_key());
        key.as_ref().is_some_and(|key| batch.verify(key))
    }
}

/// Verifies one signature for each unbroken hash chain. The signature of the last batch covers the
/// whole chain, because each batch names the hash of the batch before it.
#[derive(Default)]
pub struct ChainVerifier {
    /// The last added batch of each log. Its signature is not verified yet.
    chain_ends: SortedMap<LogId, Batch>,
}

impl ChainVerifier {
    /// Adds the next batch of a log. If the batch does not continue the log's chain, it begins a
    /// new chain. The last signature of the old chain is then verified. Returns false if that
    /// signature is invalid.
    pub fn add(&mut self, batch: Batch, keys: &mut VerifyingKeyCache) -> bool {
        let (sequence, previous) = (batch.sequence, batch.previous);
        match self.chain_ends.insert(batch.log.clone(), batch) {
            Some(end) if end.last_sequence() + 1 != sequence || previous != Some(end.hash) => {
                keys.verify(&end)
            }
            _ => true,
        }
    }

    /// Whether the signatures at the ends of all chains are valid.
    pub fn verify_ends(&self, keys: &mut VerifyingKeyCache) -> bool {
        self.chain_ends.values().all(|end| keys.verify(end))
    }
}
