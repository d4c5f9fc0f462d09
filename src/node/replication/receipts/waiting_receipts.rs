//! Receipts to forward over links that accept no bytes now. A receipt is cumulative, so only the
//! newest one of each log and holder waits: what a slow reader will get does not grow with time.
use crate::base::batch::batch::LogId;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::table::SortedMap;
use crate::wire::message::HaveEntry;

/// Maximum number of receipts that wait, for all links together. A further one replaces one that
/// came over the link with the most of them.
const WAITING_RECEIPTS_MAX: usize = 1024;
/// Maximum number of receipts of a message that are refused as their signatures are false. The
/// others of the message are then dropped: honest relays forward each receipt in a message of its
/// own.
const FALSE_RECEIPTS_MAX: u32 = 4;

/// A receipt's way and what it is about. A neighbour cannot replace what came over another link.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct WaitingKey {
    to: StreamId,
    from: StreamId,
    log: LogId,
    holder: PeerId,
}

/// The receipts that wait.
#[derive(Default)]
pub struct WaitingReceipts {
    receipts: SortedMap<WaitingKey, HaveEntry>,
    /// How often a receipt of the present message was refused, for all links together.
    false_count: u32,
}

impl WaitingReceipts {
    /// Begins a message, whose signatures are checked anew.
    pub fn begin_message(&mut self) {
        self.false_count = 0;
    }

    /// Adds a receipt of this holder that came over the link `from`, until the link `to` accepts
    /// bytes. Does nothing if it waits already, or if `is_signed` says that its signature is false.
    pub fn add(
        &mut self,
        to: StreamId,
        from: StreamId,
        log: &LogId,
        holder: PeerId,
        receipt: &HaveEntry,
        is_signed: impl FnOnce() -> bool,
    ) {
        let log = log.clone();
        let key = WaitingKey {
            to,
            from,
            log,
            holder,
        };
        if self.false_count >= FALSE_RECEIPTS_MAX || self.receipts.get(&key) == Some(receipt) {
            return;
        }
        if !is_signed() {
            self.false_count += 1;
            return;
        }
        if self.receipts.len() >= WAITING_RECEIPTS_MAX && !self.receipts.contains_key(&key) {
            self.drop_one();
        }
        self.receipts.insert(key, receipt.clone());
    }

    /// Drops a receipt that came over the link with the most of them.
    fn drop_one(&mut self) {
        let mut counts: SortedMap<StreamId, usize> = SortedMap::new();
        for key in self.receipts.keys() {
            *counts.get_or_default(key.from) += 1;
        }
        let most = counts.iter().max_by_key(|(_, count)| **count);
        let most = most.map(|(from, _)| *from);
        let dropped = self
            .receipts
            .keys()
            .find(|key| Some(key.from) == most)
            .cloned();
        if let Some(key) = dropped {
            self.receipts.remove(&key);
        }
    }

    /// The links for which receipts wait.
    pub fn links(&self) -> Vec<StreamId> {
        let mut links: Vec<StreamId> = self.receipts.keys().map(|key| key.to).collect();
        links.dedup();
        links
    }

    /// Takes the receipts for this link, each with its log.
    pub fn take(&mut self, to: StreamId) -> Vec<(LogId, HaveEntry)> {
        let mut taken = Vec::new();
        self.receipts.retain(|key, receipt| {
            let is_taken = key.to == to;
            if is_taken {
                taken.push((key.log.clone(), receipt.clone()));
            }
            !is_taken
        });
        taken
    }
}
