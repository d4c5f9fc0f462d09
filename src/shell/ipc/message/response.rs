//! The responses and events that the server sends to a client.
use std::net::SocketAddrV4;

use data_encoding::HEXLOWER;

use crate::base::batch::LogId;
use crate::base::error_code::Refusal;
use crate::base::event::{Delivery, Notice, Peer, Position};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::{FolderName, Room};
use crate::shell::ipc::message::message::{IpcMessage, encode_header, encode_with_body};
use crate::shell::ipc::message::notice::{decode_notice, encode_notice};
use crate::shell::ipc::message::word_parser::{LogIdWords, WordParser};

/// Limit of the body of a response, in bytes. A table of thousands of peers fits.
pub const RESPONSE_BODY_MAX_BYTES: usize = 16 * 1024 * 1024;

/// The first response on a connection. It describes the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The server's identity. The client uses the same directory and thus the same identity.
    pub me: Peer,
    /// The TCP port on which the server listens. 0: the port is unknown.
    pub port: u16,
    /// Milliseconds since the server started.
    pub uptime_ms: u64,
    /// Whether the server itself prints the transcript to its stdout.
    pub is_printing_transcript: bool,
    /// Whether a peer is linked to the server.
    pub has_linked_peer: bool,
    /// The tag of the server's network.
    pub network: NetworkTag,
    /// The multicast group of the server's beacons. `None`: the server sends no beacons.
    pub multicast: Option<SocketAddrV4>,
    /// The names of the interfaces that the server uses. Empty: the server uses all interfaces.
    pub interfaces: Vec<String>,
}

/// How far the lines of a client are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryReport {
    /// Whether a peer is linked to the server.
    pub has_linked_peer: bool,
    /// The state of the delivery. Its `recheck_at` is `None`, because only the server computes the
    /// state again.
    pub delivery: Delivery,
}

/// A message of the server to a client: the answer to a request, or an event.
#[derive(Debug)]
pub enum Response {
    /// The first response on a connection.
    Welcome(Box<Welcome>),
    /// The client now follows this folder. The position is the folder's current end.
    FolderOpened(FolderName, Position),
    /// The server could not join the room. An error notice with the reason came before.
    JoinRefused(Room),
    /// The client no longer follows this room's folder. The server has already sent the current end
    /// of the folder.
    Parted(Room),
    /// The new end of a folder that the client follows: the position up to which the folder is
    /// written.
    FolderEnd(FolderName, Position),
    /// The id and nick of a peer that the server has just written to `known_peers`.
    PeerNick(Peer),
    /// Answers [`Request::Resolve`](super::request::Request::Resolve): the selector names this
    /// peer.
    Resolved(PeerId),
    /// Answers [`Request::Resolve`](super::request::Request::Resolve): the selector names no peer,
    /// or several.
    ResolveFailed(Refusal),
    /// Answers the oldest unanswered [`Request::Send`](super::request::Request::Send): the lines of
    /// the request are stored.
    Accepted {
        /// The log that contains the lines.
        log: LogId,
        /// The head of this log after the lines were stored.
        sequence: u64,
    },
    /// Answers the oldest unanswered [`Request::Send`](super::request::Request::Send): the server
    /// does not store the lines of the request.
    Rejected,
    /// How far this client's lines are delivered. Sent after the client's
    /// [`Request::Finish`](super::request::Request::Finish).
    Delivery(DeliveryReport),
    /// Answers [`Request::ListPeers`](super::request::Request::ListPeers).
    Peers {
        /// How many of the listed peers have a link, a route or a recent beacon.
        count: u64,
        /// The list of peers, in the format that the request names.
        list: Vec<u8>,
    },
    /// Answers [`Request::GetStats`](super::request::Request::GetStats): the counters, in the
    /// format that the request names.
    Stats(Vec<u8>),
    /// A notice for the session of the client.
    Notice(Notice),
}

