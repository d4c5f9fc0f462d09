//! The sentences of stderr.
use super::sanitize::sanitize;
use crate::base::event::Notice;

/// A sentence as it stands on stderr, without its end of line.
pub fn format_diagnostic(sentence: &str) -> String {
    format!("p2pchat: {}", sanitize(sentence))
}

/// What of a notice belongs on stderr: one sentence, without `p2pchat:` before it, as people and the `error` lines of --json say it.
pub fn notice_warning(notice: &Notice) -> Option<String> {
    match notice {
        Notice::KeyMismatch {
            peer,
            known_id: known,
            first_seen: since,
        } => {
            let since = since.to_string();
            // The day, up to the `T`: of a known key no one asks for the millisecond.
            let day = since.split('T').next().unwrap_or(&since);
            Some(format!(
                "{peer} is not the {}~{} known since {day}: another key",
                peer.nick,
                known.short()
            ))
        }
        Notice::DuplicateIdentity {
            address,
            reported_by: by,
        } => {
            let place = match (address, by) {
                (Some(address), _) => format!(" (the other one at {address})"),
                (None, Some(peer)) => format!(" (so says {peer})"),
                (None, None) => String::new(),
            };
            Some(format!(
                "WARNING: two programs use this identity{place}; give each its own with --dir or --ephemeral"
            ))
        }
        Notice::Error { content, .. } => Some(content.clone()),
        _ => None,
    }
}

/// A notice's line for stderr, cleaned, without its end of line.
pub fn notice_diagnostic(notice: &Notice) -> Option<String> {
    notice_warning(notice).map(|sentence| format_diagnostic(&sentence))
}
