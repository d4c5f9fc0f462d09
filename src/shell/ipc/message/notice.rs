//! Encodes and decodes the notices that clients get.
use crate::base::event::Notice;
use crate::shell::ipc::message::message::{encode_header, encode_with_body};
use crate::shell::ipc::message::word_parser::{LogIdWords, WordParser};
use crate::ui::diagnostic;

/// Appends the encoded notice to `out`. Returns false, and appends nothing, if clients do not get
/// this kind of notice.
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

/// Decodes a notice from a message. `word` is the first word of the message and names the kind of
/// notice. `words` are the words after it. `None`: the notice is malformed.
pub fn decode_notice(word: &str, words: &mut WordParser<'_>, body: Vec<u8>) -> Option<Notice> {
    if word == "error" {
        return Some(Notice::Error {
            code: words.error_code()?,
            content: String::from_utf8(body).ok()?,
        });
    }
    let target = words.target()?;
    let peer = words.peer()?;
    if word == "delivered" {
        return Some(Notice::Delivered {
            peer,
            log: words.log()?,
            sequence: words.parse_next()?,
        });
    }
    if word == "read" {
        return Some(Notice::Read {
            peer,
            log: words.log()?,
            sequence: words.parse_next()?,
            at: words.wall_time()?,
        });
    }
    let at = words.wall_time()?;
    if word == "gap" {
        return Some(Notice::Gap {
            target,
            author: peer,
            incarnation: words.parse_next()?,
            from: words.parse_next()?,
            to: words.parse_next()?,
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
            old: words.nick()?,
            at,
        },
        _ => return None,
    })
}
