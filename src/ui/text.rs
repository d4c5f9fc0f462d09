//! Renders notices as lines of the transcript, for a pipe or a terminal.
use std::io::Write as _;

use jiff::tz::TimeZone;

use super::display_names::DisplayNames;
use super::line_format::{LineFields, LineFormat};
use super::sanitize::sanitize;
use super::session_event::{Arrival, ChatLines, EventKind};
use crate::base::event::notice::{FlapKind, Notice};
use crate::base::event::peer::Peer;
use crate::base::guests::guest::{HAS_GUESTS, guest_name};
use crate::base::guests::guest_event::{GuestEvent, GuestNotice};
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room, Target};
use crate::base::time::WallTime;

#[derive(Clone)]
enum TextFormat {
    Pipe,
    Terminal { zone: TimeZone, color: bool },
}

/// Renders notices as lines of the transcript.
#[derive(Clone)]
pub struct TextRenderer {
    format: TextFormat,
    names: DisplayNames,
    /// At a terminal, lines of this room are shown without the room's name.
    current_room: Option<Room>,
    /// The text before each line of the batch being rendered.
    prefix: Vec<u8>,
}

impl TextRenderer {
    /// Creates a renderer for scripts. Each line shows the time in UTC, the target, and the author
    /// as `name~abcd`. No colour is used.
    pub fn for_pipe(own: &Peer) -> TextRenderer {
        TextRenderer::new(TextFormat::Pipe, own)
    }

    /// Creates a renderer for people. It shows `[10:31] bob: Hey there!`, with the time in `zone`.
    pub fn for_terminal(own: &Peer, zone: TimeZone, color: bool) -> TextRenderer {
        TextRenderer::new(TextFormat::Terminal { zone, color }, own)
    }

    fn new(format: TextFormat, own: &Peer) -> TextRenderer {
        let mut names = DisplayNames::default();
        names.record(own);
        TextRenderer {
            format,
            names,
            current_room: None,
            prefix: Vec::new(),
        }
    }

    /// Sets the room whose lines are shown without the room's name at a terminal.
    pub fn set_current_room(&mut self, room: Option<Room>) {
        self.current_room = room;
    }

    /// The names of peers that the renderer has recorded.
    pub fn names(&self) -> &DisplayNames {
        &self.names
    }

    /// See [`DisplayNames::record_known`].
    pub fn record_known_name(&mut self, id: PeerId, nick: &Nick) {
        self.names.record_known(id, nick);
    }

