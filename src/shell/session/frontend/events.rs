//! What a frontend does with the answers and events of its session.
use crate::base::error_code::ErrorCode;
use crate::base::event::command::Command;
use crate::base::event::notice::Notice;
use crate::base::event::peer::PeerState;
use crate::base::name::{FolderName, Room};
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::session::event_sink::EventSink;
use crate::shell::session::frontend::exit_policy::SessionMode;
use crate::shell::session::frontend::frontend::Frontend;
use crate::shell::session::frontend::pending::PendingRequest;
use crate::shell::session::session::own_folder;
use crate::shell::stdio::output_writer::OutputWriter;
use crate::ui::command::UserCommand;
use crate::ui::diagnostic;
use crate::ui::editor::line_editor::HAS_EDITOR;
use crate::ui::editor::prompt::TypingPeer;
use crate::ui::request::{Request, RequestKind};
use crate::ui::session_event::{ChatLines, Done, EventKind, FolderCursor, SessionEvent, Status};

impl EventSink for Frontend {
    fn can_answer(&self) -> bool {
        self.pending_output.is_empty()
    }

    fn can_accept(&self) -> bool {
        let stdout = self.stdout.as_ref();
        self.can_answer() && stdout.is_none_or(OutputWriter::can_accept)
    }

    fn emit(&mut self, event: SessionEvent) {
        let Some(id) = event.id else {
            return self.handle_event(*event.kind);
        };
        if let Some(id) = self.pending.parse_id(&id) {
            self.handle_answer(id, *event.kind);
            self.announce_if_ready();
        }
    }
}

impl Frontend {
    fn handle_answer(&mut self, id: u64, kind: EventKind) {
        match kind {
            EventKind::Done(done) => {
                if let Some(pending) = self.pending.remove(id) {
                    self.complete(pending, done);
                }
            }
            EventKind::Position { folder, cursor } => {
                let known_end = FolderCursor::at(cursor.position);
                self.pending.record_end(folder.clone(), known_end);
                self.cursors.insert(folder, cursor);
            }
            EventKind::Notice(notice) => match &*notice {
                Notice::Error { code, content } => {
                    if let Some(pending) = self.pending.remove(id) {
                        self.fail(pending, *code, content);
                    }
                }
                _ => self.pending.add_reply(id, EventKind::Notice(notice)),
            },
            kind => self.pending.add_reply(id, kind),
        }
    }

    fn complete(&mut self, pending: Box<PendingRequest>, mut done: Done) {
        if let Some(cursor) = done.cursor.take() {
            self.record_cursor(&pending.kind, &done, cursor);
        }
        if let Some(rooms) = done.rooms {
            self.set_rooms(rooms);
        }
        if let Some(stored) = done.stored.clone() {
            if let Some(progress) = self.progress.as_mut().filter(|_| HAS_EDITOR) {
                progress.sent += stored.sequence.saturating_sub(stored.first) + 1;
            }
            self.pending.record_stored(stored);
        }
        self.show_reply(pending, done.stored);
    }

    /// Records the end of a folder from an answer. Does not move `cursors`, because a listening
    /// session may not have emitted all lines before this end.
    fn record_cursor(&mut self, kind: &RequestKind, done: &Done, cursor: FolderCursor) {
        if let Some(stored) = &done.stored {
            let folder = own_folder(&stored.log.target);
            return self.pending.record_end(folder, cursor);
        }
        match kind {
            RequestKind::FindEnd(folder) => self.pending.record_end(folder.clone(), cursor),
            RequestKind::Command(UserCommand::Core(Command::Join(room)))
            | RequestKind::Resend {
                command: UserCommand::Core(Command::Join(room)),
                ..
            } => self.pending.record_end(FolderName::from(room), cursor),
            _ => {}
        }
    }

    /// Replaces the rooms by those that the session reports, and shows the current room. Does
    /// nothing during setup, because a new session reports only the rooms entered so far.
    fn set_rooms(&mut self, rooms: Vec<Room>) {
        let is_setup = self.pending.is_entering();
        if is_setup {
            return;
        }
        let is_gone = |folder: &FolderName| {
            let room = folder.room();
            room.is_some_and(|room| !rooms.contains(&room))
        };
        self.cursors.retain(|folder, _| !is_gone(folder));
        self.rooms = rooms;
        self.show_current_room();
        self.redraw_editor();
    }

