//! What is shown because it was asked for, and belongs to no transcript.
use crate::base::event::{Notice, present};
use crate::shell::ipc::message::Form;
use crate::shell::session::exit_policy::Purpose;
use crate::shell::session::session::Session;
use crate::ui::{json, text};

impl Session {
    /// The tables that answer commands, and the rows of `peers`.
    pub(super) fn answer(&mut self, notice: &Notice) {
        let mut out = Vec::new();
        match notice {
            Notice::Peers(views) => {
                match self.form() {
                    Form::Json => json::append(notice, &mut out),
                    Form::Rows => out.extend_from_slice(text::peer_rows(views).as_bytes()),
                    Form::Table => self.face.answer(notice, &mut out),
                }
                self.peers(present(views), out);
            }
            _ => {
                self.face.answer(notice, &mut out);
                self.table(out);
            }
        }
    }

    /// How peers are to be listed here.
    pub fn form(&self) -> Form {
        match self.goal.purpose {
            _ if self.face.is_json() => Form::Json,
            Purpose::Peers => Form::Rows,
            _ => Form::Table,
        }
    }

    /// Peers, listed; so many of them are there.
    pub fn peers(&mut self, count: u64, list: Vec<u8>) {
        if self.goal.purpose != Purpose::Peers {
            return self.table(list);
        }
        if count > 0 {
            self.goal.met();
        }
        self.show(list);
    }

    /// An answer, made here or elsewhere.
    pub fn table(&mut self, lines: Vec<u8>) {
        if self.face.is_json() {
            self.show(lines)
        } else {
            self.aside(lines)
        }
    }

    /// Lines that belong to no transcript: beside the editor on the screen, else on stderr.
    pub(super) fn aside(&mut self, lines: Vec<u8>) {
        if self.face.has_editor() {
            return self.show(lines);
        }
        for line in String::from_utf8_lossy(&lines).lines() {
            self.diagnostics.say(line);
        }
    }
}
