//! Requests of a frontend that its session has not answered yet. If the program with the session
//! ends, the next one gets them again.
use std::collections::VecDeque;

use crate::base::batch::batch::LogId;
use crate::base::event::command::Command;
use crate::base::hex;
use crate::base::name::FolderName;
use crate::base::table::SortedMap;
use crate::base::text::line_form::LineForm;
use crate::shell::session::frontend::command_queue::{lines_of, sends_lines};
use crate::shell::session::frontend::exit_policy::UnansweredLines;
use crate::ui::command::UserCommand;
use crate::ui::request::{Request, RequestKind};
use crate::ui::session_event::{EventKind, FolderCursor, StoredLines, TRACKED_LOGS_MAX};
use crate::ui::trust_command::TrustCommand;

/// Limit of the lines without an answer, in bytes. At this limit the frontend does not read stdin.
const LINES_MAX_BYTES: usize = 256 * 1024;
/// Limit of the number of requests without an answer. At this limit the frontend does not read
/// stdin.
const REQUESTS_MAX: usize = 1024;

/// A request that the session has not answered.
#[derive(Debug)]
pub struct PendingRequest {
    id: u64,
    /// What is requested. The lines to send are left out if the session is in this process. Such a
    /// request is never repeated.
    pub kind: RequestKind,
    /// Whether the request belongs to the setup of a session. A setup request is not repeated,
    /// because the next session has a setup of its own.
    is_setup: bool,
    /// Numbers of the stdin lines that contain the request.
    pub line_numbers: Vec<u64>,
    /// The id that the user gave the request.
    pub user_id: Option<String>,
    /// For lines: the last known end of the folder when the lines were first sent. If the request
    /// is repeated, the search for a stored copy begins here.
    sent_after: FolderCursor,
    lines_bytes: usize,
    /// Whether the request sends lines to one guest, who may not answer for long.
    is_to_guest: bool,
    /// For lines to one peer: how long its name may take to resolve, in milliseconds.
    resolve_ms: Option<u64>,
    /// The parts of the answer that came already.
    pub reply: Vec<EventKind>,
}

/// What the frontend knows about its requests.
pub struct PendingRequests {
    queue: VecDeque<Box<PendingRequest>>,
    /// A random number of this run. It makes the ids of requests unique among all clients.
    run: u64,
    last_id: u64,
    lines_bytes: usize,
    /// The last known end of each folder. The folder may have grown since.
    ends: SortedMap<FolderName, FolderCursor>,
    /// For each log, the lines that a session has stored for this frontend. A server that ended
    /// uncleanly leaves a log to the same target, of another incarnation.
    stored: SortedMap<LogId, StoredLines>,
}

impl PendingRequests {
    /// No requests. `run`: a random number.
    pub fn new(run: u64) -> PendingRequests {
        PendingRequests {
            queue: VecDeque::new(),
            run,
            last_id: 0,
            lines_bytes: 0,
            ends: SortedMap::new(),
            stored: SortedMap::new(),
        }
    }

    /// The JSON of a request's id.
    fn id_json(&self, id: u64) -> String {
        format!("\"{}-{id}\"", hex::format(self.run))
    }

    /// Parses the id of an answer. `None`: no request of this run has such an id.
    pub fn parse_id(&self, json: &str) -> Option<u64> {
        let (run, id) = json.strip_prefix('"')?.strip_suffix('"')?.split_once('-')?;
        let id = id.parse().ok()?;
        (hex::parse(run) == Some(self.run)).then_some(id)
    }

    /// Whether all requests are answered.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether lines are not stored, or not sent to their guest.
    pub fn has_lines(&self) -> bool {
        self.queue.iter().any(|it| it.sends_lines())
    }

    /// Which lines are not answered.
    pub fn unanswered_lines(&self) -> UnansweredLines {
        let mut with_lines = self.queue.iter().filter(|pending| pending.sends_lines());
        match (self.has_lines(), with_lines.all(|it| it.is_to_guest)) {
            (false, _) => UnansweredLines::None,
            (true, true) => UnansweredLines::ToGuests,
            (true, false) => UnansweredLines::ToBeStored,
        }
    }

    /// The oldest request that sends lines to one peer: its id, and how long the peer's name may
    /// take to resolve, in milliseconds. The session resolves one name after the other.
    pub fn oldest_resolution(&self) -> Option<(u64, u64)> {
        let mut queue = self.queue.iter();
        queue.find_map(|pending| Some((pending.id, pending.resolve_ms?)))
    }