impl Response {
    /// Appends the encoded response to `out`. Appends nothing for a notice that clients do not get.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Response::Welcome(welcome) => welcome.encode(out),
            Response::FolderOpened(folder, end) => encode_position(out, "joined", folder, *end),
            Response::JoinRefused(room) => encode_header(out, format_args!("unjoined {room}")),
            Response::Parted(room) => encode_header(out, format_args!("parted {room}")),
            Response::FolderEnd(folder, end) => encode_position(out, "end", folder, *end),
            Response::PeerNick(peer) => {
                encode_header(out, format_args!("known {} {}", peer.id, peer.nick));
            }
            Response::Resolved(peer) => encode_header(out, format_args!("found {peer}")),
            Response::ResolveFailed(Refusal { code, content }) => {
                encode_with_body(out, format_args!("lost {code}"), content.as_bytes());
            }
            Response::Accepted { log, sequence } => {
                encode_header(out, format_args!("accepted {} {sequence}", LogIdWords(log)));
            }
            Response::Rejected => encode_header(out, format_args!("refused")),
            Response::Delivery(report) => report.encode(out),
            Response::Peers { count, list } => {
                encode_with_body(out, format_args!("peers {count}"), list);
            }
            Response::Stats(list) => encode_with_body(out, "stats", list),
            Response::Notice(notice) => {
                encode_notice(out, notice);
            }
        }
    }

    /// Decodes a response of the server; `None` if the message is malformed.
    pub fn decode(message: IpcMessage) -> Option<Response> {
        let mut words = WordParser::new(&message.header);
        Some(match words.next_word()? {
            "welcome" => Response::Welcome(Box::new(Welcome::decode(&mut words)?)),
            "joined" => Response::FolderOpened(words.folder()?, words.position()?),
            "unjoined" => Response::JoinRefused(words.room()?),
            "parted" => Response::Parted(words.room()?),
            "end" => Response::FolderEnd(words.folder()?, words.position()?),
            "known" => Response::PeerNick(words.peer()?),
            "accepted" => Response::Accepted {
                log: words.log()?,
                sequence: words.parse_next()?,
            },
            "refused" => Response::Rejected,
            "found" => Response::Resolved(words.parse_next()?),
            "lost" => Response::ResolveFailed(Refusal {
                code: words.error_code()?,
                content: String::from_utf8(message.body).ok()?,
            }),
            "delivery" => Response::Delivery(DeliveryReport::decode(&mut words)?),
            "peers" => Response::Peers {
                count: words.parse_next()?,
                list: message.body,
            },
            "stats" => Response::Stats(message.body),
            word => Response::Notice(decode_notice(word, &mut words, message.body)?),
        })
    }
}

fn encode_position(out: &mut Vec<u8>, word: &str, folder: &FolderName, at: Position) {
    let (segment, offset, generation) = (at.segment, at.offset, at.generation);
    let folder = folder.as_str();
    encode_header(
        out,
        format_args!("{word} {folder} {segment} {offset} {generation}"),
    );
}

impl Welcome {
    fn encode(&self, out: &mut Vec<u8>) {
        let multicast = self.multicast.map(|group| group.to_string());
        encode_header(
            out,
            format_args!(
                "welcome {} {} {} {} {} {} {} {} {}",
                self.me.id,
                self.me.nick,
                self.port,
                self.uptime_ms,
                self.is_printing_transcript,
                self.has_linked_peer,
                self.network,
                multicast.as_deref().unwrap_or("none"),
                self.interfaces.join(" ")
            ),
        );
    }

    fn decode(words: &mut WordParser<'_>) -> Option<Welcome> {
        Some(Welcome {
            me: words.peer()?,
            port: words.parse_next()?,
            uptime_ms: words.parse_next()?,
            is_printing_transcript: words.parse_next()?,
            has_linked_peer: words.parse_next()?,
            network: {
                let tag = HEXLOWER.decode(words.next_word()?.as_bytes()).ok()?;
                NetworkTag(tag.try_into().ok()?)
            },
            multicast: words.parse_next(),
            interfaces: words.rest(),
        })
    }
}

impl DeliveryReport {
    fn encode(&self, out: &mut Vec<u8>) {
        let Delivery {
            linked_peers,
            acked_peers,
            required_peers,
            has_undelivered,
            is_settled,
            recheck_at: _,
        } = self.delivery;
        let has_linked_peer = self.has_linked_peer;
        encode_header(
            out,
            format_args!(
                "delivery {has_linked_peer} {linked_peers} {acked_peers} {required_peers} \
                 {has_undelivered} {is_settled}"
            ),
        );
    }

    fn decode(words: &mut WordParser<'_>) -> Option<DeliveryReport> {
        Some(DeliveryReport {
            has_linked_peer: words.parse_next()?,
            delivery: Delivery {
                linked_peers: words.parse_next()?,
                acked_peers: words.parse_next()?,
                required_peers: words.parse_next()?,
                has_undelivered: words.parse_next()?,
                is_settled: words.parse_next()?,
                recheck_at: None,
            },
        })
    }
}
