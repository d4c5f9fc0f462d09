//! The part of a session that executes requests.
use std::io;

use crate::base::batch::batch::LogId;
use crate::base::error_code::{ErrorCode, Refusal};
use crate::base::event::command::Command;
use crate::base::event::notice::{Notice, ResolvedRecipient};
use crate::base::event::peer::{Peer, PeerInfo};
use crate::base::lines::Lines;
use crate::base::name::{FolderName, Room, Target};
use crate::base::request_id::RequestId;
use crate::base::text::line_form::LineForm;
use crate::shell::session::event_sink::EventSink;
use crate::shell::session::history_query::HistoryQuery;
use crate::shell::session::resend::find_stored;
use crate::shell::session::session::{
    Pending, Session, SessionAction, Surroundings, Unconfirmed, emit, own_folder,
};
use crate::shell::store::reader::PrintedBacklog;
use crate::shell::store::scan::FolderSpan;
use crate::shell::store::store::Store;
use crate::ui::command::{DEFAULT_HISTORY_LINES, HELP, UserCommand};
use crate::ui::request::{Request, RequestKind};
use crate::ui::session_event::{Done, EventKind, FolderCursor, StoredLines};
use crate::ui::trust_command::{TrustCommand, TrustEntry};
use crate::wire::code::{Endpoint, parse_peer};

/// Maximum number of lines in the answer to /history.
const HISTORY_LINES_MAX: u64 = 1000;
/// Maximum number of lines in the answer to /search.
const SEARCH_LINES_MAX: u64 = 100;
/// Limit of the time in which the core searches for a recipient, in milliseconds: one day.
const RESOLVE_TIMEOUT_MAX_MS: u64 = 24 * 3_600_000;

impl Session {
    pub(super) fn start(
        &mut self,
        kind: RequestKind,
        around: &mut Surroundings<'_>,
        sink: &mut dyn EventSink,
    ) -> Option<SessionAction> {
        match kind {
            RequestKind::Command(command) => return self.execute(command, None, around, sink),
            RequestKind::Resend { command, after } => {
                return self.execute(command, Some(after), around, sink);
            }
            RequestKind::Listen(listen) => return Some(SessionAction::Listen(listen)),
            RequestKind::Audit => around.store.report_damage(),
            RequestKind::ReloadKnownPeers => return Some(SessionAction::ReloadKnownPeers),
            RequestKind::Finish {
                required_peers,
                is_sync,
            } => {
                self.start_reports(required_peers, is_sync, sink);
                return is_sync.then_some(SessionAction::Command(Command::Sync));
            }
            RequestKind::FindEnd(folder) => self.answer_end(&folder, around.store, sink),
            RequestKind::Printed { folder, cursor } => {
                self.record_printed(&folder, &cursor, around.store);
            }
            RequestKind::Dial { host, port, peer } => {
                return Some(SessionAction::Dial(vec![Endpoint { peer, host, port }]));
            }
        }
        None
    }

    /// Records what the directory's reader has printed, as queued requests without an id report it.
    /// These requests never wait: a request before them may wait for the reader.
    pub(super) fn record_printed_early(&mut self, store: &mut Store) {
        let is_report = |request: &Request| {
            request.id.is_none() && matches!(*request.kind, RequestKind::Printed { .. })
        };
        while self.is_reader
            && let Some(at) = self.requests.iter().position(is_report)
            && let Some(report) = self.requests.remove(at)
        {
            if let RequestKind::Printed { folder, cursor } = *report.kind {
                self.record_printed(&folder, &cursor, store);
            }
        }
    }

    fn record_printed(&mut self, folder: &FolderName, cursor: &FolderCursor, store: &mut Store) {
        if !self.is_reader {
            return;
        }
        let reader = self.reader_name.as_ref();
        let staying = self.transcript.as_mut();
        let staying = staying.filter(|transcript| !transcript.is_saving_positions());
        // If saving fails, the next run only prints these lines once more.
        let Some(transcript) = staying else {
            let backlog = cursor.backlog.as_ref().and_then(|it| it.begun());
            let backlog = backlog.map(|backlog| PrintedBacklog {
                folder_end: cursor.run_start,
                first: backlog.first,
                end: backlog.end,
            });
            let _ = store.record_printed(folder, reader, cursor.position, backlog);
            return;
        };
        if let Some(at) = store.printed_position(folder, reader) {
            for printed in transcript.take_printed_beyond(folder, cursor.position) {
                let _ = store.record_printed(folder, reader, at, Some(printed));
            }
        }
    }

