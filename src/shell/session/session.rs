//! A session: requests come in, events go out. It has rooms of its own, and a cursor over the
//! history if it listens. The frontend of this process and every client of `control.sock` have one.
use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::batch::batch::LogId;
use crate::base::error_code::ErrorCode;
use crate::base::event::command::Command;
use crate::base::event::notice::Notice;
use crate::base::event::peer::PeerInfo;
use crate::base::identity::PeerId;
use crate::base::lines::Lines;
use crate::base::name::{FolderName, Nick, PeerSelector, Room, Target};
use crate::base::request_id::RequestId;
use crate::base::table::SortedMap;
use crate::base::text::line_form::LineForm;
use crate::shell::session::event_sink::EventSink;
use crate::shell::session::history_worker::HistoryWorker;
use crate::shell::session::transcript::transcript::Transcript;
use crate::shell::store::store::Store;
use crate::ui::command::UserCommand;
use crate::ui::request::{Listen, Request, RequestKind};
use crate::ui::session_event::{
    DeliveryReport, Done, EventKind, FolderCursor, SessionEvent, Status, StoredLines,
};
use crate::ui::trust_command::{TrustCommand, TrustEntry};
use crate::wire::code::Endpoint;

/// What a session wants from the event loop.
#[derive(Debug)]
pub enum SessionAction {
    /// Open the folder of this room and join it. Answered by [`Session::finish_join`].
    Join {
        /// The room.
        room: Room,
        /// Where a listening session continues in its folder.
        after: Option<FolderCursor>,
    },
    /// Begin to listen. If `Listen::is_reader` is set, first begin the readers of the rooms.
    /// Answered by [`Session::listen`].
    Listen(Listen),
    /// Leave this room, once no session is in it.
    Leave(Room),
    /// Publish lines in a log of ours. Answered by [`Session::track_send`].
    Publish {
        /// The room or the recipient.
        target: Target,
        /// The lines.
        lines: Lines,
        /// What the lines are.
        form: LineForm,
        /// The id of the client's request.
        request: Option<RequestId>,
    },
    /// Find a peer. Answered by [`Notice::Resolved`].
    Resolve {
        /// The selector, as the user typed it.
        selector: PeerSelector,
        /// How long to wait for a peer that matches the selector, in milliseconds.
        timeout_ms: u64,
    },
    /// Pass a command to the core.
    Command(Command),
    /// Read the file `known_peers` again.
    ReloadKnownPeers,
    /// Add static peers.
    Dial(Vec<Endpoint>),
    /// List or change the known peers. Answered by [`Session::finish_trust`].
    Trust(TrustCommand),
    /// Tell the connection code. Answered by [`Session::finish_code`].
    Code,
}

/// What a session needs to know while it executes requests.
pub struct Surroundings<'a> {
    /// The store.
    pub store: &'a mut Store,
    /// Whether lines can be published and stored now.
    pub can_accept: bool,
    /// The rooms of this process's session. A session that has not joined a room yet uses them.
    pub default_rooms: &'a [Room],
    /// Whether this process prints the transcript as the directory's own reader. No client can then
    /// be that reader.
    pub has_reader: bool,
}

/// An unfinished request. It blocks the requests after it, so that answers come in order.
pub(super) enum Pending {
    None,
    /// The core searches for the recipient of these lines.
    Resolve {
        /// The id of the request.
        id: Option<String>,
        /// The id of the search.
        search_id: u64,
        lines: Lines,
        form: LineForm,
        /// Where the search for a stored copy of the lines begins. `None`: the lines are new.
        after: Option<FolderCursor>,
        /// Whether the previous lines to a peer had the same selector.
        is_repeated: bool,
    },
    /// A history query runs.
    History,
    /// What some peers say about themselves may still come.
    Whois {
        /// The id of the request.
        id: Option<String>,
        entries: Vec<TrustEntry>,
        /// Those of them that are here.
        peers: Vec<PeerInfo>,
    },
    /// The session does not know yet where the backlog of these folders begins.
    Backlog {
        /// The id of the request to listen.
        id: Option<String>,
        /// The folders that the request has opened.
        folders: Vec<FolderName>,
    },
}

/// Lines that the core has published and whose storing is not confirmed yet.
pub(super) struct Unconfirmed {
    pub(super) id: Option<String>,
    pub(super) target: Target,
    /// The log and its head before the lines; `None`: the log was empty.
    pub(super) head_before: Option<(LogId, u64)>,
    /// The log and its head after the lines; `None`: the core retries to store them.
    pub(super) head: Option<(LogId, u64)>,
}

