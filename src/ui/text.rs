//! Notices as lines of text: the transcript on a pipe and at a terminal, the sentences of stderr, and the tables.
use std::borrow::Cow;
use std::io::Write as _;

use jiff::tz::TimeZone;

use crate::base::batch::{Batch, LocalFields};
use crate::base::event::{Chat, Notice, Peer, PeerInfo};
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room, Target};
use crate::base::table::SortedMap;
use crate::base::time::WallTime;

/// Most peers, and most names, that a [`Names`] remembers.
const NAMES_MAX: usize = 4096;

/// May this byte begin a character that is shown as another? C0 but TAB, DEL, and the lead bytes of C1 (C2) and of the separators and bidi
/// controls (E2). Foreign scripts but for these two lead bytes stay on the fast path.
fn may_need_replacing(byte: u8) -> bool {
    (byte < 0x20) & (byte != b'\t') | (byte == 0x7f) | (byte == 0xc2) | (byte == 0xe2)
}

/// Are these eight printable ASCII characters?
fn is_printable_ascii(word: [u8; 8]) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_ne_bytes(word);
    // The highest bit of a byte is set in one of these if it is no ASCII, DEL, or less than a blank. Only such a byte carries into the next.
    (word | word.wrapping_add(EACH) | word.wrapping_sub(0x20 * EACH)) & (0x80 * EACH) == 0
}

/// Each line that is shown goes through this, so eight bytes are looked at together.
fn is_plain(text: &str) -> bool {
    let (words, rest) = text.as_bytes().as_chunks();
    let harmless = |bytes: &[u8]| !bytes.iter().copied().any(may_need_replacing);
    let mut words = words.iter();
    words.all(|word| is_printable_ascii(*word) || harmless(word)) && harmless(rest)
}

/// Would this character, shown as it is, act on the terminal or on its neighbours? TAB does not count.
pub fn is_control(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{a}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}'
        | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What is shown in a character's place: C0 as its picture U+2400 + n, the other controls as U+FFFD, all else as it is.
pub fn replace_control(c: char) -> char {
    match c {
        _ if !is_control(c) => c,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        _ => '\u{fffd}',
    }
}

/// The text as it may be shown anywhere: no character of it acts on a terminal or hides the order of its neighbours.
pub fn sanitize(text: &str) -> Cow<'_, str> {
    if is_plain(text) || !text.chars().any(is_control) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.chars().map(replace_control).collect())
    }
}

fn push_sanitized(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(sanitize(text).as_bytes());
}

/// Who bears which name, as far as this run has seen it. Bounded: beyond `NAMES_MAX` a name counts as borne by several.
#[derive(Clone, Debug, Default)]
pub struct DisplayNames {
    by_id: SortedMap<PeerId, Nick>,
    /// Of earlier runs, perhaps.
    known: SortedMap<PeerId, Nick>,
    /// Names in lower case, with their first bearer; `None` once there was a second.
    by_name: SortedMap<String, Option<PeerId>>,
}

impl DisplayNames {
    pub fn record(&mut self, peer: &Peer) {
        if self.by_id.get(&peer.id) == Some(&peer.nick) {
            return;
        }
        if self.by_id.len() < NAMES_MAX || self.by_id.contains_key(&peer.id) {
            self.by_id.insert(peer.id, peer.nick.clone());
        }
        let folded = peer.nick.as_str().to_lowercase();
        if let Some(bearer) = self.by_name.get_mut(&folded) {
            if *bearer != Some(peer.id) {
                *bearer = None;
            }
        } else if self.by_name.len() < NAMES_MAX {
            self.by_name.insert(folded, Some(peer.id));
        }
    }

    /// A name by which this peer was known, whoever else may bear it now.
    pub fn record_known(&mut self, id: PeerId, nick: &Nick) {
        if self.known.len() < NAMES_MAX {
            self.known.insert(id, nick.clone());
        }
    }

    /// The last name seen of this peer.
    pub fn nick(&self, id: &PeerId) -> Option<&Nick> {
        self.by_id.get(id).or_else(|| self.known.get(id))
    }

    /// Does the name, alone, say who this is?
    pub fn is_unambiguous(&self, peer: &Peer) -> bool {
        let folded = peer.nick.as_str().to_lowercase();
        peer.nick.as_str() != "?" && self.by_name.get(&folded) == Some(&Some(peer.id))
    }