    /// Appends the lines that show a notice, each ended by `\n`. Appends nothing for a notice that
    /// has no place in the transcript.
    pub fn append_notice(&mut self, notice: &Notice, out: &mut Vec<u8>) {
        match notice {
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
            } => self.append_rename(room, peer, old, *at, out),
            Notice::Flapped {
                room,
                peer,
                kind,
                count,
                at,
            } => {
                self.names.record(peer);
                let changed = match kind {
                    FlapKind::Membership => "joined or left",
                    FlapKind::Name => "changed its name",
                };
                let change = format!("{changed} {count} times in the last minute");
                self.append_membership(room, peer, *at, &change, out);
            }
            Notice::Gap {
                target,
                author,
                from,
                to,
                at,
                ..
            } => {
                let count = to.saturating_sub(*from).saturating_add(1);
                self.append_gap(target, author, count, *at, out);
            }
            Notice::Read { log, peer, at, .. } => {
                self.names.record(peer);
                // Scripts get read marks only with `--json`.
                if matches!(self.format, TextFormat::Terminal { .. }) {
                    let what = format!("* {} has read it", self.display_name(peer));
                    self.append_status_line(&log.target, *at, &what, out);
                }
            }
            Notice::Guest(notice) => self.append_guest_event(notice, out),
            Notice::Peers(views) => views.iter().for_each(|view| self.names.record(&view.peer)),
            Notice::Chat(_)
            | Notice::Guests(_)
            | Notice::Rooms(_)
            | Notice::Stats { .. }
            | Notice::Delivered { .. }
            | Notice::Resolved { .. }
            | Notice::KeyMismatch { .. }
            | Notice::DuplicateIdentity { .. }
            | Notice::Error { .. } => {}
        }
    }

    /// Appends lines with their time of arrival. Late lines get the author's time instead. Lines of
    /// a backlog, and lines without [`ChatLines::arrival`], also get the author's time.
    ///
    /// At a terminal, the author's time has a date if late lines arrived on another day. The other
    /// lines with the author's time have a date if the author's day is not `today`.
    pub fn append_chat(&mut self, chat: &ChatLines, today: WallTime, out: &mut Vec<u8>) {
        let (at, day) = shown_time(chat, today);
        self.build_prefix(chat, at, day);
        for line in chat.text.split_terminator('\n') {
            self.push_line(line, out);
        }
    }

    /// Appends what is said in an event, in the user's own form. Appends nothing for a notice that
    /// is not said by anybody.
    pub fn append_formatted(&mut self, format: &LineFormat, kind: &EventKind, out: &mut Vec<u8>) {
        match kind {
            EventKind::Chat { chat, .. } => self.append_formatted_chat(format, chat, out),
            EventKind::Notice(notice) => match &**notice {
                Notice::Guest(notice) => self.append_formatted_guest(format, notice, out),
                // For the names in it.
                notice => self.append_notice(notice, &mut Vec::new()),
            },
            _ => {}
        }
    }

    fn append_formatted_chat(&mut self, format: &LineFormat, chat: &ChatLines, out: &mut Vec<u8>) {
        let author = Peer {
            id: chat.log.author,
            nick: chat.username.clone(),
        };
        self.names.record(&author);
        let (time, _) = shown_time(chat, WallTime::default());
        let target = self.names.display_target(&chat.log.target);
        let (name, id) = (author.to_string(), author.id.to_string());
        for (text, sequence) in chat.text.split_terminator('\n').zip(chat.sequence..) {
            let fields = LineFields {
                time,
                target: &target,
                name: &name,
                id: &id,
                text,
                sequence: Some(sequence),
            };
            format.append(&fields, out);
        }
    }

    fn append_formatted_guest(&self, format: &LineFormat, notice: &GuestNotice, out: &mut Vec<u8>) {
        if !HAS_GUESTS {
            return;
        }
        let guest = guest_name(&notice.nick);
        let (target, name, id, text) = match &notice.event {
            GuestEvent::Posted { room, content } => {
                (room.to_string(), guest, String::new(), content)
            }
            GuestEvent::Wrote { recipient, content } => {
                let target = self.names.display_target(&Target::Peer(*recipient));
                (target, guest, String::new(), content)
            }
            GuestEvent::Received {
                author: id,
                username: nick,
                content,
            } => {
                let (id, nick) = (*id, nick.clone());
                let name = Peer { id, nick }.to_string();
                (format!("@{guest}"), name, id.to_string(), content)
            }
            GuestEvent::Joined(_) | GuestEvent::Left(_) | GuestEvent::Remark { .. } => return,
        };
        let fields = LineFields {
            time: notice.at,
            target: &target,
            name: &name,
            id: &id,
            text,
            sequence: None,
        };
        format.append(&fields, out);
    }

    fn push_line(&self, line: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(sanitize(line).as_bytes());
        out.push(b'\n');
    }

    /// Sets [`TextRenderer::prefix`] for the lines of a batch: the time `at`, the target and the
    /// author. For `today`, see [`TextRenderer::push_time_and_target`].
    fn build_prefix(&mut self, chat: &ChatLines, at: WallTime, today: Option<WallTime>) {
        let peer = Peer {
            id: chat.log.author,
            nick: chat.username.clone(),
        };
        self.names.record(&peer);
        let mut prefix = std::mem::take(&mut self.prefix);
        prefix.clear();
        self.push_time_and_target(at, today, &chat.log.target, &mut prefix);
        self.push_author(&peer, chat.action, &mut prefix);
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
        change: &str,
        out: &mut Vec<u8>,
    ) {
        let sentence = format!("* {} {change}", self.display_name(peer));
        self.append_status_line(&Target::Room(room.clone()), at, &sentence, out);
    }

    fn append_rename(
        &mut self,
        room: &Room,
        peer: &Peer,
        old: &Nick,
        at: WallTime,
        out: &mut Vec<u8>,
    ) {
        let before = Peer {
            id: peer.id,
            nick: old.clone(),
        };
        self.names.record(&before);
        let old_name = self.display_name(&before);
        self.names.record(peer);
        let sentence = format!("* {old_name} is now known as {}", self.display_name(peer));
        self.append_status_line(&Target::Room(room.clone()), at, &sentence, out);
    }

    fn append_gap(
        &mut self,
        target: &Target,
        author: &Peer,
        count: u64,
        at: WallTime,
        out: &mut Vec<u8>,
    ) {
        self.names.record(author);
        let (lines, are) = if count == 1 {
            ("line", "is")
        } else {
            ("lines", "are")
        };
        let name = self.display_name(author);
        let sentence = format!("- {count} {lines} of {name} {are} missing");
        self.append_status_line(target, at, &sentence, out);
    }

    /// Appends a line that reports an event instead of a message. The sentence is dim if colours
    /// are on.
    fn append_status_line(&self, target: &Target, at: WallTime, sentence: &str, out: &mut Vec<u8>) {
        self.push_time_and_target(at, None, target, out);
        let _ = match self.format {
            TextFormat::Terminal { color: true, .. } => writeln!(out, "\x1b[2m{sentence}\x1b[0m"),
            _ => writeln!(out, "{sentence}"),
        };
    }

    fn append_guest_event(&mut self, notice: &GuestNotice, out: &mut Vec<u8>) {
        if !HAS_GUESTS {
            return;
        }
        let (at, name) = (notice.at, guest_name(&notice.nick));
        let target = match &notice.event {
            GuestEvent::Received { .. } => format!("@{name}"),
            GuestEvent::Wrote { recipient, .. } => {
                self.names.display_target(&Target::Peer(*recipient))
            }
            GuestEvent::Joined(room) | GuestEvent::Left(room) => self.shown_room(room),
            GuestEvent::Posted { room, .. } | GuestEvent::Remark { room, .. } => {
                self.shown_room(room)
            }
        };
        self.push_time(at, None, out);
        if !target.is_empty() {
            let _ = write!(out, "{target} ");
        }
        let sentence = match &notice.event {
            GuestEvent::Joined(_) => format!("* {name} joined"),
            GuestEvent::Left(_) => format!("* {name} left"),
            GuestEvent::Remark { content, .. } => format!("- {name} {content}"),
            GuestEvent::Posted { content, .. } | GuestEvent::Wrote { content, .. } => {
                format!("{name}: {content}")
            }
            GuestEvent::Received {
                author,
                username,
                content,
            } => {
                let author = Peer {
                    id: *author,
                    nick: username.clone(),
                };
                format!("{}: {content}", self.display_name(&author))
            }
        };
        let _ = writeln!(out, "{}", sanitize(&sentence));
    }

    fn display_name(&self, peer: &Peer) -> String {
        match self.format {
            TextFormat::Pipe => peer.to_string(),
            TextFormat::Terminal { .. } => self.names.display_name(peer),
        }
    }

    /// Appends the time `at` and the target. For `today`, see [`TextRenderer::push_time`].
    fn push_time_and_target(
        &self,
        at: WallTime,
        today: Option<WallTime>,
        target: &Target,
        out: &mut Vec<u8>,
    ) {
        self.push_time(at, today, out);
        let shown = match target {
            Target::Room(room) => self.shown_room(room),
            Target::Peer(_) => self.names.display_target(target),
        };
        if !shown.is_empty() {
            let _ = write!(out, "{shown} ");
        }
    }

    /// The name of a room. Empty for the current room at a terminal.
    fn shown_room(&self, room: &Room) -> String {
        match self.format {
            TextFormat::Terminal { .. } if Some(room) == self.current_room.as_ref() => {
                String::new()
            }
            _ => room.to_string(),
        }
    }

    /// Appends the time `at` and a blank. At a terminal, the date comes first if `at` is on another
    /// day than `today`. Without `today`, no date is shown at a terminal.
    fn push_time(&self, at: WallTime, today: Option<WallTime>, out: &mut Vec<u8>) {
        // Writing to a `Vec` cannot fail.
        let _ = match &self.format {
            TextFormat::Pipe => write!(out, "{at} "),
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
                write!(
                    out,
                    "{dim}[{day}{:02}:{:02}]{off} ",
                    then.hour(),
                    then.minute()
                )
            }
        };
    }
}

/// The time to show of lines, and the day with which a terminal compares it: see
/// [`TextRenderer::push_time`].
fn shown_time(chat: &ChatLines, today: WallTime) -> (WallTime, Option<WallTime>) {
    match chat.arrival {
        None
        | Some(Arrival {
            is_backlog: true, ..
        }) => (chat.timestamp, Some(today)),
        Some(Arrival { received, late, .. }) if late || received == WallTime::default() => {
            (chat.timestamp, Some(received))
        }
        Some(Arrival { received, .. }) => (received, None),
    }
}