    /// Executes a command. `after`: see [`RequestKind::Resend`].
    fn execute(
        &mut self,
        command: UserCommand,
        after: Option<FolderCursor>,
        around: &mut Surroundings<'_>,
        sink: &mut dyn EventSink,
    ) -> Option<SessionAction> {
        match command {
            UserCommand::Core(command) => {
                return self.start_command(command, after, around, sink);
            }
            UserCommand::SendToRoom { room, lines, form } => {
                let room = self.find_room(room, true, around, sink)?;
                return self.publish(Target::Room(room), lines, form, after, around, sink);
            }
            UserCommand::SendToPeer {
                selector,
                lines,
                form,
                timeout_ms,
            } => {
                self.is_answered = true;
                let is_repeated = self.last_selector.as_ref() == Some(&selector);
                let timeout_ms = match is_repeated {
                    true => 0,
                    false => timeout_ms.min(RESOLVE_TIMEOUT_MAX_MS),
                };
                self.last_selector = Some(selector.clone());
                self.pending = Pending::Resolve {
                    id: self.current_id.take(),
                    search_id: 0,
                    lines,
                    form,
                    after,
                    is_repeated,
                };
                return Some(SessionAction::Resolve {
                    selector,
                    timeout_ms,
                });
            }
            UserCommand::History { lines, before } => {
                let lines = lines.unwrap_or(DEFAULT_HISTORY_LINES);
                // Without a current room: the history of all folders.
                let folders = self.enter_rooms(around).first().into_iter();
                let query = HistoryQuery {
                    folders: folders.map(FolderSpan::from).collect(),
                    before,
                    limit: Some(lines.min(HISTORY_LINES_MAX)),
                    ..HistoryQuery::default()
                };
                self.start_query(query, around, sink);
            }
            UserCommand::Search(text) => {
                let query = HistoryQuery {
                    search: Some(text),
                    limit: Some(SEARCH_LINES_MAX),
                    ..HistoryQuery::default()
                };
                self.start_query(query, around, sink);
            }
            UserCommand::Rooms => {
                let rooms = self.enter_rooms(around).clone();
                self.reply(Notice::Rooms(rooms).into(), sink);
            }
            UserCommand::Avatar { selector, .. } => {
                return Some(SessionAction::Trust(TrustCommand::Whois {
                    selector,
                    wants_avatar: true,
                }));
            }
            UserCommand::Trust(command) => return Some(SessionAction::Trust(command)),
            UserCommand::Code => return Some(SessionAction::Code),
            UserCommand::Connect(text) => match parse_peer(&text) {
                Ok(endpoints) => return Some(SessionAction::Dial(endpoints)),
                Err(error) => {
                    let content = format!("the address {text} {error}");
                    self.refuse(ErrorCode::Target, content, sink);
                }
            },
            UserCommand::Help => self.reply(EventKind::Help(HELP.to_owned()), sink),
            UserCommand::Quit => self.has_quit = true,
            UserCommand::Set { .. }
            | UserCommand::AvatarFile(_)
            | UserCommand::Clear
            | UserCommand::Verbose => {
                let content = "this is for the program at the terminal".to_owned();
                self.refuse(ErrorCode::InvalidLine, content, sink);
            }
        }
        None
    }

    /// Refuses addresses to dial, with this sentence.
    pub fn refuse_endpoints(&mut self, why: String, sink: &mut dyn EventSink) {
        self.refuse(ErrorCode::Failed, why, sink);
    }

    /// Answers with the connection code of `own`. `code`: the error if it is unknown.
    pub fn finish_code(&mut self, own: Peer, code: io::Result<String>, sink: &mut dyn EventSink) {
        match code {
            Ok(code) => self.reply(EventKind::Own { own, code }, sink),
            Err(error) => {
                let content = format!("the interfaces cannot be listed: {error}");
                self.refuse(ErrorCode::Failed, content, sink);
            }
        }
    }

    /// Answers a command about known peers. `peers`: those of them that are here, for /whois.
    pub fn finish_trust(
        &mut self,
        result: Result<Vec<TrustEntry>, Refusal>,
        peers: Vec<PeerInfo>,
        sink: &mut dyn EventSink,
    ) {
        match result {
            Ok(entries) => {
                for entry in entries {
                    self.reply(EventKind::Trust(entry), sink);
                }
                if !peers.is_empty() {
                    self.reply(Notice::Peers(peers).into(), sink);
                }
            }
            Err(Refusal { code, content }) => self.refuse(code, content, sink),
        }
    }

