//! What the program that runs in a directory and those that act through it say to each other over `control.sock`.
//!
//! A message is one line of words with a blank between them; if the last word is `*N`, N bytes follow the line. Names, rooms, ids and
//! numbers hold no blank and begin with no `*`, so nothing needs an escape. Lines that were said do not travel: both sides read them from the history, and the
//! running program only tells how far that goes.
use std::fmt::{self, Arguments, Display};
use std::io::Write as _;
use std::net::SocketAddrV4;
use std::str::{FromStr, Split};

use data_encoding::HEXLOWER;

use crate::base::batch::LogId;
use crate::base::error_code::{ErrorCode, Refusal};
use crate::base::event::{Delivery, Notice, Peer, Position};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::lines::Lines;
use crate::base::name::{FolderName, Nick, PeerSelector, Room, Target};
use crate::base::time::WallTime;
use crate::shell::session::reply_format::ReplyFormat;
use crate::ui::diagnostic;
use crate::wire::code::Endpoint;

/// Longest line of words, in bytes.
const HEADER_MAX_BYTES: usize = 16 * 1024;
/// Most bytes behind a line that a client may send; a batch of lines is less.
pub const REQUEST_BODY_MAX_BYTES: usize = 128 * 1024;
/// Most bytes behind a line of the running program: a table of thousands of peers.
pub const RESPONSE_BODY_MAX_BYTES: usize = 16 * 1024 * 1024;

/// What the running program is, as those who come through it are told first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    pub me: Peer,
    pub port: u16,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// It prints the transcript itself.
    pub is_printing_transcript: bool,
    /// Somebody was linked.
    pub has_linked_peer: bool,
    pub network: NetworkTag,
    pub multicast: Option<SocketAddrV4>,
    pub interfaces: Vec<String>,
}

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// The room's history is to be followed; the program joins it if it isn't in it.
    Join(Room),
    /// The history of the direct messages is to be followed.
    FollowDirect,
    /// It is to be followed no more; the program stays in it.
    Part(Room),
    /// Tell also what is no chat.
    FollowNotices,
    /// A peer is perhaps there.
    Dial(Endpoint),
    Send {
        target: Target,
        lines: Lines,
        action: bool,
    },
    /// To whom a name leads, and for how many milliseconds whoever is meant may yet come.
    Resolve(PeerSelector, u64),
    SetNick(Nick),
    ListPeers(ReplyFormat),
    GetStats(ReplyFormat),
    /// Direct messages were shown on a terminal, up to this line.
    MarkRead(LogId, u64),
    /// Lines accepted by an earlier program are to be waited for, too.
    AwaitDelivery(LogId, u64),
    /// No more will be said: tell how far it has come.
    Finish(Option<u64>),
}

/// What the running program tells.
#[derive(Debug)]
pub enum Response {
    Welcome(Box<Welcome>),
    /// This part of the history stands open up to there.
    FolderOpened(FolderName, Position),
    /// There are too many rooms.
    JoinRefused(Room),
    /// It is not followed any more; all of it until then was told.
    Parted(Room),
    /// This part of the history ends here now.
    FolderEnd(FolderName, Position),
    /// A name by which a peer was met.
    PeerNick(Peer),
    /// Who is meant: the answer to the oldest [`Request::Find`].
    Resolved(PeerId),
    /// The oldest [`Request::Say`] that was not answered is stored, up to this line.
    Accepted(LogId, u64),
    /// That one never will be.
    Rejected,
    /// Nobody is found: a code for scripts and why.
    ResolveFailed(Refusal),
    Delivery {
        has_linked_peer: bool,
        delivery: Delivery,
    },
    /// So many peers, in the form that was asked for.
    Peers(u64, Vec<u8>),
    /// What was counted, in the form that was asked for.
    Stats(Vec<u8>),
    Notice(Notice),
}

/// A line of words.
pub fn encode_header(out: &mut Vec<u8>, words: Arguments<'_>) {
    // Writing to a `Vec` cannot fail.
    let _ = out.write_fmt(words);
    out.push(b'\n');
}

