//! The events that a session emits. Every event is one line of `--json`, or text.
use std::fmt;
use std::net::{SocketAddr, SocketAddrV4};
use std::str::FromStr;
use std::sync::Arc;

use crate::base::batch::batch::{Batch, LocalFields, LogId};
use crate::base::event::load::{Position, StoredBatch};
use crate::base::event::notice::{Chat, Notice};
use crate::base::event::peer::Peer;
use crate::base::identity::NetworkTag;
use crate::base::line_key::{LineKey, ParseLineKeyError};
use crate::base::missing_lines::Delivery;
use crate::base::name::{FolderName, Nick, Room};
use crate::base::text::line_form::LineForm;
use crate::base::time::WallTime;
use crate::base::timing::Timing;
use crate::ui::chat_text::{ChatText, copy_lines};
use crate::ui::trust_command::TrustEntry;

/// The version of the protocol on `control.sock`. It changes if an old client would misunderstand.
pub const PROTOCOL_VERSION: u64 = 2;

/// Maximum number of logs in which a session awaits the delivery of lines. The session does not
/// await the delivery of lines in further logs.
pub const TRACKED_LOGS_MAX: usize = 1024;

/// An event of a session.
#[derive(Debug)]
pub struct SessionEvent {
    /// The id of the request that the event answers. `None`: the event answers no request, or a
    /// request without an id.
    pub id: Option<String>,
    /// What happened. In a box, because an event is passed on many times.
    pub kind: Box<EventKind>,
}

impl SessionEvent {
    /// An event of this kind.
    pub fn new(id: Option<String>, kind: impl Into<EventKind>) -> SessionEvent {
        let kind = Box::new(kind.into());
        SessionEvent { id, kind }
    }
}

/// What a session reports.
#[derive(Debug)]
pub enum EventKind {
    /// The session begins.
    Ready(Box<Ready>),
    /// Lines of the history.
    Chat {
        /// The lines.
        chat: ChatLines,
        /// Where a listener continues after these lines. `None`: the lines answer a request.
        cursor: Option<FolderCursor>,
    },
    /// A listener has passed lines of a folder without a `Chat` that says so. As a part of an
    /// answer: the listener begins here.
    Position {
        /// The folder.
        folder: FolderName,
        /// Where the listener continues.
        cursor: FolderCursor,
    },
    /// A change, a receipt, a gap, an error, or the answer to a command.
    Notice(Arc<Notice>),
    /// The text of `/help`.
    Help(String),
    /// The answer to /code.
    Own {
        /// Our key and name.
        own: Peer,
        /// Our connection code.
        code: String,
    },
    /// A known peer, as a part of the answer to /trust and /verify.
    Trust(TrustEntry),
    /// The name of a peer that has just become known.
    Known(Peer),
    /// How far the lines of the session are delivered. Emitted only after a `finish` request.
    Delivery(DeliveryReport),
    /// Whether a peer is linked, and whether lines must wait. Sent when one of the two changes.
    Status(Status),
    /// A request is executed.
    Done(Done),
}

/// Whether this program can send lines to a peer, or at least store them, and who would read them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether a peer is linked.
    pub has_linked_peer: bool,
    /// Whether lines must wait: no peer is linked and the store is full.
    pub is_blocked: bool,
    /// How many peers are shown as present in the session's current room.
    pub others_here: u64,
}

/// The result of an executed request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// The stored lines, if the request published lines.
    pub stored: Option<StoredLines>,
    /// The rooms of the session, with the current room first, if the request changed them.
    pub rooms: Option<Vec<Room>>,
    /// Where a listener continues in the folder of the request.
    pub cursor: Option<FolderCursor>,
}

/// Lines that a request or a session published in one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLines {
    /// The log.
    pub log: LogId,
    /// The sequence of the first stored line.
    pub first: u64,
    /// The sequence of the last stored line.
    pub sequence: u64,
}

impl StoredLines {
    /// Adds lines of the same log.
    pub fn add(&mut self, lines: &StoredLines) {
        self.first = self.first.min(lines.first);
        self.sequence = self.sequence.max(lines.sequence);
    }
}

/// How far the lines of a session are delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryReport {
    /// Whether a peer is linked.
    pub has_linked_peer: bool,
    /// The state of the delivery. Its `recheck_at` is `None`, because clients need not check again.
    /// The running program reports each change.
    pub delivery: Delivery,
    /// Which rooms lack the lines, and who lacks them there. Empty if the delivery is settled.
    pub undelivered: String,
    /// How many of the lines all have who need them, while the delivery is not settled. 0 in a
    /// build without the editor.
    pub delivered_lines: u64,
}