    fn start_query(
        &mut self,
        query: HistoryQuery,
        around: &mut Surroundings<'_>,
        sink: &mut dyn EventSink,
    ) {
        self.pending = Pending::History;
        self.is_answered = true;
        self.history_worker
            .submit(around.store, query, self.current_id.take());
        self.poll_history(sink);
    }

    /// Emits the result of a completed history query.
    pub(super) fn poll_history(&mut self, sink: &mut dyn EventSink) {
        let Some((id, result)) = self.history_worker.take_result() else {
            return;
        };
        self.pending = Pending::None;
        self.current_id = id;
        match result {
            Ok(found) => {
                for kind in found {
                    self.reply(kind, sink);
                }
                self.answer(Done::default(), sink);
            }
            Err(error) => {
                let content = format!("the history cannot be read: {error}");
                self.refuse(ErrorCode::Failed, content, sink);
            }
        }
    }

    pub(super) fn start_command(
        &mut self,
        command: Command,
        after: Option<FolderCursor>,
        around: &mut Surroundings<'_>,
        sink: &mut dyn EventSink,
    ) -> Option<SessionAction> {
        match command {
            Command::Join(room) => return Some(SessionAction::Join { room, after }),
            Command::Part(room) => {
                let room = self.find_room(room, false, around, sink)?;
                self.leave(&room, around, sink);
                return Some(SessionAction::Leave(room));
            }
            Command::AwaitDelivery {
                log,
                first,
                sequence,
            } => {
                self.track_lines(StoredLines {
                    log: log.clone(),
                    first,
                    sequence,
                });
                return Some(SessionAction::Command(Command::AwaitDelivery {
                    log,
                    first,
                    sequence,
                }));
            }
            Command::Nick(_)
            | Command::Away(_)
            | Command::Profile(_)
            | Command::Type(_)
            | Command::Peers
            | Command::Stats
            | Command::Lsnp(_)
            | Command::MarkRead { .. } => {
                return Some(SessionAction::Command(command));
            }
            // These are no requests of a client.
            Command::Publish { .. }
            | Command::SendToGuest(_)
            | Command::Resolve { .. }
            | Command::FetchProfile { .. }
            | Command::AskHeard
            | Command::Sync
            | Command::Leave => {}
        }
        None
    }

    /// The rooms of the session. A session that has used no room yet first enters the default
    /// rooms. For a client, these are the rooms of this process's session.
    pub(super) fn enter_rooms(&mut self, around: &Surroundings<'_>) -> &mut Vec<Room> {
        self.rooms
            .get_or_insert_with(|| around.default_rooms.to_vec())
    }

    /// The room that a command concerns. If the command names no room, this is the current room. If
    /// the session is not in that room, refuses and returns `None`.
    pub(super) fn find_room(
        &mut self,
        named: Option<Room>,
        sends: bool,
        around: &Surroundings<'_>,
        sink: &mut dyn EventSink,
    ) -> Option<Room> {
        let rooms = self.enter_rooms(around);
        let room = named.or_else(|| rooms.first().cloned());
        match room {
            Some(room) if rooms.contains(&room) => Some(room),
            room => {
                let Refusal { code, content } = Refusal::not_in_room(room.as_ref(), sends);
                self.refuse(code, content, sink);
                None
            }
        }
    }

    /// Publishes lines. If an earlier program has stored them already, only awaits their delivery.
    pub(super) fn publish(
        &mut self,
        target: Target,
        lines: Lines,
        form: LineForm,
        after: Option<FolderCursor>,
        around: &mut Surroundings<'_>,
        sink: &mut dyn EventSink,
    ) -> Option<SessionAction> {
        let request = self.current_id.as_deref().and_then(RequestId::parse);
        if let (Some(after), Some(request)) = (after, &request) {
            let folder = own_folder(&target);
            if let Some(stored) = find_stored(around.store, &folder, request, after.position) {
                self.track_lines(stored.clone());
                let done = Done {
                    stored: Some(stored),
                    cursor: Some(FolderCursor::at(around.store.end(&folder))),
                    ..Done::default()
                };
                self.answer(done, sink);
                return None;
            }
        }
        Some(SessionAction::Publish {
            target,
            lines,
            form,
            // The session of this process ends with the process, and never repeats a request.
            request: request.filter(|_| !self.is_local),
        })
    }