/// A line of words, and bytes behind it.
pub fn encode_with_body(out: &mut Vec<u8>, words: impl Display, bytes: &[u8]) {
    encode_header(out, format_args!("{words} *{}", bytes.len()));
    out.extend_from_slice(bytes);
}

pub fn encode_send(out: &mut Vec<u8>, target: &Target, lines: &Lines, action: bool) {
    let mut text = Vec::with_capacity(lines.len());
    for line in lines.iter() {
        text.extend_from_slice(line.as_bytes());
        // One `\r` is taken for a part of the line's end: it must not be the line's own.
        text.extend_from_slice(b"\r\n");
    }
    encode_with_body(out, format_args!("say {target} {action}"), &text);
}

pub fn encode_dial(out: &mut Vec<u8>, place: &Endpoint) {
    let peer = place.peer.map(|peer| peer.to_string());
    let peer = peer.as_deref().unwrap_or("-");
    encode_with_body(
        out,
        format_args!("dial {} {peer}", place.port),
        place.host.as_bytes(),
    );
}

pub fn encode_resolve(out: &mut Vec<u8>, whom: &PeerSelector, within: u64) {
    encode_header(out, format_args!("find {within} {whom}"));
}

pub fn encode_position(out: &mut Vec<u8>, word: &str, folder: &FolderName, at: Position) {
    let (segment, offset, generation) = (at.segment, at.offset, at.generation);
    let folder = folder.as_str();
    encode_header(
        out,
        format_args!("{word} {folder} {segment} {offset} {generation}"),
    );
}

pub fn encode_welcome(out: &mut Vec<u8>, welcome: &Welcome) {
    let me = &welcome.me;
    let group = welcome.multicast.map(|group| group.to_string());
    encode_header(
        out,
        format_args!(
            "welcome {} {} {} {} {} {} {} {} {}",
            me.id,
            me.nick,
            welcome.port,
            welcome.uptime_ms,
            welcome.is_printing_transcript,
            welcome.has_linked_peer,
            welcome.network,
            group.as_deref().unwrap_or("none"),
            welcome.interfaces.join(" ")
        ),
    );
}

/// A log as three words.
pub struct LogIdWords<'a>(pub &'a LogId);

impl Display for LogIdWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {}",
            self.0.target, self.0.author, self.0.incarnation
        )
    }
}

/// False: this is not for others.
pub fn encode_notice(out: &mut Vec<u8>, notice: &Notice) -> bool {
    match notice {
        Notice::Joined { room, peer, at } => encode_header(
            out,
            format_args!("join {room} {} {} {}", peer.id, peer.nick, at.0),
        ),
        Notice::Left { room, peer, at } => encode_header(
            out,
            format_args!("leave {room} {} {} {}", peer.id, peer.nick, at.0),
        ),
        Notice::Renamed {
            room,
            peer,
            old,
            at,
        } => encode_header(
            out,
            format_args!("nick {room} {} {} {} {old}", peer.id, peer.nick, at.0),
        ),
        Notice::Delivered {
            log,
            sequence,
            peer,
        } => encode_header(
            out,
            format_args!(
                "delivered {} {} {} {} {sequence}",
                log.target,
                peer.id,
                peer.nick,
                LogIdWords(log)
            ),
        ),
        Notice::Read {
            log,
            sequence,
            peer,
            at,
        } => encode_header(
            out,
            format_args!(
                "read {} {} {} {} {sequence} {}",
                log.target,
                peer.id,
                peer.nick,
                LogIdWords(log),
                at.0
            ),
        ),
        Notice::Gap {
            target,
            author,
            incarnation,
            from,
            to,
            at,
        } => encode_header(
            out,
            format_args!(
                "gap {target} {} {} {} {incarnation} {from} {to}",
                author.id, author.nick, at.0
            ),
        ),
        Notice::KeyMismatch { .. } | Notice::DuplicateIdentity { .. } => {
            let sentence = diagnostic::notice_warning(notice).unwrap_or_default();
            encode_with_body(out, "error warning", sentence.as_bytes());
        }
        Notice::Error { code, content } => {
            encode_with_body(out, format_args!("error {code}"), content.as_bytes());
        }
        _ => return false,
    }
    true
}

