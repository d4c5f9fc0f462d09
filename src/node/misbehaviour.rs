//! Counts what keys were proved to have done wrong. Such keys are chosen last as carriers and as
//! sources of others' lines.
use crate::base::identity::PeerId;
use crate::base::table::SortedMap;
use crate::base::trust::level::HAS_TRUST;
use crate::base::trust::misbehaviour::Misbehaviour;

/// Maximum number of keys whose misbehaviour is counted. A further one takes the place of the one
/// with the fewest counts.
const MISBEHAVING_MAX: usize = 256;

/// What keys have done wrong in this run.
#[derive(Default)]
pub struct MisbehaviourTable(SortedMap<PeerId, Misbehaviour>);

impl MisbehaviourTable {
    /// Counts something of this key.
    pub fn count(&mut self, peer: PeerId, counter: impl FnOnce(&mut Misbehaviour) -> &mut u64) {
        if !HAS_TRUST {
            return;
        }
        if self.0.len() >= MISBEHAVING_MAX && !self.0.contains_key(&peer) {
            let fewest = self.0.iter().min_by_key(|(_, counts)| counts.total());
            if let Some(peer) = fewest.map(|(peer, _)| *peer) {
                self.0.remove(&peer);
            }
        }
        let counter = counter(self.0.get_or_default(peer));
        *counter = counter.saturating_add(1);
    }

    /// What this key has done wrong.
    pub fn of(&self, peer: &PeerId) -> Misbehaviour {
        self.0.get(peer).copied().unwrap_or_default()
    }
}