    /// The name alone where it tells, else with its `~abcd`.
    pub fn display_name(&self, peer: &Peer) -> String {
        if self.is_unambiguous(peer) {
            peer.nick.to_string()
        } else {
            peer.to_string()
        }
    }

    /// `#room`, or `@alice~x2fe`; a reader of unknown name is `@?~x2fe`.
    fn display_target(&self, target: &Target) -> String {
        match target {
            Target::Room(room) => room.to_string(),
            Target::Peer(id) => match self.nick(id) {
                Some(nick) => format!("@{nick}~{}", id.short()),
                None => format!("@?~{}", id.short()),
            },
        }
    }
}

#[derive(Clone)]
enum TextFormat {
    Pipe,
    Terminal { zone: TimeZone, color: bool },
}

/// Makes transcript lines of notices.
#[derive(Clone)]
pub struct TextRenderer {
    format: TextFormat,
    names: DisplayNames,
    /// At a terminal its name is left out.
    current_room: Option<Room>,
    prefix: Vec<u8>,
}

impl TextRenderer {
    /// Lines for scripts: UTC, targets and full names, no colour.
    pub fn for_pipe(own: &Peer) -> TextRenderer {
        TextRenderer::new(TextFormat::Pipe, own)
    }

    /// Lines for people: `[10:31] bob: Hey there!` in the zone's time.
    pub fn for_terminal(own: &Peer, zone: TimeZone, color: bool) -> TextRenderer {
        TextRenderer::new(TextFormat::Terminal { zone, color }, own)
    }

    fn new(form: TextFormat, own: &Peer) -> TextRenderer {
        let mut names = DisplayNames::default();
        names.record(own);
        TextRenderer {
            format: form,
            names,
            current_room: None,
            prefix: Vec::new(),
        }
    }

    /// At a terminal lines of this room stand without its name; those of other rooms bear theirs.
    pub fn set_current_room(&mut self, room: Option<Room>) {
        self.current_room = room;
    }

    pub fn names(&self) -> &DisplayNames {
        &self.names
    }

    /// See [`Names::know`].
    pub fn record_known_name(&mut self, id: PeerId, nick: &Nick) {
        self.names.record_known(id, nick);
    }

    /// Appends the notice's lines, each ended by `\n`. Notices that are no part of a transcript add nothing.
    pub fn append_notice(&mut self, notice: &Notice, out: &mut Vec<u8>) {
        match notice {
            Notice::Chat(chat) => self.append_chat(chat, out),
            Notice::Joined { room, peer, at } => {
                self.names.record(peer);
                self.append_membership(room, peer, *at, "joined", out);
            }
            Notice::Left { room, peer, at } => {
                self.names.record(peer);
                self.append_membership(room, peer, *at, "left", out);
            }
            Notice::Renamed {
                room,
                peer,
                old,
                at,
            } => {
                let before = Peer {
                    id: peer.id,
                    nick: old.clone(),
                };
                self.names.record(&before);
                let shown_before = self.display_name(&before);
                self.names.record(peer);
                let what = format!("is now known as {}", self.display_name(peer));
                let target = Target::Room(room.clone());
                self.append_status_line(&target, *at, &format!("* {shown_before} {what}"), out);
            }
            Notice::Gap {
                target,
                author,
                from,
                to,
                at,
                ..
            } => {
                self.names.record(author);
                let count = to.saturating_sub(*from).saturating_add(1);
                let (lines, are) = if count == 1 {
                    ("line", "is")
                } else {
                    ("lines", "are")
                };
                let what = format!(
                    "- {count} {lines} of {} {are} missing",
                    self.display_name(author)
                );
                self.append_status_line(target, *at, &what, out);
            }
            Notice::Read { log, peer, at, .. } => {
                self.names.record(peer);
                // Scripts have JSON for it.
                if matches!(self.format, TextFormat::Terminal { .. }) {
                    let what = format!("* {} has read it", self.display_name(peer));
                    self.append_status_line(&log.target, *at, &what, out);
                }
            }
            Notice::Peers(views) => views.iter().for_each(|view| self.names.record(&view.peer)),
            Notice::Rooms(_)
            | Notice::Stats(_)
            | Notice::Delivered { .. }
            | Notice::Settled
            | Notice::Resolved { .. }
            | Notice::KeyMismatch { .. }
            | Notice::DuplicateIdentity { .. }
            | Notice::Error { .. } => {}
        }
    }