/// A message taken from the front of what came in.
pub struct IpcMessage {
    header: String,
    body: Vec<u8>,
}

/// The other side says what nobody understands.
#[derive(Debug)]
pub struct MalformedMessage;

impl IpcMessage {
    /// `None`: it is not whole yet.
    ///
    /// # Errors
    /// It is no message, or has more than `max` bytes behind its line.
    pub fn decode(
        buffer: &mut Vec<u8>,
        max: usize,
    ) -> Result<Option<IpcMessage>, MalformedMessage> {
        let Some(end) = buffer
            .iter()
            .take(HEADER_MAX_BYTES)
            .position(|b| *b == b'\n')
        else {
            return if buffer.len() < HEADER_MAX_BYTES {
                Ok(None)
            } else {
                Err(MalformedMessage)
            };
        };
        let (line, rest) = buffer.split_at(end);
        let mut line = std::str::from_utf8(line).map_err(|_| MalformedMessage)?;
        let mut length = 0;
        if let Some((words, bytes)) = line.rsplit_once(" *") {
            length = bytes.parse().map_err(|_| MalformedMessage)?;
            line = words;
        }
        if length > max {
            return Err(MalformedMessage);
        }
        let Some(bytes) = rest.get(1..length + 1) else {
            return Ok(None);
        };
        let message = IpcMessage {
            header: line.to_owned(),
            body: bytes.to_vec(),
        };
        buffer.drain(..end + 1 + length);
        Ok(Some(message))
    }

    /// As said by a client.
    pub fn into_request(self) -> Option<Request> {
        let mut words = WordParser(self.header.split(' '));
        Some(match words.next_word()? {
            "join" => Request::Join(words.room()?),
            "direct" => Request::FollowDirect,
            "part" => Request::Part(words.room()?),
            "follow" => Request::FollowNotices,
            "say" => {
                let (target, action) = (Target::parse(words.next_word()?)?, words.parse_next()?);
                let mut lines = Lines::default();
                for line in self.body.strip_suffix(b"\n")?.split(|b| *b == b'\n') {
                    lines.push(line).ok()?;
                }
                Request::Send {
                    target,
                    lines,
                    action,
                }
            }
            "find" => {
                let within = words.parse_next()?;
                Request::Resolve(PeerSelector::parse(words.next_word()?).ok()?, within)
            }
            "dial" => Request::Dial(Endpoint {
                port: words.parse_next()?,
                peer: words.parse_next(),
                host: String::from_utf8(self.body).ok()?,
            }),
            "nick" => Request::SetNick(Nick::new(words.next_word()?).ok()?),
            "peers" => Request::ListPeers(words.reply_format()?),
            "stats" => Request::GetStats(words.reply_format()?),
            "shown" => Request::MarkRead(words.log()?, words.parse_next()?),
            "await" => Request::AwaitDelivery(words.log()?, words.parse_next()?),
            "finish" => Request::Finish(words.parse_next()),
            _ => return None,
        })
    }

    /// As said by the running program.
    pub fn into_response(self) -> Option<Response> {
        let mut words = WordParser(self.header.split(' '));
        Some(match words.next_word()? {
            "welcome" => Response::Welcome(Box::new(words.welcome()?)),
            "joined" => Response::FolderOpened(words.folder()?, words.position()?),
            "unjoined" => Response::JoinRefused(words.room()?),
            "parted" => Response::Parted(words.room()?),
            "end" => Response::FolderEnd(words.folder()?, words.position()?),
            "known" => Response::PeerNick(words.peer()?),
            "accepted" => Response::Accepted(words.log()?, words.parse_next()?),
            "refused" => Response::Rejected,
            "found" => Response::Resolved(words.parse_next()?),
            "lost" => {
                let code = words.error_code()?;
                let content = String::from_utf8(self.body).ok()?;
                Response::ResolveFailed(Refusal { code, content })
            }
            "delivery" => Response::Delivery {
                has_linked_peer: words.parse_next()?,
                delivery: Delivery {
                    linked_peers: words.parse_next()?,
                    acked_peers: words.parse_next()?,
                    required_peers: words.parse_next()?,
                    has_undelivered: words.parse_next()?,
                    is_settled: words.parse_next()?,
                    recheck_at: None,
                },
            },
            "peers" => Response::Peers(words.parse_next()?, self.body),
            "stats" => Response::Stats(self.body),
            word => Response::Notice(words.notice(word, self.body)?),
        })
    }
}