    /// Records that the core has accepted lines of this session. `head_before`: our log to the
    /// target and its head, before the lines. `head`: the same after the lines; `None`: the core
    /// retries to store the lines. [`Session::end_turn`] answers the request when the lines are
    /// stored or lost.
    pub fn track_send(
        &mut self,
        target: Target,
        head_before: Option<(LogId, u64)>,
        head: Option<(LogId, u64)>,
    ) {
        self.is_answered = true;
        self.unconfirmed.push_back(Unconfirmed {
            id: self.current_id.take(),
            target,
            head_before,
            head,
        });
    }

    /// Records that the core has not published the lines of this session.
    pub fn reject_send(&mut self, sink: &mut dyn EventSink) {
        if !self.is_answered {
            self.refuse(ErrorCode::Failed, "not sent".to_owned(), sink);
        }
    }

    /// Records the id under which the core searches for a recipient.
    pub fn start_resolve(&mut self, id: u64) {
        if let Pending::Resolve { search_id, .. } = &mut self.pending {
            *search_id = id;
        }
    }

    /// Whether this session awaits the answer to this search.
    pub fn awaits_resolve(&self, id: u64) -> bool {
        matches!(self.pending, Pending::Resolve { search_id, .. } if search_id == id)
    }

    /// Handles the recipient that the core has found. Returns the lines to publish.
    pub fn handle_resolved(
        &mut self,
        result: Result<ResolvedRecipient, Refusal>,
        around: &mut Surroundings<'_>,
        sink: &mut dyn EventSink,
    ) -> Option<SessionAction> {
        let pending = std::mem::replace(&mut self.pending, Pending::None);
        let Pending::Resolve {
            id,
            search_id,
            lines,
            form,
            after,
            is_repeated,
        } = pending
        else {
            return None;
        };
        self.current_id = id;
        self.is_answered = false;
        match result {
            Ok(ResolvedRecipient::Guest(guest)) => {
                Some(self.send_to_guest(search_id, guest, lines, form))
            }
            Ok(ResolvedRecipient::Peer(peer, is_absent)) => {
                if is_absent && !is_repeated {
                    let content = format!("{peer} is not here: it gets the lines when it comes");
                    let code = ErrorCode::Absent;
                    emit(sink, None, Notice::Error { code, content }.into());
                }
                self.publish(Target::Peer(peer.id), lines, form, after, around, sink)
            }
            Err(Refusal { code, content }) => {
                self.last_selector = None;
                self.refuse(code, content, sink);
                None
            }
        }
    }

    /// Completes a request to join a room. `is_joined`: whether the core has joined the room. A
    /// joined room becomes the session's current room.
    pub fn finish_join(
        &mut self,
        room: Room,
        after: Option<FolderCursor>,
        is_joined: bool,
        store: &Store,
        sink: &mut dyn EventSink,
    ) {
        let rooms = self.rooms.get_or_insert_default();
        if !is_joined {
            // The error was the answer.
            self.is_answered = true;
            return;
        }
        let folder = FolderName::from(&room);
        rooms.retain(|other| *other != room);
        rooms.insert(0, room);
        self.is_count_due = true;
        let done = Done {
            rooms: self.rooms.clone(),
            cursor: Some(FolderCursor::at(store.end(&folder))),
            ..Done::default()
        };
        if let Some(transcript) = &mut self.transcript
            && !transcript.reopen(&folder)
        {
            let opened = [folder.clone()];
            self.open_folders(&opened, after.as_ref(), store);
            if after.is_none() {
                self.request_backlog(&opened);
            }
        }
        self.answer_listening(done, &[folder], sink);
    }

    /// Leaves a room and closes its folder. Lines of the folder that wait for the sink are still
    /// emitted.
    pub(super) fn leave(
        &mut self,
        room: &Room,
        around: &Surroundings<'_>,
        sink: &mut dyn EventSink,
    ) {
        if let Some(transcript) = &mut self.transcript {
            transcript.close(&FolderName::from(room), around.store);
        }
        self.enter_rooms(around).retain(|other| other != room);
        self.is_count_due = true;
        let done = Done {
            rooms: self.rooms.clone(),
            ..Done::default()
        };
        self.answer(done, sink);
    }

    /// Answers with the position after the last line of a folder. The session has already emitted
    /// the folder's lines.
    pub(super) fn answer_end(
        &mut self,
        folder: &FolderName,
        store: &Store,
        sink: &mut dyn EventSink,
    ) {
        let done = Done {
            cursor: Some(FolderCursor::at(store.end(folder))),
            ..Done::default()
        };
        self.answer(done, sink);
    }
}
