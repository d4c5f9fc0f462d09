//! Error codes for scripts.
use std::fmt;
use std::str::FromStr;

use crate::base::name::Room;

/// The kind of an error. With `--json`, scripts read it from the field `code` of an `error` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// `room`: the room is not joined, or its folder cannot be opened.
    Room,
    /// `rooms`: this program has already joined the maximum number of rooms.
    TooManyRooms,
    /// `target`: the selector matches no peer, several peers, or this program itself.
    Target,
    /// `key`: a peer has another key than the user expects. The user gave the expected key with
    /// `--peer`, or bound the peer's name to it.
    WrongKey,
    /// `bound`: a peer claims a name that the user has bound to another key.
    BoundName,
    /// `other-key`: a peer claims a name that was first seen with another key.
    OtherKey,
    /// `absent`: lines to a peer that is not here were accepted. The peer gets them when it comes.
    Absent,
    /// `twin`: another program uses the key of this directory.
    DuplicateIdentity,
    /// `fork`: an author signed two different batches with the same sequence.
    Fork,
    /// `incarnation`: a peer stores other lines under the sequences of one of our logs. Our next
    /// lines get a new incarnation.
    Incarnation,
    /// `logs`: a room has more logs than this program can track.
    TooManyLogs,
    /// `presence`: more peers joined or left within a minute than this program shows.
    Presence,
    /// `store`: the history cannot be written.
    Store,
    /// `line`: a line of stdin is invalid.
    InvalidLine,
    /// `other-program`: a program of another protocol uses our multicast group.
    OtherProgram,
    /// `guests`: lines from guests were dropped, because there were too many.
    Guests,
    /// `unreachable`: a host of `--peer` does not answer, or its name cannot be resolved.
    Unreachable,
    /// `failed`: any other error. An IPC client also uses this value for unknown codes.
    Failed,
}

impl ErrorCode {
    const ALL: [ErrorCode; 18] = [
        ErrorCode::Room,
        ErrorCode::TooManyRooms,
        ErrorCode::Target,
        ErrorCode::WrongKey,
        ErrorCode::BoundName,
        ErrorCode::OtherKey,
        ErrorCode::Absent,
        ErrorCode::DuplicateIdentity,
        ErrorCode::Fork,
        ErrorCode::Incarnation,
        ErrorCode::TooManyLogs,
        ErrorCode::Presence,
        ErrorCode::Store,
        ErrorCode::InvalidLine,
        ErrorCode::OtherProgram,
        ErrorCode::Guests,
        ErrorCode::Unreachable,
        ErrorCode::Failed,
    ];

    /// The word for this code in JSON and on the control socket.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorCode::Room => "room",
            ErrorCode::TooManyRooms => "rooms",
            ErrorCode::Target => "target",
            ErrorCode::WrongKey => "key",
            ErrorCode::BoundName => "bound",
            ErrorCode::OtherKey => "other-key",
            ErrorCode::Absent => "absent",
            ErrorCode::DuplicateIdentity => "twin",
            ErrorCode::Fork => "fork",
            ErrorCode::Incarnation => "incarnation",
            ErrorCode::TooManyLogs => "logs",
            ErrorCode::Presence => "presence",
            ErrorCode::Store => "store",
            ErrorCode::InvalidLine => "line",
            ErrorCode::OtherProgram => "other-program",
            ErrorCode::Guests => "guests",
            ErrorCode::Unreachable => "unreachable",
            ErrorCode::Failed => "failed",
        }
    }
}

/// The text is not the word of any [`ErrorCode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseErrorCodeError;

impl FromStr for ErrorCode {
    type Err = ParseErrorCodeError;
    fn from_str(word: &str) -> Result<ErrorCode, ParseErrorCodeError> {
        ErrorCode::ALL
            .into_iter()
            .find(|code| code.as_str() == word)
            .ok_or(ParseErrorCodeError)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind of the error, for scripts.
    pub code: ErrorCode,
    /// One sentence for the user.
    pub content: String,
}

impl Refusal {
    /// Refuses a command for a room that is not joined. `room` is `None` if no room is joined at
    /// all. If `sends` is true, the command sends lines, and the refusal suggests `/join`.
    pub fn not_in_room(room: Option<&Room>, sends: bool) -> Refusal {
        let content = match (room, sends) {
            (Some(room), true) => format!("not in {room}: /join {room} first"),
            (Some(room), false) => format!("not in {room}"),
            (None, true) => "in no room: /join one first".to_owned(),
            (None, false) => "in no room".to_owned(),
        };
        Refusal {
            code: ErrorCode::Room,
            content,
        }
    }
}
