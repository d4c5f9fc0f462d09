//! The part of a frontend that shows replies to commands. Replies do not belong to the transcript.
use std::sync::Arc;

use crate::base::event::{Command, Notice};
use crate::shell::session::frontend::exit_policy::SessionMode;
use crate::shell::session::frontend::frontend::Frontend;
use crate::shell::session::frontend::pending::PendingRequest;
use crate::ui::command::{HELP, UserCommand};
use crate::ui::request::RequestKind;
use crate::ui::session_event::{Done, EventKind, SessionEvent, StoredLines};
use crate::ui::tables;

impl Frontend {
    /// Shows the answer to a request.
    pub(super) fn show_reply(&mut self, pending: PendingRequest, stored: Option<StoredLines>) {
        let reply = merge_peers(&pending.kind, pending.reply);
        for kind in &reply {
            if let EventKind::Notice(notice) = kind {
                self.record_peers(notice);
            }
        }
        if self.renderer.is_json() {
            return self.print_json_reply(reply, pending.user_id, stored);
        }
        let mut out = Vec::new();
        for kind in &reply {
            match kind {
                EventKind::Notice(notice)
                    if let Notice::Peers(views) = &**notice
                        && self.exit_policy.mode == SessionMode::Peers =>
                {
                    let table = match self.is_stdout_terminal {
                        true => tables::format_peer_table(views),
                        false => tables::format_peer_rows(views),
                    };
                    return self.print_lines(table.into_bytes());
                }
                kind => self.renderer.append_reply(kind, self.today, &mut out),
            }
        }
        let is_query = matches!(
            pending.kind,
            RequestKind::Command(UserCommand::History(_) | UserCommand::Search(_))
        );
        if out.is_empty() && is_query {
            out.extend_from_slice(b"nothing was found\n");
        }
        if !out.is_empty() {
            self.show_message(out);
        }
    }

    fn print_json_reply(
        &mut self,
        reply: Vec<EventKind>,
        id: Option<String>,
        stored: Option<StoredLines>,
    ) {
        let done = id.is_some().then(|| {
            EventKind::Done(Done {
                stored,
                ..Done::default()
            })
        });
        let mut out = Vec::new();
        for kind in reply.into_iter().chain(done) {
            let id = id.clone();
            let event = SessionEvent { id, kind };
            self.renderer.append_event(&event, self.today, &mut out);
        }
        if !out.is_empty() {
            self.print_lines(out);
        }
    }

    /// Shows the text of /help.
    pub(super) fn show_help(&mut self) {
        if self.renderer.is_json() {
            return self.warn(&HELP.replace('\n', "; "));
        }
        self.show_message(HELP.as_bytes().to_vec());
    }

    /// Shows text for a person: above the editor's line, or on stderr without an editor.
    fn show_message(&mut self, lines: Vec<u8>) {
        if self.renderer.has_editor() {
            return self.print_lines(lines);
        }
        for line in String::from_utf8_lossy(&lines).lines() {
            self.stderr.write_line(line);
        }
    }
}

/// Joins the peers of a reply into one list. A reply from another program has one event for each
/// peer.
fn merge_peers(kind: &RequestKind, reply: Vec<EventKind>) -> Vec<EventKind> {
    if !matches!(
        kind,
        RequestKind::Command(UserCommand::Core(Command::Peers))
    ) {
        return reply;
    }
    let mut all = Vec::new();
    for kind in reply {
        if let EventKind::Notice(notice) = kind
            && let Ok(Notice::Peers(views)) = Arc::try_unwrap(notice)
        {
            all.extend(views);
        }
    }
    vec![Notice::Peers(all).into()]
}