    fn append_chat(&mut self, chat: &Chat, out: &mut Vec<u8>) {
        self.build_prefix(&chat.batch, chat.local);
        chat.batch.for_each_line(|line| {
            out.extend_from_slice(&self.prefix);
            push_sanitized(out, line);
            out.push(b'\n');
        });
    }

    /// Lines of a batch, each ended by `\n`, with the name and time that were signed. `today`: what day it is.
    pub fn append_history(
        &mut self,
        batch: &Batch,
        lines: &str,
        today: WallTime,
        out: &mut Vec<u8>,
    ) {
        let local = LocalFields {
            received: today,
            late: true,
            ..LocalFields::default()
        };
        self.build_prefix(batch, local);
        for line in lines.split_terminator('\n') {
            out.extend_from_slice(&self.prefix);
            push_sanitized(out, line);
            out.push(b'\n');
        }
    }

    /// Makes what stands before each line of a batch.
    fn build_prefix(&mut self, batch: &Batch, local: LocalFields) {
        let peer = Peer {
            id: batch.log.author,
            nick: batch.username.clone(),
        };
        self.names.record(&peer);
        let late = local.late || local.received == WallTime::default();
        let at = if late {
            batch.timestamp
        } else {
            local.received
        };
        let mut prefix = std::mem::take(&mut self.prefix);
        prefix.clear();
        let today = late.then_some(local.received);
        self.push_time_and_target(at, today, &batch.log.target, &mut prefix);
        self.push_author(&peer, batch.action, &mut prefix);
        self.prefix = prefix;
    }

    fn push_author(&self, peer: &Peer, action: bool, out: &mut Vec<u8>) {
        let name = self.display_name(peer);
        let (before, after) = if action { ("** ", " ") } else { ("", ": ") };
        // Writing to a `Vec` cannot fail.
        let _ = match &self.format {
            TextFormat::Terminal { color: true, .. } => {
                let color = 31 + peer.id.0[0] % 6;
                write!(out, "{before}\x1b[{color}m{name}\x1b[0m{after}")
            }
            _ => write!(out, "{before}{name}{after}"),
        };
    }

    fn append_membership(
        &self,
        room: &Room,
        peer: &Peer,
        at: WallTime,
        what: &str,
        out: &mut Vec<u8>,
    ) {
        let sentence = format!("* {} {what}", self.display_name(peer));
        self.append_status_line(&Target::Room(room.clone()), at, &sentence, out);
    }

    /// A line that is not chat: dim where there are colours.
    fn append_status_line(&self, target: &Target, at: WallTime, sentence: &str, out: &mut Vec<u8>) {
        self.push_time_and_target(at, None, target, out);
        let _ = match self.format {
            TextFormat::Terminal { color: true, .. } => writeln!(out, "\x1b[2m{sentence}\x1b[0m"),
            _ => writeln!(out, "{sentence}"),
        };
    }

    fn display_name(&self, peer: &Peer) -> String {
        match self.format {
            TextFormat::Pipe => peer.to_string(),
            TextFormat::Terminal { .. } => self.names.display_name(peer),
        }
    }

    /// Time and target. At a terminal the day is shown if `today` is another one.
    fn push_time_and_target(
        &self,
        at: WallTime,
        today: Option<WallTime>,
        target: &Target,
        out: &mut Vec<u8>,
    ) {
        let _ = match &self.format {
            TextFormat::Pipe => write!(out, "{at} {} ", self.names.display_target(target)),
            TextFormat::Terminal { zone, color } => {
                let then = at.civil(zone);
                let other_day =
                    today.is_some_and(|now| now.0 > 0 && now.civil(zone).date() != then.date());
                let day = if other_day {
                    format!("{} ", then.date())
                } else {
                    String::new()
                };
                let (dim, off) = if *color {
                    ("\x1b[2m", "\x1b[0m")
                } else {
                    ("", "")
                };
                let room = match target.room() {
                    Some(room) if Some(room) == self.current_room.as_ref() => String::new(),
                    _ => format!("{} ", self.names.display_target(target)),
                };
                write!(
                    out,
                    "{dim}[{day}{:02}:{:02}]{off} {room}",
                    then.hour(),
                    then.minute()
                )
            }
        };
    }
}

