//! Renders notices as lines of the transcript, for a pipe or a terminal.
use std::io::Write as _;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::display_names::{DisplayNames, OWN_NAME};
use super::line_format::{BLOCK_LINE_END, LineFields, LineFormat};
use super::sanitize::sanitize;
use super::session_event::{ChatLines, EventKind};
use super::terminal_text::day_line::format_day_line;
use super::terminal_text::mention::find_mention;
use super::terminal_text::palette::Palette;
use crate::base::event::notice::{FlapKind, Notice};
use crate::base::event::peer::Peer;
use crate::base::guests::guest::{HAS_GUESTS, guest_name};
use crate::base::guests::guest_event::{GuestEvent, GuestNotice};
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room, Target};
use crate::base::text::line_form::LineForm;
use crate::base::time::WallTime;

/// How many lines of a block are shown at a terminal, which others would fill.
const BLOCK_ROWS_MAX: usize = 100;

#[derive(Clone)]
enum TextFormat {
    Pipe,
    Terminal {
        zone: TimeZone,
        palette: Palette,
        /// The day of the line above, which a day line has named. `None`: there is no line yet.
        day: Option<Date>,
    },
}

/// Renders notices as lines of the transcript.
#[derive(Clone)]
pub struct TextRenderer {
    format: TextFormat,
    names: DisplayNames,
    /// At a terminal, lines of this room are shown without the room's name.
    current_room: Option<Room>,
    own_id: PeerId,
    /// Our own name, which is highlighted where others say it.
    own_nick: Nick,
    /// Whether a line for the user was rendered: see [`TextRenderer::take_alert`].
    is_alert_due: bool,
    /// The text before each line of the batch being rendered.
    prefix: Vec<u8>,
    /// The end of the style of these lines.
    suffix: &'static str,
}

impl TextRenderer {
    /// Creates a renderer for scripts. Each line shows the time in UTC, the target, and the author
    /// as `name~abcd`. No colour is used.
    pub fn for_pipe(own: &Peer) -> TextRenderer {
        TextRenderer::new(TextFormat::Pipe, own)
    }

    /// Creates a renderer for people. It shows `[10:31] bob: Hey there!`, with the time in `zone`.
    /// A day line such as `--- Friday, 27 November 2026` comes before the first line of a day.
    pub fn for_terminal(own: &Peer, zone: TimeZone, palette: Palette) -> TextRenderer {
        let day = None;
        TextRenderer::new(TextFormat::Terminal { zone, palette, day }, own)
    }

    fn new(format: TextFormat, own: &Peer) -> TextRenderer {
        let mut names = DisplayNames::default();
        names.record(own);
        TextRenderer {
            format,
            names,
            current_room: None,
            own_id: own.id,
            own_nick: own.nick.clone(),
            is_alert_due: false,
            prefix: Vec::new(),
            suffix: "",
        }
    }

    /// Changes the colours. On a pipe there are none.
    pub fn set_palette(&mut self, new: Palette) {
        if let TextFormat::Terminal { palette, .. } = &mut self.format {
            *palette = new;
        }
    }

    /// Whether a line for the user was rendered since the last call: a direct message to us, or a
    /// line that says our name. Lines of a backlog, and answers, do not count.
    pub fn take_alert(&mut self) -> bool {
        std::mem::take(&mut self.is_alert_due)
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
                self.append_membership(room, peer, *at, "joined", out);
            }
            Notice::Left { room, peer, at } => {
                self.append_membership(room, peer, *at, "left", out);
            }
            Notice::Renamed {
                room,
                peer,
                old,
                at,
            } => self.append_rename(room, peer, old, *at, out),
            Notice::Presence {
                room,
                peer,
                away,
                at,
            } => {
                let change = away
                    .as_ref()
                    .map_or("is back".into(), |it| format!("is {it}"));
                self.append_membership(room, peer, *at, &sanitize(&change), out);
            }
            Notice::Flapped {
                room,
                peer,
                kind,
                count,
                at,
            } => {
                let changed = match kind {
                    FlapKind::Membership => "joined or left",
                    FlapKind::Name => "changed its name",
                    FlapKind::Away => "went away or came back",
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
            | Notice::SentToGuest(_)
            | Notice::Rooms(_)
            | Notice::OwnProfile(_)
            | Notice::Stats { .. }
            | Notice::Delivered { .. }
            | Notice::Resolved { .. }
            | Notice::Typing { .. }
            | Notice::KeyMismatch { .. }
            | Notice::DuplicateIdentity { .. }
            | Notice::Error { .. } => {}
        }
    }

