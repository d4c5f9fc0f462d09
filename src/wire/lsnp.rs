//! LSNP, a chat of other programs on a LAN: text in the clear over UDP. A message has lines
//! `KEY:VALUE`, each split at its first colon, and ends with an empty line. Nothing is escaped or
//! signed, so everything in a message is a claim.
use std::fmt::Write as _;

use crate::base::batch::batch_content::{for_each_json_line, write_json_string};
use crate::base::guests::guest::is_picture;
use crate::base::lines::LINE_MAX_BYTES;
use crate::base::name::Nick;

/// The UDP port of discovery, which all programs on a host share.
pub const LSNP_DISCOVERY_PORT: u16 = 50_999;
/// Longest message, in bytes: what fits into a datagram.
pub const LSNP_MAX_BYTES: usize = 65_507;
/// Maximum number of lines in a message. The first ones count.
pub const LSNP_FIELDS_MAX: usize = 32;
/// Longest name of a user with its address, in bytes. A message of a longer one is ignored.
pub const LSNP_USER_MAX_BYTES: usize = 96;
/// Longest display name, status, or type of a picture, in bytes. Longer ones are cut.
pub const LSNP_TEXT_MAX_BYTES: usize = 256;
/// Longest id of a message, in bytes. A longer one is cut.
pub const LSNP_ID_MAX_BYTES: usize = 32;
/// Maximum number of users in a list. The first ones count.
pub const LSNP_LISTED_MAX: usize = 64;
/// For how long the token of a message is valid, in seconds.
const LSNP_TOKEN_LIFETIME_S: i64 = 3_600;

/// A message, and what all messages have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LsnpMessage<'a> {
    /// The user who claims to have sent the message, such as `zed@10.0.0.7`.
    pub user: &'a str,
    /// When it was sent, in seconds since 1970. 0: unknown.
    pub timestamp_s: i64,
    /// Tells messages of one user apart. Empty: unknown.
    pub message_id: &'a str,
    /// The network of the p2pchat that sent the message. `None`: another program sent it.
    pub gateway: Option<&'a str>,
    /// What the message says.
    pub content: LsnpContent<'a>,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LsnpContent<'a> {
    /// `PEER_DISCOVERY`: the user is here.
    Discovery {
        /// The UDP port where the user's program listens: 1024 or higher.
        port: u16,
    },
    /// `PEER_LIST_REQUEST`: whom do you know?
    ListRequest,
    /// `PEER_LIST_RESPONSE`: these users.
    ListResponse(Vec<String>),
    /// `POST`: a line for everybody.
    Post(&'a str),
    /// `DM`: a line for one user.
    Direct {
        /// The recipient.
        to: &'a str,
        /// The line.
        line: &'a str,
    },
    /// `PROFILE`: what the user says about itself.
    Profile {
        /// The name to be shown.
        display_name: &'a str,
        /// What the user does.
        status: &'a str,
        /// The MIME type of a picture, and the picture in base64.
        avatar: Option<(&'a str, &'a str)>,
    },
    /// `REVOKE`: the user leaves, and its tokens are void.
    Revoke,
}

/// The values of a message, by key. If a key occurs twice, the first value counts.
struct Values<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Values<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Values<'a>> {
        let fits = bytes.len() <= LSNP_MAX_BYTES;
        let text = std::str::from_utf8(bytes).ok().filter(|_| fits)?;
        let lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
        let lines = lines.take_while(|line| !line.is_empty());
        let pairs = lines.take(LSNP_FIELDS_MAX).filter_map(|line| {
            let (key, value) = line.split_once(':')?;
            Some((key.trim(), value.trim()))
        });
        Some(Values(pairs.collect()))
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(name, _)| *name == key);
        found.map(|(_, value)| *value)
    }

    fn text(&self, key: &str) -> &'a str {
        truncate(self.get(key).unwrap_or_default(), LSNP_TEXT_MAX_BYTES)
    }

    fn content(&self) -> Option<&'a str> {
        let content = truncate(self.get("CONTENT")?, LINE_MAX_BYTES);
        Some(content).filter(|content| !content.is_empty())
    }

    fn avatar(&self) -> Option<(&'a str, &'a str)> {
        let data = self.get("AVATAR_DATA")?;
        let is_kept = self.get("AVATAR_ENCODING") == Some("base64") && is_picture(data);
        is_kept.then(|| (self.text("AVATAR_TYPE"), data))
    }
}

