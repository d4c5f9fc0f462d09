//! The part of a session that listens: emits the lines of folders, and what happens in rooms.
use std::io;
use std::sync::Arc;

use crate::base::batch::batch::LogId;
use crate::base::error_code::{ErrorCode, Refusal};
use crate::base::event::notice::Notice;
use crate::base::event::peer::Peer;
use crate::base::guests::guest_event::GuestNotice;
use crate::base::name::{FolderName, Nick, Room, Target};
use crate::shell::session::event_sink::EventSink;
use crate::shell::session::session::{Pending, Session, Surroundings, emit};
use crate::shell::session::transcript::transcript::Transcript;
use crate::shell::store::store::Store;
use crate::ui::diagnostic;
use crate::ui::request::Listen;
use crate::ui::session_event::{Done, EventKind, FolderCursor};

impl Session {
    pub(super) fn is_listening_to(&self, folder: &FolderName) -> bool {
        let transcript = self.transcript.as_ref();
        transcript.is_some_and(|transcript| transcript.is_open(folder))
    }

    /// Whether the session emits lines and changes.
    pub fn is_listening(&self) -> bool {
        self.transcript.is_some()
    }

    /// Whether stored lines or queued events wait for the sink.
    pub fn is_lagging(&self) -> bool {
        self.transcript.as_ref().is_some_and(Transcript::is_lagging)
    }

    /// Whether lines or events can be emitted now, if the sink has room.
    pub fn has_transcript_work(&self) -> bool {
        self.transcript.as_ref().is_some_and(Transcript::has_work)
    }

    /// The rooms to which this request listens.
    pub fn rooms_of(&mut self, listen: &Listen, around: &Surroundings<'_>) -> Vec<Room> {
        match &listen.folder {
            Some(folder) => {
                let room = folder.room();
                if room.is_some() {
                    self.enter_rooms(around);
                }
                room.into_iter().collect()
            }
            None => self.enter_rooms(around).clone(),
        }
    }

    /// Whether this session is the directory's reader. Lines that it prints count as printed for
    /// the next run.
    pub fn is_reader(&self) -> bool {
        self.is_listening() && self.is_reader
    }

    /// The name of the reader that this session is, if it is one with a name.
    pub fn reader_name(&self) -> Option<&Nick> {
        self.reader_name.as_ref().filter(|_| self.is_reader)
    }

    /// Refuses the request to listen in execution.
    pub fn refuse_listen(&mut self, why: String, sink: &mut dyn EventSink) {
        self.refuse(ErrorCode::Failed, why, sink);
    }

    /// Begins to emit the lines and changes of folders.
    pub fn listen(
        &mut self,
        mut listen: Listen,
        around: &mut Surroundings<'_>,
        sink: &mut dyn EventSink,
    ) {
        let rooms = self.rooms_of(&listen, around);
        if let Some(room) = rooms.iter().find(|room| !self.rooms().contains(room)) {
            let Refusal { code, content } = Refusal::not_in_room(Some(room), false);
            return self.refuse(code, content, sink);
        }
        let is_own = listen.reader_name.is_none();
        listen.is_reader &= self.is_local || !is_own || !around.has_reader;
        self.is_reader = listen.is_reader;
        self.reader_name = listen.reader_name.clone();
        self.backlog = listen.backlog;
        let (own_id, is_local) = (self.own_id, self.is_local);
        let wake = self.history_worker.wake();
        self.transcript
            .get_or_insert_with(|| Transcript::new(own_id, &listen, is_local, wake));
        let mut folders: Vec<FolderName> = rooms.iter().map(FolderName::from).collect();
        let mut backlog = folders.clone();
        match &listen.folder {
            // The backlog of all rooms has no direct messages.
            None => folders.push(FolderName::direct()),
            Some(folder) if *folder == FolderName::direct() => {
                folders.push(folder.clone());
                backlog.push(folder.clone());
            }
            Some(_) => {}
        }
        backlog.retain(|folder| !self.is_listening_to(folder));
        if listen.seeks_end && listen.after.is_none() && self.is_reader {
            for folder in &folders {
                // If saving fails, the next run prints the lines that this one skips.
                let end = around.store.end(folder);
                let reader = self.reader_name.as_ref();
                let _ = around.store.record_printed(folder, reader, end, None);
            }
        }
        self.open_folders(&folders, listen.after.as_ref(), around.store);
        if listen.after.is_none() {
            self.request_backlog(&backlog);
        }
        self.is_answered = true;
        self.pending = Pending::Backlog {
            id: self.current_id.take(),
            folders,
        };
        self.poll_backlog(around.store, sink);
    }

