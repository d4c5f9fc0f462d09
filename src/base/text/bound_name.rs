//! The warning about a peer that uses a name bound to another key.
use crate::base::event::peer::Peer;
use crate::base::identity::PeerId;
use crate::base::trust::level::HAS_TRUST;

/// Warns that `peer` uses a name that the user has bound to the key `bound`. Says how to write to
/// `peer` nevertheless, by its whole id, and how to accept its key.
pub fn bound_name_warning(peer: &Peer, bound: &PeerId) -> String {
    format!(
        "WARNING: {peer} IS NOT the {}~{} that you know: another key uses this name; to write to \
         it: @{}; if the key has changed: {}",
        peer.nick,
        bound.short(),
        peer.id,
        match HAS_TRUST {
            true => format!(
                "p2pchat trust add {} {}",
                quote_for_shell(peer.nick.as_str()),
                peer.id
            ),
            false => "take the old one out of the file known_peers".to_owned(),
        }
    )
}

/// Quotes a word that a user may copy to a shell. A name may contain `$`, `;` and quotes.
pub fn quote_for_shell(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    match word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
