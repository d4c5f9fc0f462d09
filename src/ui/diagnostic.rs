//! Sentences for stderr and for the `error` lines of `--json`.
use super::sanitize::sanitize;
use crate::base::event::notice::Notice;
use crate::base::text::bound_name::bound_name_warning;

/// Formats a sentence as a line for stderr: sanitized, after the prefix `p2pchat: `. The result has
/// no `\n`.
pub fn format_diagnostic(sentence: &str) -> String {
    format!("p2pchat: {}", sanitize(sentence))
}

/// Returns the sentence of a notice that is a warning or an error. `None`: the notice is neither.
pub fn notice_warning(notice: &Notice) -> Option<String> {
    match notice {
        Notice::KeyMismatch {
            peer,
            known_id,
            is_bound: true,
            ..
        } => Some(bound_name_warning(peer, known_id)),
        Notice::KeyMismatch {
            peer,
            known_id,
            first_seen,
            is_bound: false,
        } => {
            let since = first_seen.to_string();
            // The date is the text before the `T`.
            let day = since.split('T').next().unwrap_or(&since);
            Some(format!(
                "{peer} is not the {}~{} known since {day}: another key; to write to it: @{peer}",
                peer.nick,
                known_id.short()
            ))
        }
        Notice::DuplicateIdentity {
            address,
            reported_by,
        } => {
            let source = match (address, reported_by) {
                (Some(address), _) => format!(" (the other one at {address})"),
                (None, Some(peer)) => format!(" (reported by {peer})"),
                (None, None) => String::new(),
            };
            Some(format!(
                "WARNING: two programs use this identity{source}; give each its own with --dir or \
                 --ephemeral"
            ))
        }
        Notice::Error { content, .. } => Some(content.clone()),
        _ => None,
    }
}