    /// Opens folders at the cursor `after`. Without a cursor, the directory's reader continues at
    /// its saved positions. Other sessions begin at the ends of the folders.
    pub(super) fn open_folders(
        &mut self,
        folders: &[FolderName],
        after: Option<&FolderCursor>,
        store: &Store,
    ) {
        let Some(transcript) = &mut self.transcript else {
            return;
        };
        for folder in folders {
            let printed = match self.is_reader {
                true => store
                    .printed_position(folder, self.reader_name.as_ref())
                    .unwrap_or_default(),
                false => store.end(folder),
            };
            match after {
                Some(after) => transcript.resume(store, folder, after),
                None => transcript.open(store, folder, printed),
            }
        }
    }

    /// Requests the backlog of folders that were just opened.
    pub(super) fn request_backlog(&mut self, folders: &[FolderName]) {
        if let Some(transcript) = &mut self.transcript {
            transcript.request_backlog(folders, self.backlog);
        }
    }

    /// Answers a request that has opened folders. The answer says where a listener continues in
    /// each folder.
    pub(super) fn answer_listening(
        &mut self,
        mut done: Done,
        folders: &[FolderName],
        sink: &mut dyn EventSink,
    ) {
        if let Some(transcript) = &self.transcript {
            let first = folders.first().and_then(|first| transcript.cursor(first));
            done.cursor = first.or(done.cursor);
            for folder in folders {
                if let Some(cursor) = transcript.cursor(folder)
                    && self.current_id.is_some()
                {
                    let folder = folder.clone();
                    self.reply(EventKind::Position { folder, cursor }, sink);
                }
            }
        }
        self.answer(done, sink);
    }

    /// Answers the request to listen, once it is known where its backlog begins.
    fn poll_backlog(&mut self, store: &Store, sink: &mut dyn EventSink) {
        let (Pending::Backlog { .. }, Some(transcript)) = (&self.pending, &mut self.transcript)
        else {
            return;
        };
        if !transcript.knows_backlogs(store) {
            return;
        }
        let pending = std::mem::replace(&mut self.pending, Pending::None);
        if let Pending::Backlog { id, folders } = pending {
            self.current_id = id;
            self.answer_listening(Done::default(), &folders, sink);
        }
    }

    /// Handles a notice of the core. `is_answer`: whether it answers this session's request.
    pub fn handle_notice(
        &mut self,
        notice: &Arc<Notice>,
        is_answer: bool,
        store: &Store,
        sink: &mut dyn EventSink,
    ) {
        self.is_count_due |= matches!(
            **notice,
            Notice::Joined { .. } | Notice::Left { .. } | Notice::Flapped { .. }
        );
        match &**notice {
            Notice::Chat(chat) => {
                if let Some(transcript) = &mut self.transcript {
                    transcript.handle_chat(chat, store, sink);
                }
            }
            Notice::Typing { target, .. } => {
                let room = target.room().map(FolderName::from);
                let is_shown = room.is_none_or(|room| self.is_listening_to(&room));
                if self.is_listening() && is_shown && sink.can_answer() {
                    emit(sink, None, EventKind::Notice(Arc::clone(notice)));
                }
            }
            Notice::Error { code, content } if is_answer => {
                self.refuse(*code, content.clone(), sink);
            }
            Notice::Peers(_) | Notice::Guests(_) | Notice::OwnProfile(_) | Notice::Stats { .. } => {
                self.reply(EventKind::Notice(Arc::clone(notice)), sink);
            }
            Notice::KeyMismatch { .. } | Notice::DuplicateIdentity { .. } => {
                let code = match &**notice {
                    Notice::KeyMismatch { is_bound: true, .. } => ErrorCode::BoundName,
                    Notice::KeyMismatch { .. } => ErrorCode::OtherKey,
                    _ => ErrorCode::DuplicateIdentity,
                };
                let content = diagnostic::notice_warning(notice).unwrap_or_default();
                self.handle_event(&Arc::new(Notice::Error { code, content }), sink);
            }
            _ if !self.is_hidden(notice) => self.handle_event(notice, sink),
            _ => {}
        }
    }

