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
use crate::base::event::{Delivery, Notice, Peer, Position};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::lines::Lines;
use crate::base::name::{Folder, Nick, Room, Target, Whom};
use crate::base::time::Wall;
use crate::ui::text;
use crate::wire::code::Place;

/// Longest line of words, in bytes.
const LINE_MAX: usize = 16 * 1024;
/// Most bytes behind a line that a client may send; a batch of lines is less.
pub const REQUEST_MAX: usize = 128 * 1024;
/// Most bytes behind a line of the running program: a table of thousands of peers.
pub const ANSWER_MAX: usize = 16 * 1024 * 1024;

/// What the running program is, as those who come through it are told first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    pub me: Peer,
    pub port: u16,
    /// Milliseconds since it started.
    pub age: u64,
    /// It prints the transcript itself.
    pub prints: bool,
    /// Somebody was linked.
    pub met: bool,
    pub network: NetworkTag,
    pub multicast: Option<SocketAddrV4>,
    pub interfaces: Vec<String>,
}

/// How an answer is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Rows,
    Table,
    Json,
}

impl Form {
    pub fn as_str(self) -> &'static str {
        match self {
            Form::Rows => "rows",
            Form::Table => "table",
            Form::Json => "json",
        }
    }
}

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// The room's history is to be followed; the program joins it if it isn't in it.
    Join(Room),
    /// The history of the direct messages is to be followed.
    Direct,
    /// It is to be followed no more; the program stays in it.
    Part(Room),
    /// Tell also what is no chat.
    Follow,
    /// A peer is perhaps there.
    Dial(Place),
    Say {
        target: Target,
        lines: Lines,
        action: bool,
    },
    /// To whom a name leads, and for how many milliseconds whoever is meant may yet come.
    Find(Whom, u64),
    Nick(Nick),
    Peers(Form),
    Stats(Form),
    /// Direct messages were shown on a terminal, up to this line.
    Shown(LogId, u64),
    /// Lines accepted by an earlier program are to be waited for, too.
    Await(LogId, u64),
    /// No more will be said: tell how far it has come.
    Finish(Option<u64>),
}

/// What the running program tells.
#[derive(Debug)]
pub enum Told {
    Welcome(Box<Welcome>),
    /// This part of the history stands open up to there.
    Joined(Folder, Position),
    /// There are too many rooms.
    Unjoined(Room),
    /// It is not followed any more; all of it until then was told.
    Parted(Room),
    /// This part of the history ends here now.
    End(Folder, Position),
    /// A name by which a peer was met.
    Known(Peer),
    /// Who is meant: the answer to the oldest [`Request::Find`].
    Found(PeerId),
    /// The oldest [`Request::Say`] that was not answered is stored, up to this line.
    Accepted(LogId, u64),
    /// That one never will be.
    Refused,
    /// Nobody is found: a code for scripts and why.
    Lost(&'static str, String),
    Delivery {
        met: bool,
        delivery: Delivery,
    },
    /// So many peers, in the form that was asked for.
    Peers(u64, Vec<u8>),
    /// What was counted, in the form that was asked for.
    Stats(Vec<u8>),
    Notice(Notice),
}

/// A line of words.
pub fn put(out: &mut Vec<u8>, words: Arguments<'_>) {
    // Writing to a `Vec` cannot fail.
    let _ = out.write_fmt(words);
    out.push(b'\n');
}

/// A line of words, and bytes behind it.
pub fn put_with(out: &mut Vec<u8>, words: impl Display, bytes: &[u8]) {
    put(out, format_args!("{words} *{}", bytes.len()));
    out.extend_from_slice(bytes);
}

pub fn put_say(out: &mut Vec<u8>, target: &Target, lines: &Lines, action: bool) {
    let mut text = Vec::with_capacity(lines.len());
    for line in lines.iter() {
        text.extend_from_slice(line.as_bytes());
        // One `\r` is taken for a part of the line's end: it must not be the line's own.
        text.extend_from_slice(b"\r\n");
    }
    put_with(out, format_args!("say {target} {action}"), &text);
}

pub fn put_dial(out: &mut Vec<u8>, place: &Place) {
    let peer = place.peer.map(|peer| peer.to_string());
    let peer = peer.as_deref().unwrap_or("-");
    put_with(
        out,
        format_args!("dial {} {peer}", place.port),
        place.host.as_bytes(),
    );
}

pub fn put_find(out: &mut Vec<u8>, whom: &Whom, within: u64) {
    put(out, format_args!("find {within} {whom}"));
}

pub fn put_position(out: &mut Vec<u8>, word: &str, folder: &Folder, at: Position) {
    let (segment, offset, generation) = (at.segment, at.offset, at.generation);
    let folder = folder.as_str();
    put(
        out,
        format_args!("{word} {folder} {segment} {offset} {generation}"),
    );
}

pub fn put_welcome(out: &mut Vec<u8>, welcome: &Welcome) {
    let me = &welcome.me;
    let group = welcome.multicast.map(|group| group.to_string());
    put(
        out,
        format_args!(
            "welcome {} {} {} {} {} {} {} {} {}",
            me.id,
            me.nick,
            welcome.port,
            welcome.age,
            welcome.prints,
            welcome.met,
            welcome.network,
            group.as_deref().unwrap_or("none"),
            welcome.interfaces.join(" ")
        ),
    );
}

/// A log as three words.
pub struct Log<'a>(pub &'a LogId);

