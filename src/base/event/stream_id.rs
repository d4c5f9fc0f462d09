//! The handle of a stream.

/// The number of a TCP stream. No number is used twice in a run. The shell gives even numbers to
/// accepted streams. The core gives odd numbers to dialed streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u64);

impl StreamId {
    /// The id of the `n`th accepted stream.
    pub fn accepted(n: u64) -> StreamId {
        StreamId(n * 2)
    }

    /// The id of the `n`th dialed stream.
    pub fn dialed(n: u64) -> StreamId {
        StreamId(n * 2 + 1)
    }

    /// Did this program dial the stream?
    pub fn is_dialed(self) -> bool {
        self.0 % 2 == 1
    }
}
