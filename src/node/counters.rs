//! Counts of what a node met, for `/stats`.
/// Counts of events that are not reported one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCounters {
    /// Datagrams that are no beacon of this network, come from another subnet, or are replayed.
    pub foreign_datagrams: u64,
    /// Beacons of p2pchat in Go, which are foreign datagrams as well.
    pub go_beacons: u64,
    /// Messages of LSNP that are malformed, come from another subnet or twice, or whose sender
    /// found no place among the guests.
    pub guest_messages_ignored: u64,
    /// Beacons of new peers that were ignored, because too many peers were discovered already.
    pub beacons_over_bound: u64,
    /// Handshakes that failed for any reason.
    pub failed_handshakes: u64,
    /// Streams whose dialer speaks another version of the protocol.
    pub other_versions: u64,
    /// Batches received, of any kind.
    pub batches_received: u64,
    /// Batches received that are stored already.
    pub duplicate_batches: u64,
    /// Batches received that were not requested, or whose room is not shared with the sender.
    pub unwanted_batches: u64,
    /// Batches of a new log that arrived when the author or the room already had the maximum number
    /// of logs. Either the new log was ignored, or another log was removed to make place for it.
    pub logs_over_bound: u64,
    /// Missing lines that arrived later and closed a gap.
    pub healed_lines: u64,
    /// Links closed because the peer broke the protocol.
    pub broken_links: u64,
    /// Links closed because the peer requested more than it read, or entered rooms again and again.
    pub overflowed_links: u64,
}

impl NodeCounters {
    /// The counters with their names, for `/stats`.
    pub fn named_values(&self) -> [(&'static str, u64); 13] {
        [
            ("batches_received", self.batches_received),
            ("duplicate_batches", self.duplicate_batches),
            ("unwanted_batches", self.unwanted_batches),
            ("logs_over_bound", self.logs_over_bound),
            ("healed_lines", self.healed_lines),
            ("foreign_datagrams", self.foreign_datagrams),
            ("go_beacons", self.go_beacons),
            ("guest_messages_ignored", self.guest_messages_ignored),
            ("beacons_over_bound", self.beacons_over_bound),
            ("failed_handshakes", self.failed_handshakes),
            ("other_versions", self.other_versions),
            ("broken_links", self.broken_links),
            ("overflowed_links", self.overflowed_links),
        ]
    }
}
