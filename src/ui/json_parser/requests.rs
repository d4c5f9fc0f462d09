//! Parses the requests of clients and scripts. Unknown fields are ignored.
use crate::base::batch::batch_content::for_each_json_line;
use crate::base::event::command::Command;
use crate::base::lines::{LineError, LineRules, Lines};
use crate::base::name::{FolderName, Nick, PeerSelector};
use crate::base::presence::typing::TypingTarget;
use crate::base::text::line_form::LineForm;
use crate::ui::command::{self, UserCommand};
use crate::ui::json_parser::fields::{
    Fields, parse_first_line, parse_form, parse_id, parse_log, parse_object, parse_text,
};
use crate::ui::request::{InvalidRequest, Listen, Request, RequestKind};

/// Parses a line of stdin with `--json`. Accepts only requests for what a person does at the
/// terminal. The others are for `control.sock`.
///
/// # Errors
/// The line is no such request. The caller reports the message, counts the error and skips the
/// line.
pub fn parse_input(line: &str) -> Result<Request, InvalidRequest> {
    let fields = parse_object(line)?;
    match fields.kind() {
        "chat" | "command" | "typing" | "read" => finish_request(&fields),
        kind => Err(InvalidRequest {
            id: parse_id(&fields),
            message: format!(
                "\"type\" is \"chat\", \"command\", \"typing\" or \"read\", not \"{kind}\""
            ),
        }),
    }
}

/// Parses a request on `control.sock`.
///
/// # Errors
/// The line is no request. The caller answers with the message and skips the line.
pub fn parse_request(line: &[u8]) -> Result<Request, InvalidRequest> {
    let line = std::str::from_utf8(line).map_err(|_| InvalidRequest {
        id: None,
        message: "the line is not UTF-8".to_owned(),
    })?;
    finish_request(&parse_object(line)?)
}

fn finish_request(fields: &Fields<'_>) -> Result<Request, InvalidRequest> {
    let id = parse_id(fields);
    match parse_request_kind(fields) {
        Ok(kind) => Ok(Request::new(id, kind)),
        Err(message) => Err(InvalidRequest { id, message }),
    }
}

fn parse_request_kind(fields: &Fields<'_>) -> Result<RequestKind, String> {
    let missing = |name: &str| format!("the JSON line has no valid \"{name}\"");
    let folder = || {
        let name = fields.text("target")?;
        Some(FolderName::parse(name).filter(|folder| *folder != FolderName::carried()))
    };
    Ok(match fields.kind() {
        "chat" => {
            let command = parse_chat(fields)?;
            with_place(command, fields)
        }
        "command" => {
            let content = parse_text(fields)?;
            if !content.starts_with('/') {
                return Err("the \"content\" of a command begins with /".into());
            }
            with_place(command::parse(&content)?, fields)
        }
        "listen" => RequestKind::Listen(Listen {
            folder: match folder() {
                Some(None) => return Err(missing("target")),
                named => named.flatten(),
            },
            after: fields.cursor("after"),
            is_reader: fields.flag("reader").unwrap_or(false) || fields.text("reader").is_some(),
            reader_name: match fields.text("reader").map(Nick::new) {
                None => None,
                Some(Ok(name)) => Some(name),
                Some(Err(_)) => return Err(missing("reader")),
            },
            is_batch: fields.flag("batch").unwrap_or(false),
            has_echo: fields.flag("echo").unwrap_or(true),
            only_new: fields.flag("only_new").unwrap_or(false),
            seeks_end: match fields.text("seek") {
                None => false,
                Some("end") => true,
                Some(_) => return Err(missing("seek")),
            },
            backlog: fields.number("backlog").unwrap_or(0),
        }),
        "audit" => RequestKind::Audit,
        "known_peers" => RequestKind::ReloadKnownPeers,
        "end" => RequestKind::FindEnd(folder().flatten().ok_or_else(|| missing("target"))?),
        "printed" => RequestKind::Printed {
            folder: folder().flatten().ok_or_else(|| missing("target"))?,
            cursor: fields
                .cursor("position")
                .ok_or_else(|| missing("position"))?,
        },
        "dial" => RequestKind::Dial {
            host: fields
                .text("host")
                .ok_or_else(|| missing("host"))?
                .to_owned(),
            port: fields
                .number("port")
                .and_then(|port| port.try_into().ok())
                .ok_or_else(|| missing("port"))?,
            peer: fields.id("sender"),
        },
        "typing" => UserCommand::Core(Command::Type(parse_typing(fields)?)).into(),
        "finish" => RequestKind::Finish {
            required_peers: fields.number("need"),
            is_sync: fields.flag("sync").unwrap_or(false),
        },
        "await" | "read" => {
            let log =
                parse_log(fields, fields.id("sender")).ok_or_else(|| missing("incarnation"))?;
            let sequence = fields
                .number("sequence")
                .ok_or_else(|| missing("sequence"))?;
            UserCommand::Core(match fields.kind() {
                "await" => Command::AwaitDelivery {
                    log,
                    first: parse_first_line(fields, sequence),
                    sequence,
                },
                _ => Command::MarkRead { log, sequence },
            })
            .into()
        }
        kind => return Err(format!("\"{kind}\" is no type of a request")),
    })
}

/// Parses the target of a line that the user types.
fn parse_typing(fields: &Fields<'_>) -> Result<TypingTarget, String> {
    let target = fields.text("target").unwrap_or_default();
    Ok(match target.starts_with('@') {
        true => TypingTarget::Peer(
            PeerSelector::parse(target).map_err(|error| format!("the name {target} {error}"))?,
        ),
        false => TypingTarget::Room(command::parse_room(target)?),
    })
}

fn with_place(command: UserCommand, fields: &Fields<'_>) -> RequestKind {
    match fields.cursor("after") {
        Some(after) => RequestKind::Resend { command, after },
        None => command.into(),
    }
}

/// Parses a request to publish. `content` is a string, or an array of lines.
fn parse_chat(fields: &Fields<'_>) -> Result<UserCommand, String> {
    let form = parse_form(fields);
    let mut lines = Lines::default();
    match fields.raw("content") {
        Some(content) if content.starts_with('[') => {
            let mut text = String::with_capacity(content.len());
            let mut is_ambiguous = false;
            for_each_json_line(content, &mut |line| {
                is_ambiguous |= form.is_ambiguous(line);
                text.push_str(&form.without_line_ends(line));
                text.push('\n');
            })
            .map_err(|_| "\"content\" must be a string or an array of at most 4096 strings")?;
            if is_ambiguous {
                return Err(LineError::HasSeparator.to_string());
            }
            lines = match Lines::parse(text.as_bytes()) {
                Some(lines) => lines,
                None if text.is_empty() => return Err("\"content\" is empty".to_owned()),
                None => return Err("a line is longer than 16 KiB, not sent".to_owned()),
            };
        }
        _ => {
            let text = parse_text(fields)?;
            let rules = LineRules {
                is_block: form == LineForm::Block,
                ..LineRules::TEXT
            };
            let pushed = lines.push_by(text.as_bytes(), rules);
            pushed.map_err(|error| error.to_string())?;
        }
    }
    Ok(match fields.text("target") {
        Some(name) if name.starts_with('@') => UserCommand::SendToPeer {
            selector: PeerSelector::parse(name)
                .map_err(|error| format!("the name {name} {error}"))?,
            lines,
            form,
            timeout_ms: fields.number("wait_ms").unwrap_or(0),
        },
        target => UserCommand::SendToRoom {
            room: target.map(command::parse_room).transpose()?,
            lines,
            form,
        },
    })
}
