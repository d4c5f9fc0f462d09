//! Binds the name of a peer to its key, after an invite has proven both.
use std::path::Path;

use crate::base::event::output::KnownPeer;
use crate::base::event::peer::Peer;
use crate::base::name::Nick;
use crate::base::time::WallTime;
use crate::base::trust::level::TrustLevel;
use crate::shell::ipc::attach::request_known_peers;
use crate::shell::state::known_peers_file::{append_known_peer, read_known_peers};

/// Binds the peer in `known_peers`, also for a program that runs in the directory. Returns the
/// warning to print if the peer is not bound. Without a directory nothing is bound.
pub fn bind(directory: Option<&Path>, peer: &Peer, now: WallTime) -> Option<String> {
    let directory = directory?;
    if Nick::new(peer.nick.as_str()).is_err() {
        return Some(format!("{peer} is not bound: its name is no valid one"));
    }
    let known = match read_known_peers(directory, &mut Vec::new()) {
        Ok(known) => known,
        Err(failure) => return Some(format!("{peer} is not bound: {failure}")),
    };
    let mut of_name = known.iter().filter(|known| known.nick == peer.nick);
    if of_name.any(|known| known.is_bound() && known.id != peer.id) {
        return Some(format!(
            "{peer} is not bound: known_peers binds {} to another key",
            peer.nick
        ));
    }
    let entry = KnownPeer {
        nick: peer.nick.clone(),
        id: peer.id,
        first_seen: now,
        trust: TrustLevel::Bound,
    };
    match append_known_peer(directory, &entry) {
        Ok(true) => {
            request_known_peers(directory);
            None
        }
        Ok(false) => Some(format!("{peer} is not bound: known_peers is full")),
        Err(error) => Some(format!("{peer} is not bound: known_peers: {error}")),
    }
}
