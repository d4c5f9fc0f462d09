//! Parses the words of a message's line as names, rooms, ids and numbers.
use std::fmt::{self, Display};
use std::str::{FromStr, Split};

use crate::base::batch::LogId;
use crate::base::error_code::ErrorCode;
use crate::base::event::{Peer, Position};
use crate::base::name::{FolderName, Nick, Room, Target};
use crate::base::time::WallTime;
use crate::shell::session::reply_format::ReplyFormat;

/// Displays a log as three words: target, author and incarnation.
pub struct LogIdWords<'a>(pub &'a LogId);

impl Display for LogIdWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LogId {
            target,
            author,
            incarnation,
        } = self.0;
        write!(f, "{target} {author} {incarnation}")
    }
}

/// Reads the words of a message one by one. Each method takes the next word or words. `None`: a
/// word is missing or malformed.
pub struct WordParser<'a>(Split<'a, char>);

impl<'a> WordParser<'a> {
    /// A parser of the words in `header`.
    pub fn new(header: &'a str) -> WordParser<'a> {
        WordParser(header.split(' '))
    }

    /// The next word, without parsing it.
    pub fn next_word(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    /// The next word, parsed as `T`.
    pub fn parse_next<T: FromStr>(&mut self) -> Option<T> {
        self.0.next()?.parse().ok()
    }

    /// All words that are not read yet.
    pub fn rest(&mut self) -> Vec<String> {
        (self.0.by_ref())
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// A room's name.
    pub fn room(&mut self) -> Option<Room> {
        Room::new(self.0.next()?).ok()
    }

    /// A folder of the history.
    pub fn folder(&mut self) -> Option<FolderName> {
        FolderName::parse(self.0.next()?)
    }

    /// A target of lines: a room or a peer.
    pub fn target(&mut self) -> Option<Target> {
        Target::parse(self.0.next()?)
    }

    /// A peer: its id and nick.
    pub fn peer(&mut self) -> Option<Peer> {
        Some(Peer {
            id: self.parse_next()?,
            nick: self.nick()?,
        })
    }

    /// A nick. An invalid nick is replaced: see [`Nick::new_or_placeholder`].
    pub fn nick(&mut self) -> Option<Nick> {
        Some(Nick::new_or_placeholder(self.0.next()?))
    }

    /// A log, as written by [`LogIdWords`].
    pub fn log(&mut self) -> Option<LogId> {
        Some(LogId {
            target: self.target()?,
            author: self.parse_next()?,
            incarnation: self.parse_next()?,
        })
    }

    /// A time, in milliseconds since 1970.
    pub fn wall_time(&mut self) -> Option<WallTime> {
        self.parse_next().map(WallTime)
    }

    /// A position in a folder: segment, offset and generation.
    pub fn position(&mut self) -> Option<Position> {
        Some(Position {
            segment: self.parse_next()?,
            offset: self.parse_next()?,
            generation: self.parse_next()?,
        })
    }

    /// The format of a reply. An unknown word counts as JSON.
    pub fn reply_format(&mut self) -> Option<ReplyFormat> {
        Some(match self.next_word()? {
            "rows" => ReplyFormat::Rows,
            "table" => ReplyFormat::Table,
            _ => ReplyFormat::Json,
        })
    }

    /// An error code. An unknown word counts as [`ErrorCode::Failed`].
    pub fn error_code(&mut self) -> Option<ErrorCode> {
        let word = self.next_word()?;
        Some(word.parse().unwrap_or(ErrorCode::Failed))
    }
}