    fn fail(&mut self, pending: Box<PendingRequest>, code: ErrorCode, content: &str) {
        if let RequestKind::Command(UserCommand::Core(Command::Join(room)))
        | RequestKind::Resend {
            command: UserCommand::Core(Command::Join(room)),
            ..
        } = &pending.kind
            && pending.is_setup()
        {
            self.rooms.retain(|other| other != room);
            self.show_current_room();
            self.exit_policy.record_refusal();
        }
        if matches!(pending.kind, RequestKind::Listen(_)) {
            self.exit_policy.end(ExitStatus::GeneralError);
        }
        if code == ErrorCode::Room && !pending.line_numbers.is_empty() {
            let lines = pending.line_numbers.iter();
            let errors = lines.map(|line| (*line, content.to_owned()));
            return self.report_line_errors(code, errors, pending.user_id.as_deref());
        }
        self.show_line_error(code, content, &pending.line_numbers, pending.user_id);
    }

    /// Shows an error in a command, with the number of the stdin line that contains it.
    pub(super) fn show_line_error(
        &mut self,
        code: ErrorCode,
        content: &str,
        line_numbers: &[u64],
        user_id: Option<String>,
    ) {
        match line_numbers.first().filter(|_| !self.is_stdin_terminal) {
            Some(number) => self.show_error(code, &format!("line {number}: {content}"), user_id),
            None => self.show_error(code, content, user_id),
        }
    }

    /// Shows an error, and records its effect on the exit status.
    pub(super) fn show_error(&mut self, code: ErrorCode, content: &str, user_id: Option<String>) {
        // The command waits for the recipient. If that is in vain, another sentence says so.
        if code == ErrorCode::Absent && self.exit_policy.mode == SessionMode::Send {
            return;
        }
        let notice = Notice::Error {
            code,
            content: content.to_owned(),
        };
        self.record_outcome(&notice);
        self.print_diagnostic(&diagnostic::format_diagnostic(content));
        if self.renderer.is_json() && self.exit_policy.mode != SessionMode::Peers {
            let event = SessionEvent::new(user_id, notice);
            let mut line = Vec::new();
            self.renderer.append_event(&event, self.today, &mut line);
            self.print_lines(line);
        }
    }

