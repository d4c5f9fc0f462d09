//! Writes JSON lines, field by field.
use std::fmt::Display;
use std::io::Write as _;

use super::session_event::FolderCursor;
use crate::base::batch::batch::LogId;
use crate::base::batch::batch_content::write_json_string;
use crate::base::event::peer::Peer;
use crate::base::guests::guest::guest_name;
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room};

/// Writes one JSON object, one field at a time. Begins with the field `type`.
pub(in crate::ui) struct JsonLine<'a>(&'a mut Vec<u8>);

impl JsonLine<'_> {
    pub(in crate::ui) fn new<'a>(kind: &str, out: &'a mut Vec<u8>) -> JsonLine<'a> {
        out.extend_from_slice(b"{\"type\":");
        write_json_string(out, kind);
        JsonLine(out)
    }

    /// Continues an object that has begun.
    pub(in crate::ui) fn resume(out: &mut Vec<u8>) -> JsonLine<'_> {
        JsonLine(out)
    }

    pub(in crate::ui) fn string(&mut self, name: &str, value: &str) {
        let _ = write!(self.0, ",\"{name}\":");
        write_json_string(self.0, value);
    }

    /// Writes the field `name`. `value` must be valid JSON, so a string value must include its
    /// quotes.
    pub(in crate::ui) fn raw(&mut self, name: &str, value: impl Display) {
        let _ = write!(self.0, ",\"{name}\":{value}");
    }

    pub(in crate::ui) fn id(&mut self, id: &PeerId) {
        self.raw("sender", format_args!("\"{id}\""));
    }

    pub(in crate::ui) fn peer(&mut self, peer: &Peer) {
        self.id(&peer.id);
        self.name(peer);
    }

    pub(in crate::ui) fn name(&mut self, peer: &Peer) {
        self.string("username", peer.nick.as_str());
        self.string("name", &peer.to_string());
    }

    pub(in crate::ui) fn guest_name(&mut self, nick: &Nick) {
        self.string("username", nick.as_str());
        self.string("name", &guest_name(nick));
    }

    pub(in crate::ui) fn log(&mut self, log: &LogId) {
        self.string("target", &log.target.to_string());
        self.raw("incarnation", format_args!("\"{:016x}\"", log.incarnation));
    }

    pub(in crate::ui) fn cursor(&mut self, name: &str, cursor: &FolderCursor) {
        self.raw(name, format_args!("\"{cursor}\""));
    }

    pub(in crate::ui) fn rooms(&mut self, rooms: &[Room]) {
        self.strings("rooms", rooms.iter().map(Room::as_str));
    }

    pub(in crate::ui) fn strings(
        &mut self,
        name: &str,
        values: impl Iterator<Item = impl AsRef<str>>,
    ) {
        let _ = write!(self.0, ",\"{name}\":[");
        for (i, value) in values.enumerate() {
            if i > 0 {
                self.0.push(b',');
            }
            write_json_string(self.0, value.as_ref());
        }
        self.0.push(b']');
    }

    pub(in crate::ui) fn finish(self) {
        self.0.extend_from_slice(b"}\n");
    }
}
