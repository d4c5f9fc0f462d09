//! The requests of a client to the server.
use crate::base::batch::LogId;
use crate::base::lines::Lines;
use crate::base::name::{Nick, PeerSelector, Room, Target};
use crate::shell::ipc::message::message::{IpcMessage, encode_header, encode_with_body};
use crate::shell::ipc::message::word_parser::{LogIdWords, WordParser};
use crate::shell::session::reply_format::ReplyFormat;
use crate::wire::code::Endpoint;

/// Limit of the body of a request, in bytes. The lines of one batch are always shorter.
pub const REQUEST_BODY_MAX_BYTES: usize = 128 * 1024;

/// How many peers must store a client's lines before the client's run is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequiredPeers {
    /// Every peer known to be in the rooms. At least one peer must store the lines.
    All,
    /// This many peers.
    Count(u64),
}

impl RequiredPeers {
    /// The meaning of the option `--need`: `count` is its number, and `None` means all peers.
    pub fn from_count(count: Option<u64>) -> RequiredPeers {
        count.map_or(RequiredPeers::All, RequiredPeers::Count)
    }

    /// The required number of peers. `None` means all peers.
    pub fn count(self) -> Option<u64> {
        match self {
            RequiredPeers::All => None,
            RequiredPeers::Count(count) => Some(count),
        }
    }
}

/// A request of a client to the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// Follow the room's folder. If the server is not in the room, it joins the room first.
    /// Answered by [`FolderOpened`](super::response::Response::FolderOpened) or
    /// [`JoinRefused`](super::response::Response::JoinRefused).
    Join(Room),
    /// Follow the folder of direct messages. Answered by
    /// [`FolderOpened`](super::response::Response::FolderOpened).
    FollowDirect,
    /// Stop following the room's folder. The server itself stays in the room. Answered by
    /// [`Parted`](super::response::Response::Parted).
    Part(Room),
    /// Send this client notices, in addition to
    /// [`FolderEnd`](super::response::Response::FolderEnd).
    FollowNotices,
    /// Add a static peer to those of the server.
    Dial(Endpoint),
    /// Publish lines. Answered by [`Accepted`](super::response::Response::Accepted) or
    /// [`Rejected`](super::response::Response::Rejected).
    Send {
        /// The room or the recipient of the lines.
        target: Target,
        /// The lines, at most one batch.
        lines: Lines,
        /// Whether the lines are actions, which the command /me sends.
        action: bool,
    },
    /// Find the peer that the selector names. Answered by
    /// [`Resolved`](super::response::Response::Resolved) or
    /// [`ResolveFailed`](super::response::Response::ResolveFailed).
    Resolve {
        /// The selector, as the user typed it.
        selector: PeerSelector,
        /// How long the server waits for a peer that the selector names, in milliseconds.
        timeout_ms: u64,
    },
    /// Change the nick of the server's identity.
    SetNick(Nick),
    /// List the peers in this format. Answered by [`Peers`](super::response::Response::Peers).
    ListPeers(ReplyFormat),
    /// List the counters in this format. Answered by [`Stats`](super::response::Response::Stats).
    GetStats(ReplyFormat),
    /// Record that a terminal has shown direct messages that were sent to us.
    MarkRead {
        /// The log of the messages. The sender of the messages is its author.
        log: LogId,
        /// The highest sequence of the shown messages.
        sequence: u64,
    },
    /// Report the delivery of these lines too. An earlier server stored the lines for this client.
    AwaitDelivery {
        /// The log that contains these lines.
        log: LogId,
        /// The highest sequence of these lines.
        sequence: u64,
    },
    /// Declare that this client sends no more lines. From now on the server reports the delivery of
    /// the client's lines, as [`Delivery`](super::response::Response::Delivery).
    Finish(RequiredPeers),
}

/// Whether the first message in `buffer` is a [`Request::Send`].
pub fn is_send_next(buffer: &[u8]) -> bool {
    buffer.starts_with(b"say ")
}