    /// Whether a request that sends no lines is unanswered.
    pub fn has_other(&self) -> bool {
        self.queue.iter().any(|pending| !pending.sends_lines())
    }

    /// Whether the frontend still enters the first rooms of a session.
    pub fn is_entering(&self) -> bool {
        let mut queue = self.queue.iter();
        queue.any(|pending| pending.is_setup && pending.changes_rooms())
    }

    /// Whether a setup request of the session is unanswered.
    pub fn has_setup(&self) -> bool {
        self.queue.iter().any(|it| it.is_setup())
    }

    /// Whether the current room may change with an answer.
    pub fn is_changing_rooms(&self) -> bool {
        self.queue.iter().any(|it| it.changes_rooms())
    }

    /// Whether the request to report the delivery is unanswered.
    pub fn is_finishing(&self) -> bool {
        self.queue
            .iter()
            .any(|pending| matches!(pending.kind, RequestKind::Finish { .. }))
    }

    /// Whether there is room for more requests.
    pub fn can_accept(&self) -> bool {
        self.lines_bytes < LINES_MAX_BYTES && self.queue.len() < REQUESTS_MAX
    }

    /// The oldest unanswered request.
    pub fn oldest(&self) -> Option<&PendingRequest> {
        self.queue.front().map(Box::as_ref)
    }

    /// Registers a request and gives it an id. `is_attached`: whether the session is in another
    /// program. The lines of the request are then kept, because that program may end before it
    /// answers.
    pub fn push(&mut self, kind: RequestKind, is_setup: bool, is_attached: bool) -> Request {
        self.last_id += 1;
        let lines_bytes = lines_len_bytes(&kind);
        let (is_to_guest, resolve_ms) = match &kind {
            RequestKind::Command(UserCommand::SendToPeer {
                selector,
                timeout_ms,
                ..
            }) => match selector.guest_name() {
                Some(_) => (true, None),
                None => (false, Some(*timeout_ms)),
            },
            _ => (false, None),
        };
        let kept = match is_attached || lines_bytes == 0 {
            true => kind.clone(),
            // Only the kind of the request is of interest then.
            false => UserCommand::SendToRoom {
                room: None,
                lines: Default::default(),
                form: LineForm::Text,
            }
            .into(),
        };
        self.lines_bytes += lines_bytes;
        self.queue.push_back(Box::new(PendingRequest {
            id: self.last_id,
            sent_after: self.end_of(&kept),
            kind: kept,
            is_setup,
            line_numbers: Vec::new(),
            user_id: None,
            lines_bytes,
            is_to_guest,
            resolve_ms,
            reply: Vec::new(),
        }));
        Request::new(Some(self.id_json(self.last_id)), kind)
    }

    /// Sets the origin of the newest request: its lines of stdin, and the id that the user gave it.
    pub fn set_origin(&mut self, line_numbers: Vec<u64>, user_id: Option<String>) {
        if let Some(newest) = self.queue.back_mut() {
            (newest.line_numbers, newest.user_id) = (line_numbers, user_id);
        }
    }

    fn end_of(&self, kind: &RequestKind) -> FolderCursor {
        let folder = match kind {
            RequestKind::Command(UserCommand::SendToRoom {
                room: Some(room), ..
            }) => FolderName::from(room),
            RequestKind::Command(UserCommand::SendToPeer { .. }) => FolderName::direct(),
            _ => return FolderCursor::default(),
        };
        self.ends.get(&folder).cloned().unwrap_or_default()
    }

    /// Adds a part of the answer to a request.
    pub fn add_reply(&mut self, id: u64, kind: EventKind) {
        if let Some(pending) = self.queue.iter_mut().find(|pending| pending.id == id) {
            pending.reply.push(kind);
        }
    }

    /// Removes and returns an answered request; `None`: there is none with this id.
    pub fn remove(&mut self, id: u64) -> Option<Box<PendingRequest>> {
        let at = self.queue.iter().position(|pending| pending.id == id)?;
        let pending = self.queue.remove(at)?;
        self.lines_bytes -= pending.lines_bytes;
        Some(pending)
    }