impl Display for Log<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {}",
            self.0.target, self.0.author, self.0.incarnation
        )
    }
}

/// False: this is not for others.
pub fn put_notice(out: &mut Vec<u8>, notice: &Notice) -> bool {
    match notice {
        Notice::Joined { room, peer, at } => put(
            out,
            format_args!("join {room} {} {} {}", peer.id, peer.nick, at.0),
        ),
        Notice::Left { room, peer, at } => put(
            out,
            format_args!("leave {room} {} {} {}", peer.id, peer.nick, at.0),
        ),
        Notice::Renamed {
            room,
            peer,
            old,
            at,
        } => put(
            out,
            format_args!("nick {room} {} {} {} {old}", peer.id, peer.nick, at.0),
        ),
        Notice::Delivered {
            log,
            sequence,
            peer,
        } => put(
            out,
            format_args!(
                "delivered {} {} {} {} {sequence}",
                log.target,
                peer.id,
                peer.nick,
                Log(log)
            ),
        ),
        Notice::Read {
            log,
            sequence,
            peer,
            at,
        } => put(
            out,
            format_args!(
                "read {} {} {} {} {sequence} {}",
                log.target,
                peer.id,
                peer.nick,
                Log(log),
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
        } => put(
            out,
            format_args!(
                "gap {target} {} {} {} {incarnation} {from} {to}",
                author.id, author.nick, at.0
            ),
        ),
        Notice::OtherKey { .. } | Notice::Twin { .. } => {
            let sentence = text::warning(notice).unwrap_or_default();
            put_with(out, "error warning", sentence.as_bytes());
        }
        Notice::Error { code, content } => {
            put_with(out, format_args!("error {code}"), content.as_bytes());
        }
        _ => return false,
    }
    true
}

/// A message taken from the front of what came in.
pub struct Message {
    line: String,
    bytes: Vec<u8>,
}

/// The other side says what nobody understands.
#[derive(Debug)]
pub struct Garbled;

impl Message {
    /// `None`: it is not whole yet.
    ///
    /// # Errors
    /// It is no message, or has more than `max` bytes behind its line.
    pub fn take(buffer: &mut Vec<u8>, max: usize) -> Result<Option<Message>, Garbled> {
        let Some(end) = buffer.iter().take(LINE_MAX).position(|b| *b == b'\n') else {
            return if buffer.len() < LINE_MAX {
                Ok(None)
            } else {
                Err(Garbled)
            };
        };
        let (line, rest) = buffer.split_at(end);
        let mut line = std::str::from_utf8(line).map_err(|_| Garbled)?;
        let mut length = 0;
        if let Some((words, bytes)) = line.rsplit_once(" *") {
            length = bytes.parse().map_err(|_| Garbled)?;
            line = words;
        }
        if length > max {
            return Err(Garbled);
        }
        let Some(bytes) = rest.get(1..length + 1) else {
            return Ok(None);
        };
        let message = Message {
            line: line.to_owned(),
            bytes: bytes.to_vec(),
        };
        buffer.drain(..end + 1 + length);
        Ok(Some(message))
    }

    /// As said by a client.
    pub fn request(self) -> Option<Request> {
        let mut words = Words(self.line.split(' '));
        Some(match words.text()? {
            "join" => Request::Join(words.room()?),
            "direct" => Request::Direct,
            "part" => Request::Part(words.room()?),
            "follow" => Request::Follow,
            "say" => {
                let (target, action) = (Target::parse(words.text()?)?, words.next()?);
                let mut lines = Lines::default();
                for line in self.bytes.strip_suffix(b"\n")?.split(|b| *b == b'\n') {
                    lines.push(line).ok()?;
                }
                Request::Say {
                    target,
                    lines,
                    action,
                }
            }
            "find" => {
                let within = words.next()?;
                Request::Find(Whom::parse(words.text()?).ok()?, within)
            }
            "dial" => Request::Dial(Place {
                port: words.next()?,
                peer: words.next(),
                host: String::from_utf8(self.bytes).ok()?,
            }),
            "nick" => Request::Nick(Nick::new(words.text()?).ok()?),
            "peers" => Request::Peers(words.form()?),
            "stats" => Request::Stats(words.form()?),
            "shown" => Request::Shown(words.log()?, words.next()?),
            "await" => Request::Await(words.log()?, words.next()?),
            "finish" => Request::Finish(words.next()),
            _ => return None,
        })
    }

    /// As said by the running program.
    pub fn told(self) -> Option<Told> {
        let mut words = Words(self.line.split(' '));
        Some(match words.text()? {
            "welcome" => Told::Welcome(Box::new(words.welcome()?)),
            "joined" => Told::Joined(words.folder()?, words.position()?),
            "unjoined" => Told::Unjoined(words.room()?),
            "parted" => Told::Parted(words.room()?),
            "end" => Told::End(words.folder()?, words.position()?),
            "known" => Told::Known(words.peer()?),
            "accepted" => Told::Accepted(words.log()?, words.next()?),
            "refused" => Told::Refused,
            "found" => Told::Found(words.next()?),
            "lost" => {
                let code = words.text()?;
                Told::Lost(known_code(code), String::from_utf8(self.bytes).ok()?)
            }
            "delivery" => Told::Delivery {
                met: words.next()?,
                delivery: Delivery {
                    linked: words.next()?,
                    holding: words.next()?,
                    needed: words.next()?,
                    lacking: words.next()?,
                    settled: words.next()?,
                    again: None,
                },
            },
            "peers" => Told::Peers(words.next()?, self.bytes),
            "stats" => Told::Stats(self.bytes),
            word => Told::Notice(words.notice(word, self.bytes)?),
        })
    }
}

fn known_code(code: &str) -> &'static str {
    let known = ["room", "rooms", "warning", "target", "key"];
    known
        .into_iter()
        .find(|known| *known == code)
        .unwrap_or("failed")
}