/// A sentence as it stands on stderr, without its end of line.
pub fn format_diagnostic(sentence: &str) -> String {
    format!("p2pchat: {}", sanitize(sentence))
}

/// What of a notice belongs on stderr: one sentence, without `p2pchat:` before it, as people and the `error` lines of --json say it.
pub fn notice_warning(notice: &Notice) -> Option<String> {
    match notice {
        Notice::KeyMismatch {
            peer,
            known_id: known,
            first_seen: since,
        } => {
            let since = since.to_string();
            // The day, up to the `T`: of a known key no one asks for the millisecond.
            let day = since.split('T').next().unwrap_or(&since);
            Some(format!(
                "{peer} is not the {}~{} known since {day}: another key",
                peer.nick,
                known.short()
            ))
        }
        Notice::DuplicateIdentity {
            address,
            reported_by: by,
        } => {
            let place = match (address, by) {
                (Some(address), _) => format!(" (the other one at {address})"),
                (None, Some(peer)) => format!(" (so says {peer})"),
                (None, None) => String::new(),
            };
            Some(format!(
                "WARNING: two programs use this identity{place}; give each its own with --dir or --ephemeral"
            ))
        }
        Notice::Error { content, .. } => Some(content.clone()),
        _ => None,
    }
}

/// A notice's line for stderr, cleaned, without its end of line.
pub fn notice_diagnostic(notice: &Notice) -> Option<String> {
    notice_warning(notice).map(|sentence| format_diagnostic(&sentence))
}

fn format_address(view: &PeerInfo) -> String {
    match (&view.via, view.address) {
        (Some(via), _) => format!("via {via}"),
        (None, address) => address.map_or("-".into(), |a| a.to_string()),
    }
}

fn format_rtt(view: &PeerInfo) -> String {
    view.rtt.map_or("-".into(), |rtt| rtt.to_string())
}

fn format_shared_rooms(view: &PeerInfo) -> String {
    if view.rooms.is_empty() {
        return "-".into();
    }
    let names: Vec<&str> = view.rooms.iter().map(Room::as_str).collect();
    names.join(",")
}

/// The rows of `peers`: name~abcd, id, address, found, state, round trip in ms, rooms; separated by TAB; `-` where there is nothing.
pub fn format_peer_rows(views: &[PeerInfo]) -> String {
    let mut out = String::new();
    for view in views {
        let row = [
            view.peer.to_string(),
            view.peer.id.to_string(),
            format_address(view),
            view.found_via.as_str().into(),
            view.state.as_str().into(),
            format_rtt(view),
            format_shared_rooms(view),
        ];
        out.push_str(&row.join("\t"));
        out.push('\n');
    }
    out
}

/// The answer to /users: a table for people.
pub fn format_users(views: &[PeerInfo]) -> String {
    if views.is_empty() {
        return "nobody else is here\n".into();
    }
    let width = views
        .iter()
        .map(|view| view.peer.to_string().chars().count())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for view in views {
        let name = view.peer.to_string();
        let (state, address, rooms) = (
            view.state.as_str(),
            format_address(view),
            format_shared_rooms(view),
        );
        let trip = view.rtt.map_or(String::new(), |rtt| format!("  {rtt} ms"));
        out.push_str(&format!(
            "{name:width$}  {state:6}  {rooms}  {address}{trip}\n"
        ));
    }
    out
}

/// The answer to /stats: a count and its name a line.
pub fn format_stats(stats: &[(&'static str, u64)]) -> String {
    let line = |(name, count): &(&str, u64)| format!("{count:>9}  {}\n", name.replace('_', " "));
    stats.iter().map(line).collect()
}

/// The answer to /rooms: one a line, the one spoken in marked.
pub fn format_room_list(rooms: &[Room]) -> String {
    if rooms.is_empty() {
        return "you are in no room: /join one\n".into();
    }
    let line = |(i, room): (usize, &Room)| {
        let mark = if i == 0 { "  (spoken in)" } else { "" };
        format!("{room}{mark}\n")
    };
    rooms.iter().enumerate().map(line).collect()
}
