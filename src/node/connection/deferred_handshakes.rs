//! The deferred handshakes among the unfinished ones: each waits for what a ping shows about the
//! linked run of its peer.
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::time::Time;
use crate::node::connection::handshake_limits::PendingHandshakes;
use crate::node::connection::pending_handshake::HandshakeStage;
use crate::wire::frame::Frame;
use crate::wire::message::Hello;

/// The deferred handshake of another run of this peer: its stream, its hello as it would be sent
/// now, and the frames received after the hello, which are taken out.
pub(super) fn take_next(
    pending: &mut PendingHandshakes,
    peer: PeerId,
    now: Time,
) -> Option<(StreamId, Hello, Vec<Frame>)> {
    let mut pending = pending.iter_mut();
    pending.find_map(|(stream, pending)| match &mut pending.stage {
        HandshakeStage::Deferred(deferred) if deferred.hello.sender == peer => {
            let hello = deferred.current_hello(now);
            Some((*stream, hello, std::mem::take(&mut deferred.frames)))
        }
        _ => None,
    })
}

/// Records that the linked run of this peer answered the latest ping.
pub(super) fn handle_pong(pending: &mut PendingHandshakes, peer: &PeerId) {
    for pending in pending.values_mut() {
        if let HandshakeStage::Deferred(deferred) = &mut pending.stage {
            deferred.handle_pong(peer);
        }
    }
}