    /// Appends lines with their time of arrival. Late lines get the author's time instead. Lines of
    /// a backlog, and lines without [`ChatLines::arrival`], also get the author's time.
    ///
    /// `today`: the first line of all needs no day line if it is of this day.
    pub fn append_chat(&mut self, chat: &ChatLines, today: WallTime, out: &mut Vec<u8>) {
        self.build_prefix(chat, today, out);
        let is_own = chat.log.author == self.own_id;
        let is_for_us = !is_own && chat.log.target.recipient() == Some(self.own_id);
        let is_news = chat.arrival.is_some_and(|arrival| !arrival.is_backlog);
        let is_pipe = matches!(self.format, TextFormat::Pipe);
        let mut has_mention = false;
        if is_pipe && !chat.text.has_control() {
            chat.append_framed(&self.prefix, self.suffix, out);
        } else {
            for line in chat.text.lines() {
                has_mention |= self.push_line(line, chat.form, !is_own, out);
            }
        }
        self.is_alert_due |= is_news && !chat.text.is_empty() && (is_for_us || has_mention);
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
        let time = chat.shown_time();
        let target = self.names.display_target(&chat.log.target);
        let (name, id) = (author.to_string(), author.id.to_string());
        for (text, sequence) in chat.text.lines().zip(chat.sequence..) {
            let fields = LineFields {
                time,
                target: &target,
                name: &name,
                id: &id,
                text,
                form: chat.form,
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
            form: LineForm::Text,
            sequence: None,
        };
        format.append(&fields, out);
    }

    /// Appends a line, or the lines of a block, of which all but the first are indented, so that
    /// none can pass as another message. `is_foreign`: whether somebody else says it. Returns
    /// whether our name is said.
    fn push_line(&self, line: &str, form: LineForm, is_foreign: bool, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(&self.prefix);
        let mut has_mention = false;
        let mut parts = form.parts(line);
        for (i, part) in parts.by_ref().take(self.parts_max()).enumerate() {
            if i > 0 {
                out.extend_from_slice(match &self.format {
                    TextFormat::Pipe => BLOCK_LINE_END.as_bytes(),
                    TextFormat::Terminal { .. } => b"\n    ",
                });
            }
            has_mention |= self.push_text(part, is_foreign, out);
        }
        if let more @ 1.. = parts.count() {
            // Writing to a `Vec` cannot fail.
            let _ = write!(out, "\n    ({more} more lines)");
        }
        out.extend_from_slice(self.suffix.as_bytes());
        out.push(b'\n');
        has_mention
    }

    fn parts_max(&self) -> usize {
        match &self.format {
            TextFormat::Pipe => usize::MAX,
            TextFormat::Terminal { .. } => BLOCK_ROWS_MAX,
        }
    }

    /// Appends text without line ends. `is_foreign`: whether somebody else says it. At a terminal,
    /// our name is highlighted in it. Returns whether it says our name.
    fn push_text(&self, line: &str, is_foreign: bool, out: &mut Vec<u8>) -> bool {
        let has_mentions = is_foreign && matches!(self.format, TextFormat::Terminal { .. });
        let (mut end, mut has_mention) = (0, false);
        while has_mentions && let Some(name) = find_mention(line, self.own_nick.as_str(), end) {
            out.extend_from_slice(sanitize(&line[end..name.start]).as_bytes());
            end = name.end;
            self.push_styled("7", "27", &sanitize(&line[name]), out);
            has_mention = true;
        }
        out.extend_from_slice(sanitize(&line[end..]).as_bytes());
        has_mention
    }

    /// Appends text in a style, unless there are none. `on` and `off` are parameters of SGR.
    fn push_styled(&self, on: &str, off: &str, text: &str, out: &mut Vec<u8>) {
        // Writing to a `Vec` cannot fail.
        let _ = match self.palette() {
            Palette::None => write!(out, "{text}"),
            _ if on.is_empty() => write!(out, "{text}"),
            _ => write!(out, "\x1b[{on}m{text}\x1b[{off}m"),
        };
    }

    fn palette(&self) -> Palette {
        match &self.format {
            TextFormat::Pipe => Palette::None,
            TextFormat::Terminal { palette, .. } => *palette,
        }
    }

    /// Sets [`TextRenderer::prefix`] for the lines of a batch: the time, the target and the author.
    /// Appends a day line if it is due.
    fn build_prefix(&mut self, chat: &ChatLines, today: WallTime, out: &mut Vec<u8>) {
        let author = Peer {
            id: chat.log.author,
            nick: chat.username.clone(),
        };
        self.names.record(&author);
        let at = chat.shown_time();
        self.push_day(at, today, out);
        let mut prefix = std::mem::take(&mut self.prefix);
        prefix.clear();
        let is_late = chat
            .arrival
            .is_some_and(|arrival| arrival.late && !arrival.is_backlog);
        let recipient = chat.log.target.recipient();
        let is_direct = recipient.is_some();
        let palette = self.palette();
        let style = palette.line_style(is_direct, is_late);
        self.push_time(at, &mut prefix);
        let recipient = match (&self.format, recipient) {
            (TextFormat::Terminal { .. }, Some(recipient)) => {
                Some(self.display_party(&recipient, None))
            }
            _ => {
                self.push_target(&chat.log.target, &mut prefix);
                None
            }
        };
        if !style.is_empty() {
            let _ = write!(prefix, "\x1b[{style}m");
        }
        let name = match recipient {
            Some(_) => self.display_party(&author.id, Some(&author)),
            None => self.display_name(&author),
        };
        let is_action = chat.form == LineForm::Action;
        let _ = prefix.write_all(if is_action { b"** " } else { b"" });
        match style.is_empty() {
            true => self.push_styled(palette.name_style(&author.id), "0", &name, &mut prefix),
            false => prefix.extend_from_slice(name.as_bytes()),
        }
        if let Some(recipient) = recipient {
            let _ = write!(prefix, " → {recipient}");
        }
        let _ = prefix.write_all(if is_action { b" " } else { b": " });
        self.suffix = if style.is_empty() { "" } else { "\x1b[0m" };
        self.prefix = prefix;
    }

    /// The author or the recipient of a direct message. `peer`: with the name that he claims.
    fn display_party(&self, id: &PeerId, peer: Option<&Peer>) -> String {
        match (peer, self.names.nick(id)) {
            _ if *id == self.own_id => OWN_NAME.to_owned(),
            (Some(peer), _) => self.display_name(peer),
            (None, Some(nick)) => self.names.display_name(&Peer {
                id: *id,
                nick: nick.clone(),
            }),
            (None, None) => format!("?~{}", id.short()),
        }
    }

    fn append_membership(
        &mut self,
        room: &Room,
        peer: &Peer,
        at: WallTime,
        change: &str,
        out: &mut Vec<u8>,
    ) {
        self.names.record(peer);
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
        if peer.id == self.own_id {
            self.own_nick = peer.nick.clone();
        }
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
    fn append_status_line(
        &mut self,
        target: &Target,
        at: WallTime,
        sentence: &str,
        out: &mut Vec<u8>,
    ) {
        self.push_day(at, at, out);
        self.push_time(at, out);
        self.push_target(target, out);
        self.push_styled("2", "0", sentence, out);
        out.push(b'\n');
    }

    fn append_guest_event(&mut self, notice: &GuestNotice, out: &mut Vec<u8>) {
        if !HAS_GUESTS {
            return;
        }
        let (at, name) = (notice.at, guest_name(&notice.nick));
        let is_terminal = matches!(self.format, TextFormat::Terminal { .. });
        let target = match &notice.event {
            GuestEvent::Received { .. } | GuestEvent::Wrote { .. } if is_terminal => String::new(),
            GuestEvent::Received { .. } => format!("@{name}"),
            GuestEvent::Wrote { recipient, .. } => {
                self.names.display_target(&Target::Peer(*recipient))
            }
            GuestEvent::Joined(room) | GuestEvent::Left(room) => self.shown_room(room),
            GuestEvent::Posted { room, .. } | GuestEvent::Remark { room, .. } => {
                self.shown_room(room)
            }
        };
        self.push_day(at, at, out);
        self.push_time(at, out);
        if !target.is_empty() {
            let _ = write!(out, "{target} ");
        }
        let mut style = "";
        let sentence = match &notice.event {
            GuestEvent::Joined(_) => format!("* {name} joined"),
            GuestEvent::Left(_) => format!("* {name} left"),
            GuestEvent::Remark { content, .. } => format!("- {name} {content}"),
            GuestEvent::Wrote { content, .. } if is_terminal => {
                style = self.palette().line_style(true, false);
                self.is_alert_due = true;
                format!("{name} → you: {content}")
            }
            GuestEvent::Received { content, .. } if is_terminal => {
                style = self.palette().line_style(true, false);
                format!("you → {name}: {content}")
            }
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
        self.push_styled(style, "0", &sanitize(&sentence), out);
        out.push(b'\n');
    }

    fn display_name(&self, peer: &Peer) -> String {
        match self.format {
            TextFormat::Pipe => peer.to_string(),
            TextFormat::Terminal { .. } => self.names.display_name(peer),
        }
    }

    /// Appends a line that heads others. It is dim if colours are on.
    pub fn append_heading(&self, heading: &str, out: &mut Vec<u8>) {
        self.push_styled("2", "0", heading, out);
        out.push(b'\n');
    }

    fn push_target(&self, target: &Target, out: &mut Vec<u8>) {
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

    /// Appends the time `at` and a blank.
    fn push_time(&self, at: WallTime, out: &mut Vec<u8>) {
        match &self.format {
            // Writing to a `Vec` cannot fail.
            TextFormat::Pipe => drop(write!(out, "{at} ")),
            TextFormat::Terminal { zone, .. } => {
                let then = at.civil(zone);
                let time = format!("[{:02}:{:02}]", then.hour(), then.minute());
                self.push_styled("2", "0", &time, out);
                out.push(b' ');
            }
        }
    }

    /// Appends a day line at a terminal, if `at` is on another day than the line above. The first
    /// line of all needs none if it is of `today`. `today` is 1970 if the clock is not set.
    fn push_day(&mut self, at: WallTime, today: WallTime, out: &mut Vec<u8>) {
        let TextFormat::Terminal { zone, day, .. } = &mut self.format else {
            return;
        };
        let date = at.civil(zone).date();
        let today = match today {
            WallTime(1..) => today.civil(zone).date(),
            _ => date,
        };
        if day.replace(date).unwrap_or(today) != date {
            self.append_heading(&format_day_line(date), out);
        }
    }
}
