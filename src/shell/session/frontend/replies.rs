//! The part of a frontend that shows replies to commands. Replies do not belong to the transcript.
use crate::base::error_code::ErrorCode;
use crate::base::event::command::Command;
use crate::base::event::notice::Notice;
use crate::base::event::peer::PeerInfo;
use crate::base::guests::guest::GuestInfo;
use crate::base::guests::lsnp::LsnpRequest;
use crate::base::presence::profile::HAS_PROFILE;
use crate::base::trust::level::HAS_TRUST;
use crate::shell::os::time_zone::local_time_zone;
use crate::shell::session::frontend::exit_policy::SessionMode;
use crate::shell::session::frontend::frontend::Frontend;
use crate::shell::session::frontend::pending::PendingRequest;
use crate::shell::session::frontend::picture::save_picture;
use crate::shell::stdio::terminal;
use crate::ui::command::{HELP, UserCommand};
use crate::ui::request::RequestKind;
use crate::ui::session_event::{Done, EventKind, SessionEvent, StoredLines};
use crate::ui::tables::{self, TableView};
use crate::ui::trust_command::{TrustCommand, TrustEntry};

impl Frontend {
    /// Shows the answer to a request.
    pub(super) fn show_reply(&mut self, pending: Box<PendingRequest>, stored: Option<StoredLines>) {
        let reply = pending.reply;
        for kind in &reply {
            if let EventKind::Notice(notice) = kind {
                self.record_peers(notice);
            }
        }
        if lists_peers(&pending.kind)
            && self.exit_policy.mode == SessionMode::Peers
            && self.awaits_expected(&reply)
        {
            self.has_listed_peers = false;
            return;
        }
        if HAS_PROFILE
            && let RequestKind::Command(UserCommand::Avatar { file, .. }) = &pending.kind
            && let Some(file) = file
        {
            let (peers, guests) = listed(&reply);
            let of_peers = peers.iter().filter_map(|info| info.profile.as_deref());
            let profiles = of_peers.chain(guests.iter().map(|guest| &guest.profile));
            match save_picture(file, profiles.collect()) {
                Ok(sentence) => self.warn(&sentence),
                Err(sentence) => {
                    let (code, lines) = (ErrorCode::Failed, &pending.line_numbers);
                    return self.show_line_error(code, &sentence, lines, pending.user_id);
                }
            }
        }
        if self.renderer.is_json() {
            return self.print_json_reply(reply, pending.user_id, stored);
        }
        let mut out = Vec::new();
        if lists_peers(&pending.kind) {
            let (peers, guests) = listed(&reply);
            let table = match (self.exit_policy.mode, self.is_stdout_terminal) {
                (SessionMode::Peers, true) => {
                    let view = TableView {
                        columns: terminal::width_columns(),
                        zone: local_time_zone(),
                        now: self.today,
                    };
                    tables::format_peer_table(&peers, &guests, &view)
                }
                (SessionMode::Peers, false) => tables::format_peer_rows(&peers, &guests),
                _ => tables::format_users(&peers, &guests),
            };
            if self.exit_policy.mode == SessionMode::Peers {
                return self.print_lines(table.into_bytes());
            }
            return self.show_message(table.into_bytes());
        }
        if HAS_TRUST
            && let RequestKind::Command(
                UserCommand::Trust(TrustCommand::Whois { .. }) | UserCommand::Avatar { .. },
            ) = pending.kind
        {
            let entries: Vec<TrustEntry> = reply.iter().filter_map(trust_entry).collect();
            let (peers, guests) = listed(&reply);
            let whois = tables::format_whois(&entries, &peers, &guests);
            return self.show_message(whois.into_bytes());
        }
        for kind in &reply {
            self.renderer.append_reply(kind, self.today, &mut out);
        }
        let is_query = matches!(
            pending.kind,
            RequestKind::Command(UserCommand::History { .. } | UserCommand::Search(_))
        );
        if let RequestKind::Command(UserCommand::History { before, .. }) = pending.kind {
            self.history_pages.record_reply(&reply);
            if out.is_empty() && before.is_some() {
                out.extend_from_slice(b"there are no lines before these\n");
            }
        }
        if out.is_empty() && is_query {
            out.extend_from_slice(b"nothing was found\n");
        }
        if !out.is_empty() {
            self.show_message(out);
        }
    }

    pub(super) fn print_json_reply(
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
            let event = SessionEvent::new(id, kind);
            self.renderer.append_event(&event, self.today, &mut out);
        }
        if !out.is_empty() {
            self.print_lines(out);
        }
    }

    /// Whether to wait longer for expected peers that are not here. Names them if it is too late.
    fn awaits_expected(&mut self, reply: &[EventKind]) -> bool {
        let Some(expected) = &self.expected_peers else {
            return false;
        };
        let (peers, guests) = listed(reply);
        let missing = expected.missing(&peers, &guests).into_iter();
        let missing: Vec<String> = missing.map(|name| format!("missing: {name}")).collect();
        let has_all = missing.is_empty();
        let is_waiting = self.exit_policy.record_expected(self.now, has_all);
        for sentence in missing.iter().filter(|_| !is_waiting) {
            self.warn(sentence);
        }
        is_waiting
    }

    /// Shows the text of /help.
    pub(super) fn show_help(&mut self, user_id: Option<String>) {
        if self.renderer.is_json() {
            let help = EventKind::Help(HELP.to_owned());
            return self.print_json_reply(vec![help], user_id, None);
        }
        self.show_message(HELP.as_bytes().to_vec());
    }

    /// Shows text for a person: above the editor's line, or on stderr without an editor.
    pub(super) fn show_message(&mut self, lines: Vec<u8>) {
        if self.renderer.has_editor() {
            return self.print_lines(lines);
        }
        for line in String::from_utf8_lossy(&lines).lines() {
            self.stderr.write_line(line);
        }
    }
}

/// Whether the answer to this request is a list of peers and guests.
fn lists_peers(kind: &RequestKind) -> bool {
    matches!(
        kind,
        RequestKind::Command(UserCommand::Core(
            Command::Peers | Command::Lsnp(LsnpRequest::List)
        ))
    )
}

fn trust_entry(kind: &EventKind) -> Option<TrustEntry> {
    match kind {
        EventKind::Trust(entry) => Some(entry.clone()),
        _ => None,
    }
}

/// The peers and the guests in a reply. A reply from another program has one event for each.
fn listed(reply: &[EventKind]) -> (Vec<PeerInfo>, Vec<GuestInfo>) {
    let (mut peers, mut guests) = (Vec::new(), Vec::new());
    for kind in reply {
        if let EventKind::Notice(notice) = kind {
            match &**notice {
                Notice::Peers(views) => peers.extend_from_slice(views),
                Notice::Guests(views) => guests.extend_from_slice(views),
                _ => {}
            }
        }
    }
    (peers, guests)
}
