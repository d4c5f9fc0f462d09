//! Tells apart the protocols of accepted streams. All of them begin on one port.

/// The protocol of a stream whose dialer spoke first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamProtocol {
    /// Ours. A stream of an unknown protocol counts as ours, and fails there.
    P2pchat,
    /// p2pchat in Go: lines of JSON.
    GoP2pchat,
    /// HTTP, which may be upgraded to WebSocket.
    Http,
}

impl StreamProtocol {
    /// The protocol of a stream that begins with these bytes.
    pub fn detect(first_bytes: &[u8]) -> StreamProtocol {
        match first_bytes.first() {
            Some(b'{') => StreamProtocol::GoP2pchat,
            Some(b'G') => StreamProtocol::Http,
            _ => StreamProtocol::P2pchat,
        }
    }
}