/// The first event of a session. It describes the running program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The version of the protocol.
    pub protocol: u64,
    /// The program's identity. The session acts as this identity.
    pub me: Peer,
    /// The TCP port on which the program listens. 0: unknown.
    pub port: u16,
    /// Milliseconds since the program started.
    pub uptime_ms: u64,
    /// Whether a peer is linked.
    pub has_linked_peer: bool,
    /// The tag of the network.
    pub network: NetworkTag,
    /// The multicast group of the beacons. `None`: no beacons are sent.
    pub multicast: Option<SocketAddrV4>,
    /// The names of the interfaces in use. Empty: all.
    pub interfaces: Vec<String>,
    /// Whether the program has a gateway map its port (`--nat`).
    pub maps_port: bool,
    /// Where hosts outside reach the port, as far as known.
    pub mapped: Option<SocketAddr>,
    /// Whether it uses multicast DNS.
    pub uses_mdns: bool,
    /// The value of its `--scan`.
    pub scan: Option<String>,
    /// Whether the program speaks LSNP.
    pub speaks_lsnp: bool,
    /// The room in which lines of LSNP's users are repeated.
    pub lsnp_room: Option<Room>,
    /// Whether the program speaks the protocol of p2pchat in Go.
    pub speaks_go: bool,
    /// The URLs of its Grapes.
    pub grapes: Vec<String>,
    /// Whether it uses the DHT of BitTorrent.
    pub uses_dht: bool,
    /// Where it finds nodes of the DHT. Empty: the public one.
    pub dht_bootstrap: Vec<String>,
    /// How often it sends beacons, and how long it waits for silent peers.
    pub timing: Timing,
}

/// Where a listener continues in a folder. Clients get it as an opaque text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderCursor {
    /// The position of the next batch.
    pub position: Position,
    /// Where the folder ended when the listener's run began to listen. Earlier runs stored the
    /// batches before this position.
    pub run_start: Position,
    /// The backlog of the folder. `None`: it has none, or `position` is beyond it. In a box,
    /// because few cursors have one.
    pub backlog: Option<Box<BacklogProgress>>,
}

/// How far the backlog of a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BacklogProgress {
    /// The last lines of this folder are requested. Where they begin is not known yet.
    Requested {
        /// How many lines.
        lines: u64,
    },
    /// The first line is known.
    Begun(BacklogCursor),
}

/// How far the backlog of a folder is emitted. The backlog consists of lines before the `run_start`
/// of its [`FolderCursor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BacklogCursor {
    /// The key of the first line of the backlog. The line may be in another folder.
    pub first: LineKey,
    /// The lines of the backlog with lower keys are emitted.
    pub end: LineKey,
    /// Whether the lines from `end` on are still to be emitted.
    pub has_more: bool,
}

impl From<Notice> for EventKind {
    fn from(notice: Notice) -> EventKind {
        EventKind::Notice(Arc::new(notice))
    }
}

impl BacklogProgress {
    /// How far a backlog with a known first line is emitted.
    pub fn begun(&self) -> Option<BacklogCursor> {
        match self {
            BacklogProgress::Begun(cursor) => Some(*cursor),
            BacklogProgress::Requested { .. } => None,
        }
    }
}

impl FolderCursor {
    /// The cursor of a listener that begins at `position`, without a backlog.
    pub fn at(position: Position) -> FolderCursor {
        FolderCursor {
            position,
            run_start: position,
            backlog: None,
        }
    }
}

impl fmt::Display for FolderCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, at) in [self.position, self.run_start].iter().enumerate() {
            let separator = if i > 0 { "-" } else { "" };
            write!(
                f,
                "{separator}{}.{}.{}",
                at.segment, at.offset, at.generation
            )?;
        }
        match self.backlog.as_deref() {
            Some(BacklogProgress::Requested { lines }) => write!(f, "-{lines}"),
            Some(BacklogProgress::Begun(BacklogCursor {
                first,
                end,
                has_more,
            })) => write!(f, "-{first}-{end}{}", if *has_more { "-more" } else { "" }),
            None => Ok(()),
        }
    }
}

/// The text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseCursorError;

impl FromStr for FolderCursor {
    type Err = ParseCursorError;
    fn from_str(text: &str) -> Result<FolderCursor, ParseCursorError> {
        let mut places = text.split('-');
        let mut next = || parse_position(places.next().ok_or(ParseCursorError)?);
        let (position, run_start) = (next()?, next()?);
        let backlog = match (places.next(), places.next()) {
            (Some(first), Some(end)) => Some(BacklogProgress::Begun(BacklogCursor {
                first: first.parse()?,
                end: end.parse()?,
                has_more: places.next().is_some(),
            })),
            (Some(lines), None) => Some(BacklogProgress::Requested {
                lines: lines.parse().map_err(|_| ParseCursorError)?,
            }),
            (None, _) => None,
        };
        Ok(FolderCursor {
            position,
            run_start,
            backlog: backlog.map(Box::new),
        })
    }
}