    /// Records the last known end of a folder, unless a later end is known. A search from an
    /// earlier place could find an older line with the same text.
    pub fn record_end(&mut self, folder: FolderName, end: FolderCursor) {
        let place = |cursor: &FolderCursor| (cursor.position.segment, cursor.position.offset);
        let known = self.ends.get(&folder);
        if known.is_none_or(|known| place(known) < place(&end)) {
            self.ends.insert(folder, end);
        }
    }

    /// Records that a session has stored lines.
    pub fn record_stored(&mut self, stored: StoredLines) {
        if let Some(known) = self.stored.get_mut(&stored.log) {
            known.add(&stored);
        } else if self.stored.len() < TRACKED_LOGS_MAX {
            self.stored.insert(stored.log.clone(), stored);
        }
    }

    /// Forgets all requests, because the session does not answer.
    pub fn clear(&mut self) {
        self.queue.clear();
        self.lines_bytes = 0;
    }

    /// Removes the direct messages whose recipient is not found yet, or has not answered yet.
    /// Returns a sentence for each.
    pub fn cancel_direct(&mut self) -> Vec<String> {
        let mut cancelled = Vec::new();
        let lines_bytes = &mut self.lines_bytes;
        self.queue.retain(|pending| match &pending.kind {
            RequestKind::Command(UserCommand::SendToPeer { selector, .. }) => {
                cancelled.push(match pending.is_to_guest {
                    true => format!("not delivered to {selector}: there is no answer yet"),
                    false => format!("not sent to {selector}: not found yet"),
                });
                *lines_bytes -= pending.lines_bytes;
                false
            }
            _ => true,
        });
        cancelled
    }

    /// Drops the setup requests of the last session.
    pub fn drop_setup(&mut self) {
        self.queue.retain(|pending| !pending.is_setup);
    }

    /// The requests to pass to the next session. They await the delivery of stored lines, and
    /// repeat all unanswered requests.
    pub fn resend(&mut self) -> Vec<Request> {
        let awaits = self.stored.values().map(|stored| {
            let command = Command::AwaitDelivery {
                log: stored.log.clone(),
                first: stored.first,
                sequence: stored.sequence,
            };
            Request::new(None, UserCommand::Core(command))
        });
        let mut requests: Vec<Request> = awaits.collect();
        self.queue
            .iter_mut()
            .for_each(|pending| pending.reply.clear());
        for pending in &self.queue {
            let kind = match &pending.kind {
                RequestKind::Command(command) if sends_lines(command) => RequestKind::Resend {
                    command: command.clone(),
                    after: pending.sent_after.clone(),
                },
                kind => kind.clone(),
            };
            requests.push(Request::new(Some(self.id_json(pending.id)), kind));
        }
        requests
    }
}

impl PendingRequest {
    /// Whether the request sends lines.
    pub fn sends_lines(&self) -> bool {
        matches!(&self.kind, RequestKind::Command(command) if sends_lines(command))
    }

    /// Whether the request belongs to the setup of a session.
    pub fn is_setup(&self) -> bool {
        self.is_setup
    }

    fn changes_rooms(&self) -> bool {
        let (RequestKind::Command(UserCommand::Core(command))
        | RequestKind::Resend {
            command: UserCommand::Core(command),
            ..
        }) = &self.kind
        else {
            return false;
        };
        matches!(command, Command::Join(_) | Command::Part(_))
    }

    /// Whether even a busy session answers the request at once. False for lines, because they may
    /// wait for the store. False for queries of the history, for the backlog of several rooms and
    /// for profiles of peers, because they take time.
    pub fn is_answered_at_once(&self) -> bool {
        let is_query = match &self.kind {
            RequestKind::Command(
                UserCommand::History { .. }
                | UserCommand::Search(_)
                | UserCommand::Avatar { .. }
                | UserCommand::Trust(TrustCommand::Whois { .. }),
            ) => true,
            RequestKind::Listen(listen) => listen.backlog > 0,
            _ => false,
        };
        !is_query && !self.sends_lines()
    }

    /// How long the session may search for the recipient of a direct message, in milliseconds. 0
    /// for other requests.
    pub fn wait_ms(&self) -> u64 {
        match &self.kind {
            RequestKind::Command(UserCommand::SendToPeer { timeout_ms, .. }) => *timeout_ms,
            _ => 0,
        }
    }
}

fn lines_len_bytes(kind: &RequestKind) -> usize {
    match kind {
        RequestKind::Command(command) => lines_of(command).map_or(0, |lines| lines.len()),
        _ => 0,
    }
}