    /// Emits a notice that is not a chat line. If the session does not listen, the frontend of this
    /// process gets only errors and joins. A client that does not listen gets nothing.
    pub(super) fn handle_event(&mut self, notice: &Arc<Notice>, sink: &mut dyn EventSink) {
        match &mut self.transcript {
            Some(transcript) => transcript.handle_notice(notice, sink),
            None if self.is_local => self.reply_unasked(notice, sink),
            None => {}
        }
    }

    pub(super) fn reply_unasked(&self, notice: &Arc<Notice>, sink: &mut dyn EventSink) {
        if matches!(**notice, Notice::Error { .. } | Notice::Joined { .. }) {
            emit(sink, None, EventKind::Notice(Arc::clone(notice)));
        }
    }

    /// Whether the notice concerns a room to which this session does not listen. Another session
    /// may be in that room.
    pub(super) fn is_hidden(&self, notice: &Notice) -> bool {
        let room = match notice {
            Notice::Joined { room, .. } | Notice::Left { room, .. } => room,
            Notice::Renamed { room, .. } | Notice::Flapped { room, .. } => room,
            Notice::Presence { room, .. } => room,
            Notice::Gap {
                target: Target::Room(room),
                ..
            } => room,
            Notice::Guest(GuestNotice { event, .. }) => match event.room() {
                Some(room) => room,
                None => return false,
            },
            _ => return false,
        };
        self.is_listening() && !self.is_listening_to(&FolderName::from(room))
    }

    /// Emits the name of a peer that has become known.
    pub fn handle_known_peer(&mut self, peer: &Peer, sink: &mut dyn EventSink) {
        if self.is_listening() && sink.can_answer() {
            emit(sink, None, EventKind::Known(peer.clone()));
        }
    }

    /// Records that the store has evicted all lines of a log with sequences below `low`.
    pub fn record_evicted(&mut self, log: &LogId, low: u64) {
        if let Some(transcript) = &mut self.transcript {
            transcript.record_evicted(log, low);
        }
    }

    /// Stops the transcript, because the run has ended. Stored lines are still emitted.
    pub fn stop(&mut self) {
        if let Some(transcript) = &mut self.transcript {
            transcript.stop();
        }
    }

    /// Moves the reader's position past the skipped batches at the end of each folder. To be called
    /// when the sink has printed everything.
    pub fn save_skipped(&mut self, store: &mut Store) {
        if let Some(transcript) = &mut self.transcript
            && self.is_reader
            && transcript.is_saving_positions()
        {
            for (folder, position) in transcript.take_skipped() {
                let _ = store.record_printed(&folder, self.reader_name.as_ref(), position, None);
            }
        }
    }

    /// Emits waiting lines. Returns the error if a part of the history cannot be read.
    pub fn catch_up(&mut self, store: &Store, sink: &mut dyn EventSink) -> Option<io::Error> {
        self.poll_backlog(store, sink);
        let transcript = self.transcript.as_mut()?;
        transcript.catch_up(store, sink).err()
    }
}