impl<'a> LsnpMessage<'a> {
    /// Parses a datagram. Returns `None` if it is no message that is known here.
    pub fn parse(bytes: &'a [u8]) -> Option<LsnpMessage<'a>> {
        let values = Values::parse(bytes)?;
        let content = match values.get("TYPE")? {
            "PEER_DISCOVERY" => LsnpContent::Discovery {
                port: values
                    .get("PORT")?
                    .parse()
                    .ok()
                    .filter(|port| *port >= 1024)?,
            },
            "PEER_LIST_REQUEST" => LsnpContent::ListRequest,
            "PEER_LIST_RESPONSE" => {
                let mut users = Vec::new();
                let mut add = |user: &str| {
                    if users.len() < LSNP_LISTED_MAX && user.len() <= LSNP_USER_MAX_BYTES {
                        users.push(user.to_owned());
                    }
                };
                for_each_json_line(values.get("PEERS")?, &mut add).ok()?;
                LsnpContent::ListResponse(users)
            }
            "POST" => LsnpContent::Post(values.content()?),
            "DM" => LsnpContent::Direct {
                to: values.get("TO")?,
                line: values.content()?,
            },
            "PROFILE" => LsnpContent::Profile {
                display_name: values.text("DISPLAY_NAME"),
                status: values.text("STATUS"),
                avatar: values.avatar(),
            },
            "REVOKE" => LsnpContent::Revoke,
            _ => return None,
        };
        let token_user = || values.get("TOKEN")?.split('|').next();
        let user = values.get("USER_ID").or_else(|| values.get("FROM"));
        let user = user.or_else(token_user)?;
        if user.is_empty() || user.len() > LSNP_USER_MAX_BYTES {
            return None;
        }
        let timestamp_s = values.get("TIMESTAMP").and_then(|text| text.parse().ok());
        Some(LsnpMessage {
            user,
            timestamp_s: timestamp_s.unwrap_or(0),
            message_id: truncate(
                values.get("MESSAGE_ID").unwrap_or_default(),
                LSNP_ID_MAX_BYTES,
            ),
            gateway: values.get("P2PCHAT"),
            content,
        })
    }

    /// The bytes of the message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = String::new();
        let mut put = |key: &str, value: &str| {
            // A line end in a value would begin a field of its own. Escape codes would reach the
            // terminals of programs that print what comes.
            let value = value.replace(char::is_control, " ");
            let _ = writeln!(out, "{key}:{value}");
        };
        let mut scope = None;
        let (kind, sender) = self.content.kind();
        put("TYPE", kind);
        put(sender, self.user);
        match &self.content {
            LsnpContent::Discovery { port } => put("PORT", &port.to_string()),
            LsnpContent::ListRequest => {}
            LsnpContent::ListResponse(users) => {
                let mut list = b"[".to_vec();
                for (i, user) in users.iter().enumerate() {
                    list.extend_from_slice(if i > 0 { b"," } else { b"" });
                    write_json_string(&mut list, user);
                }
                list.push(b']');
                put("PEERS", &String::from_utf8_lossy(&list));
                put("COUNT", &users.len().to_string());
            }
            LsnpContent::Post(line) => {
                put("CONTENT", line);
                scope = Some("broadcast");
            }
            LsnpContent::Direct { to, line } => {
                put("TO", to);
                put("CONTENT", line);
                scope = Some("chat");
            }
            LsnpContent::Profile {
                display_name,
                status,
                avatar,
            } => {
                put("DISPLAY_NAME", truncate(display_name, LSNP_TEXT_MAX_BYTES));
                put("STATUS", truncate(status, LSNP_TEXT_MAX_BYTES));
                if let Some((kind, data)) = avatar {
                    put("AVATAR_TYPE", truncate(kind, LSNP_TEXT_MAX_BYTES));
                    put("AVATAR_ENCODING", "base64");
                    put("AVATAR_DATA", data);
                }
            }
            LsnpContent::Revoke => scope = Some("broadcast"),
        }
        put("TIMESTAMP", &self.timestamp_s.to_string());
        put("MESSAGE_ID", self.message_id);
        if let Some(scope) = scope {
            let expiry = self.timestamp_s.saturating_add(LSNP_TOKEN_LIFETIME_S);
            put("TOKEN", &format!("{}|{expiry}|{scope}", self.user));
        }
        if let Some(network) = self.gateway {
            put("P2PCHAT", network);
        }
        out.push('\n');
        out.into_bytes()
    }

    /// The name in front of the user's address. A name that breaks the rule becomes `?`.
    pub fn nick(&self) -> Nick {
        Nick::new_or_placeholder(user_name(self.user))
    }
}

impl LsnpContent<'_> {
    /// The type of the message, and the key of its sender.
    fn kind(&self) -> (&'static str, &'static str) {
        match self {
            LsnpContent::Discovery { .. } => ("PEER_DISCOVERY", "USER_ID"),
            LsnpContent::ListRequest => ("PEER_LIST_REQUEST", "FROM"),
            LsnpContent::ListResponse(_) => ("PEER_LIST_RESPONSE", "FROM"),
            LsnpContent::Post(_) => ("POST", "USER_ID"),
            LsnpContent::Direct { .. } => ("DM", "FROM"),
            LsnpContent::Profile { .. } => ("PROFILE", "USER_ID"),
            LsnpContent::Revoke => ("REVOKE", "USER_ID"),
        }
    }
}

/// The name in front of the address of a user.
pub fn user_name(user: &str) -> &str {
    user.rsplit_once('@').map_or(user, |(name, _)| name)
}

/// The longest beginning of the text that has at most `max_bytes` bytes.
fn truncate(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}