/// Lines for one guest of which it is not known yet whether they arrive.
pub(super) struct SentGuestLines {
    /// The id of the client's request.
    pub(super) id: Option<String>,
    /// The number under which the core reports them.
    pub(super) request_id: u64,
    pub(super) count: u64,
    /// How many of them the core has not reported yet.
    pub(super) left: u64,
    pub(super) lost: u64,
    /// Why some were lost.
    pub(super) why: String,
}

impl SentGuestLines {
    /// A sentence that says which of the lines were lost, and why.
    pub(super) fn loss(&self) -> String {
        let why = &self.why;
        match (self.lost, self.count) {
            (1, 1) => format!("a line was not delivered: {why}"),
            (lost, count) if lost == count => format!("{count} lines were not delivered: {why}"),
            (lost, count) => format!("{lost} of {count} lines were not delivered: {why}"),
        }
    }
}

/// The request to report the delivery.
#[derive(Clone, Debug)]
pub(super) struct Finish {
    /// The id of the request; `None` after the first report.
    pub(super) id: Option<String>,
    /// How many peers must store the lines; `None`: all.
    pub(super) required_peers: Option<u64>,
    /// See [`RequestKind::Finish`].
    pub(super) is_sync: bool,
    pub(super) last_report: Option<DeliveryReport>,
}

/// The state of one session.
pub struct Session {
    pub(super) own_id: PeerId,
    /// The rooms, with the current one first. `None`: the session has used none yet.
    pub(super) rooms: Option<Vec<Room>>,
    pub(super) transcript: Option<Transcript>,
    /// How many stored lines of each folder are emitted first.
    pub(super) backlog: u64,
    /// Whether the session moves the position of the directory's reader.
    pub(super) is_reader: bool,
    /// The name of the reader that this session is. `None`: the directory's own.
    pub(super) reader_name: Option<Nick>,
    /// Whether this is the session of this process. It also shows lines that clients send.
    pub(super) is_local: bool,
    pub(super) requests: VecDeque<Request>,
    pub(super) pending: Pending,
    /// The selector of the last recipient; `None` if the last search failed. A second search for
    /// the same selector does not wait. Many lines to an absent recipient thus wait only once.
    pub(super) last_selector: Option<PeerSelector>,
    /// The id of the request in execution.
    pub(super) current_id: Option<String>,
    /// Whether the request in execution needs no answer at its end. The request has failed, was
    /// answered, or will be answered later.
    pub(super) is_answered: bool,
    pub(super) unconfirmed: VecDeque<Unconfirmed>,
    /// Lines for single guests of which it is not known yet whether they arrive. The queues of the
    /// core bound their number.
    pub(super) sent_guest_lines: Vec<SentGuestLines>,
    /// The lines whose delivery the session awaits. Each key is the log in which the lines were
    /// stored first: fork repair may have published them again in another one.
    pub(super) tracked_lines: SortedMap<LogId, StoredLines>,
    pub(super) finish: Option<Finish>,
    /// Whether somebody has come or gone, or the current room has changed, since the peers of the
    /// room were counted.
    pub(super) is_count_due: bool,
    /// The status that was emitted last.
    pub(super) status: Status,
    pub(super) history_worker: HistoryWorker,
    /// Whether the client has requested the end of the session.
    pub(super) has_quit: bool,
}

impl Session {
    /// A session without requests. `is_local`: whether it is the session of this process. `wake`
    /// ends the sleep of the event loop from another thread.
    pub fn new(own_id: PeerId, is_local: bool, wake: Arc<dyn Fn() + Send + Sync>) -> Session {
        Session {
            own_id,
            rooms: is_local.then(Vec::new),
            transcript: None,
            backlog: 0,
            is_reader: is_local,
            reader_name: None,
            is_local,
            requests: VecDeque::new(),
            pending: Pending::None,
            last_selector: None,
            current_id: None,
            is_answered: false,
            unconfirmed: VecDeque::new(),
            sent_guest_lines: Vec::new(),
            tracked_lines: SortedMap::new(),
            finish: None,
            is_count_due: true,
            status: Status::default(),
            history_worker: HistoryWorker::new(wake),
            has_quit: false,
        }
    }

    /// Queues a request.
    pub fn push_request(&mut self, request: Request) {
        self.requests.push_back(request);
    }