/// The words of a line that are still to be read.
struct Words<'a>(Split<'a, char>);

impl<'a> Words<'a> {
    fn form(&mut self) -> Option<Form> {
        Some(match self.text()? {
            "rows" => Form::Rows,
            "table" => Form::Table,
            _ => Form::Json,
        })
    }

    fn text(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    fn next<T: FromStr>(&mut self) -> Option<T> {
        self.0.next()?.parse().ok()
    }

    fn room(&mut self) -> Option<Room> {
        Room::new(self.0.next()?).ok()
    }

    fn folder(&mut self) -> Option<Folder> {
        Folder::named(self.0.next()?)
    }

    fn peer(&mut self) -> Option<Peer> {
        Some(Peer {
            id: self.next()?,
            nick: Nick::foreign(self.0.next()?),
        })
    }

    fn log(&mut self) -> Option<LogId> {
        Some(LogId {
            target: Target::parse(self.text()?)?,
            author: self.next()?,
            incarnation: self.next()?,
        })
    }

    fn wall(&mut self) -> Option<Wall> {
        self.next().map(Wall)
    }

    fn position(&mut self) -> Option<Position> {
        Some(Position {
            segment: self.next()?,
            offset: self.next()?,
            generation: self.next()?,
        })
    }

    fn welcome(&mut self) -> Option<Welcome> {
        Some(Welcome {
            me: self.peer()?,
            port: self.next()?,
            age: self.next()?,
            prints: self.next()?,
            met: self.next()?,
            network: {
                let tag = HEXLOWER.decode(self.text()?.as_bytes()).ok()?;
                NetworkTag(tag.try_into().ok()?)
            },
            multicast: self.next(),
            interfaces: (self.0.by_ref())
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    }

    fn notice(&mut self, word: &str, bytes: Vec<u8>) -> Option<Notice> {
        if word == "error" {
            let code = self.text()?;
            return Some(Notice::Error {
                code: known_code(code),
                content: String::from_utf8(bytes).ok()?,
            });
        }
        let target = Target::parse(self.text()?)?;
        let peer = self.peer()?;
        if word == "delivered" {
            return Some(Notice::Delivered {
                peer,
                log: self.log()?,
                sequence: self.next()?,
            });
        }
        if word == "read" {
            return Some(Notice::Read {
                peer,
                log: self.log()?,
                sequence: self.next()?,
                at: self.wall()?,
            });
        }
        let at = self.wall()?;
        if word == "gap" {
            return Some(Notice::Gap {
                target,
                author: peer,
                incarnation: self.next()?,
                from: self.next()?,
                to: self.next()?,
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
                old: Nick::foreign(self.text()?),
                at,
            },
            _ => return None,
        })
    }
}