    fn record_outcome(&mut self, notice: &Notice) {
        match notice {
            Notice::Joined { .. } => self.exit_policy.record_linked_peer(),
            Notice::Error { code, .. } => match code {
                ErrorCode::Target | ErrorCode::Failed => {
                    self.exit_policy.record_refusal();
                }
                ErrorCode::WrongKey => self.exit_policy.record_key_mismatch(),
                // A person sees the error and can send the line again. A script has only the exit
                // status.
                ErrorCode::Room if !self.renderer.has_editor() => {
                    self.exit_policy.record_refusal();
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn handle_event(&mut self, kind: EventKind) {
        match kind {
            EventKind::Chat { chat, cursor } => self.print_chat(chat, cursor),
            EventKind::Position { folder, cursor } if !self.is_drained() => {
                self.record_printed(folder, cursor, 0);
            }
            EventKind::Notice(notice) => {
                if let Notice::Error { code, content } = &*notice {
                    return self.show_error(*code, content, None);
                }
                if let Notice::Typing {
                    target,
                    peer,
                    is_typing,
                } = &*notice
                {
                    let typing = TypingPeer {
                        id: peer.id,
                        name: self.renderer.display_name(peer),
                        target: target.clone(),
                    };
                    return self.change_prompt(|it| it.set_typing(typing, *is_typing));
                }
                if let Notice::Guest(guest) = &*notice
                    && guest.event.is_line()
                {
                    return self.print_guest_line(notice);
                }
                self.record_outcome(&notice);
                if self.awaits_last_lines() && self.filter.has_notice(&notice) {
                    self.print_event(EventKind::Notice(notice));
                }
            }
            EventKind::Known(peer) => self.renderer.record_known_name(peer.id, &peer.nick),
            EventKind::Delivery(report) => {
                self.handle_status(report.has_linked_peer);
                let is_settled = report.delivery.is_settled;
                if let Some(progress) = self.progress.as_mut().filter(|_| HAS_EDITOR) {
                    progress.delivered = Some(match is_settled {
                        true => progress.sent,
                        false => report.delivered_lines,
                    });
                }
                self.delivery = report;
                if is_settled && !self.pending.has_lines() {
                    self.exit_policy.record_delivery_complete();
                }
            }
            EventKind::Status(Status {
                has_linked_peer,
                is_blocked,
                others_here,
            }) => {
                self.is_blocked = is_blocked;
                self.change_prompt(|prompt| prompt.others_here = others_here);
                self.handle_status(has_linked_peer);
            }
            EventKind::Position { .. }
            | EventKind::Ready(_)
            | EventKind::Help(_)
            | EventKind::Own { .. }
            | EventKind::Trust(_)
            | EventKind::Done(_) => {}
        }
    }

    fn handle_status(&mut self, has_linked_peer: bool) {
        if has_linked_peer {
            self.exit_policy.record_linked_peer();
        }
    }

    /// Prints the selected lines, at most as many as `listen --count` has left.
    fn print_chat(&mut self, mut chat: ChatLines, cursor: Option<FolderCursor>) {
        let limit = self.exit_policy.remaining_lines();
        if limit == Some(0) || self.is_drained() {
            return;
        }
        let is_over = self.exit_policy.has_ended();
        if let Some(missed) = self.missed.as_mut().filter(|_| HAS_EDITOR) {
            missed.mark_live(&mut chat);
        }
        if let Some(missed) = self
            .missed
            .as_mut()
            .filter(|it| HAS_EDITOR && !is_over && it.is_missed(&chat))
        {
            if let Some(cursor) = cursor {
                let log = &chat.log;
                let folder = FolderName::for_log(&log.target, &log.author, &self.own_id);
                missed.record_printed(folder, cursor);
            }
            return missed.add(chat, self.now);
        }
        let log = chat.log.clone();
        let is_to_us = log.target.recipient() == Some(self.own_id);
        // After a kill, the next run goes on within these lines. In the user's own form, a line end
        // need not be the end of a line.
        let backlog = cursor.as_ref().and_then(|cursor| cursor.backlog.as_ref());
        let backlog = backlog.and_then(|backlog| backlog.begun());
        if !self.renderer.has_line_format() && backlog.is_some_and(|backlog| backlog.has_more) {
            self.printed.record_line_ends();
        }
        let selected = self.filter.select(chat, limit);
        let last = match is_to_us && self.marks_read() {
            true => selected.last_sequence(),
            false => None,
        };
        let (lines, is_whole) = (selected.count, selected.is_whole);
        for chat in selected.runs {
            self.print_event(EventKind::Chat { chat, cursor: None });
        }
        if let Some(cursor) = cursor {
            let folder = FolderName::for_log(&log.target, &log.author, &self.own_id);
            // A saved position cannot lie inside a batch, so the next run prints the whole batch.
            if is_whole {
                self.record_printed(folder, cursor, lines);
            }
        }
        if is_to_us && log.author != self.own_id {
            self.change_prompt(|prompt| prompt.unread = prompt.unread.saturating_add(lines));
        }
        if let Some(sequence) = last {
            let mark = Command::MarkRead { log, sequence };
            let request = Request::new(None, UserCommand::Core(mark));
            self.outgoing.push_back(request);
        }
        self.exit_policy.record_printed_lines(lines);
    }

    /// Records where the next session continues in a folder, and that all lines before this place
    /// are rendered. `lines`: how many lines the last event had.
    fn record_printed(&mut self, folder: FolderName, cursor: FolderCursor, lines: u64) {
        // The place is behind the missed lines of the folder, which are not printed yet.
        let missed = self.missed.as_mut().filter(|_| HAS_EDITOR);
        if let Some(missed) = missed.filter(|missed| !missed.is_empty()) {
            return missed.record_printed(folder, cursor);
        }
        let is_waiting = !self.pending_output.is_empty();
        self.pending
            .record_end(folder.clone(), FolderCursor::at(cursor.position));
        self.printed
            .track(folder.clone(), cursor.clone(), lines, is_waiting);
        self.cursors.insert(folder, cursor);
    }

    /// Shows the missed lines that wait.
    pub(super) fn show_missed(&mut self) {
        let missed = self.missed.as_mut().filter(|_| HAS_EDITOR);
        let Some(missed) = missed.filter(|missed| !missed.is_empty()) else {
            return;
        };
        let shown = missed.take();
        if let Some(room) = self.rooms.first()
            && let Some(first) = shown.first_of(room)
        {
            self.history_pages.record_first(room, first);
        }
        if let Some(heading) = &shown.heading {
            let mut line = Vec::new();
            self.renderer.append_heading(heading, &mut line);
            self.print_lines(line);
        }
        for chat in shown.lines {
            self.print_event(EventKind::Chat { chat, cursor: None });
        }
        for (folder, cursor) in shown.printed {
            self.record_printed(folder, cursor, 0);
        }
    }

    /// Whether a person sees the transcript.
    fn marks_read(&self) -> bool {
        self.is_stdout_terminal && !self.renderer.is_json()
    }

    /// Records whether a reply to the command `peers` contains a present peer.
    pub(super) fn record_peers(&mut self, notice: &Notice) {
        let is_anyone_here = match notice {
            Notice::Peers(views) => views.iter().any(|view| view.state != PeerState::Gone),
            Notice::Guests(guests) => guests.iter().any(|guest| !guest.is_gone),
            _ => false,
        };
        if is_anyone_here && self.exit_policy.mode == SessionMode::Peers {
            self.exit_policy.record_linked_peer();
        }
    }
}
