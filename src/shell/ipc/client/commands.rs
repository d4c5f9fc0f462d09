//! Turns the session's commands into requests to the server.
use crate::base::error_code::ErrorCode;
use crate::base::event::{Command, Notice};
use crate::base::lines::Lines;
use crate::base::name::{Room, Target};
use crate::base::time::Now;
use crate::shell::ipc::client::client::{Client, RESPONSE_TIMEOUT_MS};
use crate::shell::ipc::message::request::{Request, RequiredPeers};
use crate::shell::ipc::outbox::UnresolvedSend;
use crate::shell::session::session::Session;

impl Client {
    /// Executes a command. Appends a request for the server to `out`, or answers the command
    /// without the server.
    pub(super) fn handle_command(
        &mut self,
        session: &mut Session,
        out: &mut Vec<u8>,
        command: Command,
        now: Now,
    ) {
        match command {
            Command::SendToRoom {
                room,
                lines,
                action,
            } => self.send_to_room(session, out, room, lines, action),
            Command::Join(room) => self.join(session, out, room, now),
            Command::Part(room) => self.part(session, out, room, now),
            Command::Nick(nick) => Request::SetNick(nick).encode(out),
            Command::Peers => {
                Request::ListPeers(session.reply_format()).encode(out);
                self.is_peers_pending = true;
                self.last_request_at = now.time;
            }
            Command::Stats => Request::GetStats(session.reply_format()).encode(out),
            Command::Rooms => session.handle_notice(Notice::Rooms(self.rooms.clone()), &self.store),
            Command::Finish { required_peers } => {
                Request::Finish(RequiredPeers::from_count(required_peers)).encode(out);
                self.is_finish_pending = true;
            }
            Command::SendToPeer {
                selector,
                lines,
                action,
                timeout_ms,
            } => {
                let unresolved = UnresolvedSend {
                    selector,
                    lines,
                    action,
                    timeout_ms,
                    deadline: now.time + timeout_ms + RESPONSE_TIMEOUT_MS,
                };
                self.outbox.resolve_and_send(out, unresolved);
            }
            Command::MarkRead { log, sequence } => Request::MarkRead { log, sequence }.encode(out),
            Command::Resolve { .. } | Command::AwaitDelivery { .. } | Command::Leave => {}
        }
    }

    /// The room that a command concerns. If the command names no room, this is the current room. If
    /// this run is not in that room, reports an error and returns `None`.
    fn find_room(&self, session: &mut Session, named: Option<Room>, verb: Verb) -> Option<Room> {
        let content = match named.or_else(|| self.rooms.first().cloned()) {
            Some(room) if self.rooms.contains(&room) => return Some(room),
            Some(room) if verb == Verb::Send => format!("not in {room}: /join {room} first"),
            Some(room) => format!("not in {room}"),
            None if verb == Verb::Send => "in no room: /join one first".to_owned(),
            None => "in no room".to_owned(),
        };
        let code = ErrorCode::Room;
        session.handle_notice(Notice::Error { code, content }, &self.store);
        None
    }

    fn send_to_room(
        &mut self,
        session: &mut Session,
        out: &mut Vec<u8>,
        room: Option<Room>,
        lines: Lines,
        action: bool,
    ) {
        if let Some(room) = self.find_room(session, room, Verb::Send) {
            let target = Target::Room(room);
            self.outbox.send(out, &self.store, target, lines, action);
        }
    }

    fn join(&mut self, session: &mut Session, out: &mut Vec<u8>, room: Room, now: Now) {
        if !self.rooms.contains(&room) {
            Request::Join(room.clone()).encode(out);
            self.pending_opens += 1;
            self.last_request_at = now.time;
        }
        self.rooms.retain(|other| *other != room);
        self.rooms.insert(0, room);
        session.set_current_room(self.rooms.first());
    }

    fn part(&mut self, session: &mut Session, out: &mut Vec<u8>, room: Option<Room>, now: Now) {
        if let Some(room) = self.find_room(session, room, Verb::Part) {
            // The folder stays open until the response comes, so that lines before the response are
            // printed.
            self.leave_room(session, &room);
            Request::Part(room).encode(out);
            self.pending_opens += 1;
            self.last_request_at = now.time;
        }
    }

    pub(super) fn leave_room(&mut self, session: &mut Session, room: &Room) {
        self.rooms.retain(|other| other != room);
        session.set_current_room(self.rooms.first());
    }
}

/// What a command does in a room.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Send,
    Part,
}
