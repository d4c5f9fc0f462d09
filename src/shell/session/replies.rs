//! The part of a session that shows replies to commands. Replies do not belong to the transcript.
use crate::base::event::{Notice, count_present};
use crate::shell::session::exit_policy::SessionMode;
use crate::shell::session::reply_format::ReplyFormat;
use crate::shell::session::session::Session;
use crate::ui::{json, tables};

impl Session {
    /// Shows the reply to /users, /rooms or /stats, or the list of the command `peers`.
    pub(super) fn show_reply_notice(&mut self, notice: &Notice) {
        let mut out = Vec::new();
        match notice {
            Notice::Peers(views) => {
                match self.reply_format() {
                    ReplyFormat::Json => json::append_notice(notice, &mut out),
                    ReplyFormat::Rows => {
                        out.extend_from_slice(tables::format_peer_rows(views).as_bytes());
                    }
                    ReplyFormat::Table => self.renderer.append_reply(notice, &mut out),
                }
                self.show_peers(count_present(views), out);
            }
            _ => {
                self.renderer.append_reply(notice, &mut out);
                self.show_reply(out);
            }
        }
    }

    /// The format in which this session shows tables.
    pub fn reply_format(&self) -> ReplyFormat {
        match self.exit_policy.mode {
            _ if self.renderer.is_json() => ReplyFormat::Json,
            SessionMode::Peers => ReplyFormat::Rows,
            _ => ReplyFormat::Table,
        }
    }

    /// Shows a rendered list of peers. `present_count`: how many of these peers are linked or
    /// reachable.
    pub fn show_peers(&mut self, present_count: u64, list: Vec<u8>) {
        if self.exit_policy.mode != SessionMode::Peers {
            return self.show_reply(list);
        }
        if present_count > 0 {
            self.exit_policy.record_linked_peer();
        }
        self.print_lines(list);
    }

    /// Shows a reply that this program or a server has rendered.
    pub fn show_reply(&mut self, lines: Vec<u8>) {
        if self.renderer.is_json() {
            self.print_lines(lines)
        } else {
            self.show_message(lines)
        }
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