/// The words of a line that are still to be read.
struct WordParser<'a>(Split<'a, char>);

impl<'a> WordParser<'a> {
    fn reply_format(&mut self) -> Option<ReplyFormat> {
        Some(match self.next_word()? {
            "rows" => ReplyFormat::Rows,
            "table" => ReplyFormat::Table,
            _ => ReplyFormat::Json,
        })
    }

    fn next_word(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    fn parse_next<T: FromStr>(&mut self) -> Option<T> {
        self.0.next()?.parse().ok()
    }

    fn room(&mut self) -> Option<Room> {
        Room::new(self.0.next()?).ok()
    }

    fn folder(&mut self) -> Option<FolderName> {
        FolderName::parse(self.0.next()?)
    }

    fn peer(&mut self) -> Option<Peer> {
        Some(Peer {
            id: self.parse_next()?,
            nick: Nick::new_or_placeholder(self.0.next()?),
        })
    }

    fn log(&mut self) -> Option<LogId> {
        Some(LogId {
            target: Target::parse(self.next_word()?)?,
            author: self.parse_next()?,
            incarnation: self.parse_next()?,
        })
    }

    fn wall_time(&mut self) -> Option<WallTime> {
        self.parse_next().map(WallTime)
    }

    fn position(&mut self) -> Option<Position> {
        Some(Position {
            segment: self.parse_next()?,
            offset: self.parse_next()?,
            generation: self.parse_next()?,
        })
    }

    fn welcome(&mut self) -> Option<Welcome> {
        Some(Welcome {
            me: self.peer()?,
            port: self.parse_next()?,
            uptime_ms: self.parse_next()?,
            is_printing_transcript: self.parse_next()?,
            has_linked_peer: self.parse_next()?,
            network: {
                let tag = HEXLOWER.decode(self.next_word()?.as_bytes()).ok()?;
                NetworkTag(tag.try_into().ok()?)
            },
            multicast: self.parse_next(),
            interfaces: (self.0.by_ref())
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    }

    fn error_code(&mut self) -> Option<ErrorCode> {
        let word = self.next_word()?;
        Some(word.parse().unwrap_or(ErrorCode::Failed))
    }

    fn notice(&mut self, word: &str, bytes: Vec<u8>) -> Option<Notice> {
        if word == "error" {
            return Some(Notice::Error {
                code: self.error_code()?,
                content: String::from_utf8(bytes).ok()?,
            });
        }
        let target = Target::parse(self.next_word()?)?;
        let peer = self.peer()?;
        if word == "delivered" {
            return Some(Notice::Delivered {
                peer,
                log: self.log()?,
                sequence: self.parse_next()?,
            });
        }
        if word == "read" {
            return Some(Notice::Read {
                peer,
                log: self.log()?,
                sequence: self.parse_next()?,
                at: self.wall_time()?,
            });
        }
        let at = self.wall_time()?;
        if word == "gap" {
            return Some(Notice::Gap {
                target,
                author: peer,
                incarnation: self.parse_next()?,
                from: self.parse_next()?,
                to: self.parse_next()?,
                at,
            });
        }
        let room = target.room()?.clone();
        Some(match word {
            "join" => Notice::Joined { room, peer, at },
            "leave" => Notice::Left { room, peer, at },
            "nick" => Notice::Renamed {
                room,
                peer,
                old: Nick::new_or_placeholder(self.next_word()?),
                at,
            },
            _ => return None,
        })
    }
}