impl From<ParseLineKeyError> for ParseCursorError {
    fn from(_: ParseLineKeyError) -> ParseCursorError {
        ParseCursorError
    }
}

fn parse_position(text: &str) -> Result<Position, ParseCursorError> {
    let mut numbers = text.split('.').map(|number| number.parse().ok());
    let mut next = || numbers.next().flatten().ok_or(ParseCursorError);
    Ok(Position {
        segment: next()?,
        offset: next()?,
        generation: next()?,
    })
}

/// Consecutive lines of one batch, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatLines {
    /// The log of the lines.
    pub log: LogId,
    /// The name that the author claimed.
    pub username: Nick,
    /// Sequence of the first line.
    pub sequence: u64,
    /// Lamport number of the first line.
    pub lamport: u64,
    /// When the author signed the lines.
    pub timestamp: WallTime,
    /// What the lines are.
    pub form: LineForm,
    /// How the lines came to this program. `None`: only the fields that the author signed are
    /// shown.
    pub arrival: Option<Arrival>,
    /// The lines.
    pub text: ChatText,
}

/// How lines came to this program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// When the lines were received or published.
    pub received: WallTime,
    /// Whether the lines were published before the link that delivered them was established.
    pub late: bool,
    /// Whether this identity is the author.
    pub is_own: bool,
    /// Whether the lines are emitted as part of a backlog. Text then shows them as the history
    /// does.
    pub is_backlog: bool,
}

impl ChatLines {
    /// Lines of a batch, with only the fields that its author signed. `text` begins with the line
    /// whose index in the batch is `first`.
    pub fn signed(batch: &Batch, first: u64, text: ChatText) -> ChatLines {
        ChatLines {
            log: batch.log.clone(),
            username: batch.username.clone(),
            sequence: batch.sequence + first,
            lamport: batch.lamport + first,
            timestamp: batch.timestamp,
            form: batch.form,
            arrival: None,
            text,
        }
    }

    /// The place of the first line in the total order.
    pub fn key(&self) -> LineKey {
        LineKey {
            lamport: self.lamport,
            author: self.log.author,
            incarnation: self.log.incarnation,
            sequence: self.sequence,
        }
    }

    /// The time to show: of arrival, or the author's for late lines and for those of a backlog.
    pub fn shown_time(&self) -> WallTime {
        match self.arrival {
            Some(Arrival {
                received,
                late: false,
                is_backlog: false,
                ..
            }) if received != WallTime::default() => received,
            _ => self.timestamp,
        }
    }

    /// Number of lines.
    pub fn count(&self) -> u64 {
        self.text.count()
    }

    /// Appends each line with `before` in front of it, and `after` and `\n` behind it.
    pub fn append_framed(&self, before: &[u8], after: &str, out: &mut Vec<u8>) {
        // One piece stands between two lines: a pour has many short ones.
        let mut between = after.as_bytes().to_vec();
        between.push(b'\n');
        between.extend_from_slice(before);
        out.extend_from_slice(before);
        for line in self.text.lines() {
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(&between);
        }
        out.truncate(out.len() - before.len());
    }

    /// Removes the first `count` lines.
    pub fn skip_lines(&mut self, count: u64) {
        if count > 0 {
            self.keep_lines(count, u64::MAX);
            self.sequence += count;
            self.lamport += count;
        }
    }

    /// Keeps only the first `count` lines.
    pub fn truncate_lines(&mut self, count: u64) {
        self.keep_lines(0, count);
    }

    fn keep_lines(&mut self, skipped: u64, count: u64) {
        let kept = skipped..skipped.saturating_add(count);
        let mut text = String::new();
        for (i, line) in (0..).zip(self.text.lines()) {
            if kept.contains(&i) {
                text.push_str(line);
                text.push('\n');
            }
        }
        self.text = text.into();
    }
}

impl From<&Chat> for ChatLines {
    fn from(chat: &Chat) -> ChatLines {
        let text = match chat.batch.is_plain() {
            true => ChatText::Plain(Arc::clone(&chat.batch)),
            false => copy_lines(&chat.batch).into(),
        };
        ChatLines::arrived(&chat.batch, &chat.local, chat.is_own, text)
    }
}

impl ChatLines {
    /// All lines of a stored batch.
    pub fn from_stored(entry: &StoredBatch, is_own: bool) -> ChatLines {
        let text = copy_lines(&entry.batch).into();
        ChatLines::arrived(&entry.batch, &entry.local, is_own, text)
    }

    fn arrived(batch: &Batch, local: &LocalFields, is_own: bool, text: ChatText) -> ChatLines {
        ChatLines {
            arrival: Some(Arrival {
                received: local.received,
                late: local.late,
                is_own,
                is_backlog: false,
            }),
            ..ChatLines::signed(batch, 0, text)
        }
    }
}