/// Appends an encoded [`Request::Send`] with these lines to `out`.
pub fn encode_send(out: &mut Vec<u8>, target: &Target, lines: &Lines, action: bool) {
    let mut text = Vec::with_capacity(lines.len());
    for line in lines.iter() {
        text.extend_from_slice(line.as_bytes());
        // The server strips one `\r` before each `\n`. The added `\r` protects a `\r` that belongs
        // to the line.
        text.extend_from_slice(b"\r\n");
    }
    encode_with_body(out, format_args!("say {target} {action}"), &text);
}

impl Request {
    /// Appends the encoded request to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Request::Join(room) => encode_header(out, format_args!("join {room}")),
            Request::FollowDirect => encode_header(out, format_args!("direct")),
            Request::Part(room) => encode_header(out, format_args!("part {room}")),
            Request::FollowNotices => encode_header(out, format_args!("follow")),
            Request::Dial(endpoint) => {
                let peer = endpoint.peer.map(|peer| peer.to_string());
                let peer = peer.as_deref().unwrap_or("-");
                let words = format_args!("dial {} {peer}", endpoint.port);
                encode_with_body(out, words, endpoint.host.as_bytes());
            }
            Request::Send {
                target,
                lines,
                action,
            } => encode_send(out, target, lines, *action),
            Request::Resolve {
                selector,
                timeout_ms,
            } => encode_header(out, format_args!("find {timeout_ms} {selector}")),
            Request::SetNick(nick) => encode_header(out, format_args!("nick {nick}")),
            Request::ListPeers(format) => {
                encode_header(out, format_args!("peers {}", format.as_str()));
            }
            Request::GetStats(format) => {
                encode_header(out, format_args!("stats {}", format.as_str()));
            }
            Request::MarkRead { log, sequence } => {
                encode_header(out, format_args!("shown {} {sequence}", LogIdWords(log)));
            }
            Request::AwaitDelivery { log, sequence } => {
                encode_header(out, format_args!("await {} {sequence}", LogIdWords(log)));
            }
            Request::Finish(RequiredPeers::Count(count)) => {
                encode_header(out, format_args!("finish {count}"));
            }
            Request::Finish(RequiredPeers::All) => encode_header(out, format_args!("finish all")),
        }
    }

    /// Decodes a request of a client; `None` if the message is malformed.
    pub fn decode(message: IpcMessage) -> Option<Request> {
        let mut words = WordParser::new(&message.header);
        Some(match words.next_word()? {
            "join" => Request::Join(words.room()?),
            "direct" => Request::FollowDirect,
            "part" => Request::Part(words.room()?),
            "follow" => Request::FollowNotices,
            "say" => {
                let (target, action) = (words.target()?, words.parse_next()?);
                let mut lines = Lines::default();
                for line in message.body.strip_suffix(b"\n")?.split(|b| *b == b'\n') {
                    lines.push(line).ok()?;
                }
                Request::Send {
                    target,
                    lines,
                    action,
                }
            }
            "find" => {
                let timeout_ms = words.parse_next()?;
                let selector = PeerSelector::parse(words.next_word()?).ok()?;
                Request::Resolve {
                    selector,
                    timeout_ms,
                }
            }
            "dial" => Request::Dial(Endpoint {
                port: words.parse_next()?,
                peer: words.parse_next(),
                host: String::from_utf8(message.body).ok()?,
            }),
            "nick" => Request::SetNick(Nick::new(words.next_word()?).ok()?),
            "peers" => Request::ListPeers(words.reply_format()?),
            "stats" => Request::GetStats(words.reply_format()?),
            "shown" => Request::MarkRead {
                log: words.log()?,
                sequence: words.parse_next()?,
            },
            "await" => Request::AwaitDelivery {
                log: words.log()?,
                sequence: words.parse_next()?,
            },
            "finish" => Request::Finish(RequiredPeers::from_count(words.parse_next())),
            _ => return None,
        })
    }
}