    /// Number of queued requests.
    pub fn request_count(&self) -> usize {
        self.requests.len()
    }

    /// The rooms of this session, with the current one first. Empty if the session has used none
    /// yet.
    pub fn rooms(&self) -> &[Room] {
        self.rooms.as_deref().unwrap_or_default()
    }

    /// Whether the session is in this room.
    pub fn is_in_room(&self, room: &Room) -> bool {
        self.rooms().contains(room) || self.is_listening_to(&FolderName::from(room))
    }

    /// Whether the client has requested the end of the session.
    pub fn has_quit(&self) -> bool {
        self.has_quit
    }

    /// Whether the session could execute a further request at once.
    pub fn is_ready_for_request(&self) -> bool {
        self.has_executed_all() && !self.has_quit
    }

    fn has_executed_all(&self) -> bool {
        self.requests.is_empty() && matches!(self.pending, Pending::None)
    }

    /// Whether no answer is due.
    pub fn is_idle(&self) -> bool {
        self.has_executed_all() && self.unconfirmed.is_empty() && self.sent_guest_lines.is_empty()
    }

    /// Whether the session can act before the next event.
    pub fn has_work(&self, can_accept: bool, sink: &dyn EventSink) -> bool {
        self.has_transcript_work() && sink.can_accept()
            || sink.can_answer() && self.can_execute(can_accept)
    }

    /// Whether the next request can be executed.
    pub(super) fn can_execute(&self, can_accept: bool) -> bool {
        // The end of a folder comes after its lines.
        let must_wait = |kind: &RequestKind| {
            let follows_lines = matches!(kind, RequestKind::FindEnd(_));
            follows_lines && self.is_lagging() || publishes(kind) && !can_accept
        };
        let next = self.requests.front();
        matches!(self.pending, Pending::None) && next.is_some_and(|next| !must_wait(&next.kind))
    }

    /// Executes requests until one needs an action of the event loop, and returns this action. Then
    /// the event loop calls [`Session::finish_action`]. `None`: no request can be executed now.
    pub fn next_action(
        &mut self,
        around: &mut Surroundings<'_>,
        sink: &mut dyn EventSink,
    ) -> Option<SessionAction> {
        self.record_printed_early(around.store);
        self.poll_history(sink);
        while sink.can_answer() && self.can_execute(around.can_accept) && !self.has_quit {
            let Request { id, kind } = self.requests.pop_front()?;
            self.current_id = id;
            self.is_answered = false;
            if let Some(action) = self.start(*kind, around, sink) {
                return Some(action);
            }
            self.finish_action(sink);
        }
        None
    }

    /// Ends the execution of a request, and answers it. If the answer was already emitted, or comes
    /// later, emits nothing.
    pub fn finish_action(&mut self, sink: &mut dyn EventSink) {
        if !self.is_answered {
            self.answer(Done::default(), sink);
        }
        self.current_id = None;
    }

    /// Emits the answer to the request in execution.
    pub(super) fn answer(&mut self, done: Done, sink: &mut dyn EventSink) {
        self.is_answered = true;
        if let Some(id) = self.current_id.take() {
            emit(sink, Some(id), EventKind::Done(done));
        }
    }

    /// Emits an error as the answer to the request in execution.
    pub(super) fn refuse(&mut self, code: ErrorCode, content: String, sink: &mut dyn EventSink) {
        self.is_answered = true;
        let notice = Notice::Error { code, content };
        emit(sink, self.current_id.take(), notice.into());
    }

    /// Emits a part of the answer to the request in execution.
    pub(super) fn reply(&self, kind: EventKind, sink: &mut dyn EventSink) {
        emit(sink, self.current_id.clone(), kind);
    }
}

/// Whether this request publishes lines.
fn publishes(kind: &RequestKind) -> bool {
    matches!(
        kind,
        RequestKind::Command(UserCommand::SendToRoom { .. } | UserCommand::SendToPeer { .. })
            | RequestKind::Resend {
                command: UserCommand::SendToRoom { .. } | UserCommand::SendToPeer { .. },
                ..
            }
    )
}

/// The folder that stores our lines to this target.
pub(super) fn own_folder(target: &Target) -> FolderName {
    target
        .room()
        .map_or_else(FolderName::direct, FolderName::from)
}

/// Emits an event.
pub(super) fn emit(sink: &mut dyn EventSink, id: Option<String>, kind: EventKind) {
    sink.emit(SessionEvent::new(id, kind));
}
