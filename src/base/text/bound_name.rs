//! The warning about a peer that uses a name bound to another key.
use crate::base::event::peer::Peer;
use crate::base::identity::PeerId;

/// Warns that `peer` uses a name that the user has bound to the key `bound`. Says how to write to
/// `peer` nevertheless.
pub fn bound_name_warning(peer: &Peer, bound: &PeerId) -> String {
    format!(
        "WARNING: {peer} IS NOT the {}~{} that you know: another key uses this name; to write to \
         it: @{peer}",
        peer.nick,
        bound.short()
    )
}
