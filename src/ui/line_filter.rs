//! Which chat lines are printed: `--match REGEX` and `--from NAME`.
use super::session_event::ChatLines;
use crate::base::event::notice::Notice;
use crate::base::guests::guest_event::{GuestEvent, GuestNotice};
use crate::base::identity::PeerId;
use crate::base::name::{Nick, PeerSelector};

/// Largest compiled regular expression, in bytes. The time to search a line grows with it: with
/// this limit, the longest line takes less than a second on a small box.
#[cfg(feature = "match")]
const PATTERN_MAX_BYTES: usize = 64 * 1024;

/// A regular expression.
#[derive(Clone, Debug)]
pub struct LinePattern {
    #[cfg(feature = "match")]
    regex: regex_lite::Regex,
    text: String,
}

impl PartialEq for LinePattern {
    fn eq(&self, other: &LinePattern) -> bool {
        self.text == other.text
    }
}

impl Eq for LinePattern {}

impl LinePattern {
    /// Parses a regular expression.
    ///
    /// # Errors
    /// The text is none, or its compiled form is larger than 64 KiB. The sentence says so.
    #[cfg(feature = "match")]
    pub fn parse(text: &str) -> Result<LinePattern, String> {
        let mut builder = regex_lite::RegexBuilder::new(text);
        let regex = builder.size_limit(PATTERN_MAX_BYTES).build();
        let regex = regex.map_err(|error| error.to_string())?;
        let text = text.to_owned();
        Ok(LinePattern { regex, text })
    }

    /// Accepts any text. The option was refused.
    ///
    /// # Errors
    /// None.
    #[cfg(not(feature = "match"))]
    pub fn parse(text: &str) -> Result<LinePattern, String> {
        let text = text.to_owned();
        Ok(LinePattern { text })
    }

    fn is_in(&self, line: &str) -> bool {
        #[cfg(feature = "match")]
        return self.regex.is_match(line);
        #[cfg(not(feature = "match"))]
        line.contains(&self.text)
    }
}

/// Which lines are printed. By default all chat lines, and also the other lines of the transcript.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineFilter {
    /// Only lines of this author.
    pub author: Option<PeerSelector>,
    /// Only lines in which this is found.
    pub pattern: Option<LinePattern>,
    /// No comings and goings.
    pub hides_presence: bool,
}

/// The lines that are printed of a batch.
#[derive(Debug, PartialEq, Eq)]
pub struct SelectedLines {
    /// The lines, in order. Lines of one item are consecutive.
    pub runs: Vec<ChatLines>,
    /// Number of selected lines.
    pub count: u64,
    /// Whether no further line is to be printed.
    pub is_whole: bool,
}

impl SelectedLines {
    /// The sequence of the last selected line, if there is one.
    pub fn last_sequence(&self) -> Option<u64> {
        let last = self.runs.last()?;
        Some(last.sequence + last.count().saturating_sub(1))
    }
}

impl LineFilter {
    /// Whether everything is printed.
    pub fn is_empty(&self) -> bool {
        self.author.is_none() && self.pattern.is_none()
    }

    /// Whether lines of this author may be printed.
    pub fn has_author(&self, nick: &Nick, id: &PeerId) -> bool {
        let author = self.author.as_ref();
        author.is_none_or(|author| author.matches(nick, id))
    }

    /// Whether the regular expression, if there is one, is found in the line.
    pub fn is_found_in(&self, line: &str) -> bool {
        let pattern = self.pattern.as_ref();
        pattern.is_none_or(|pattern| pattern.is_in(line))
    }

    /// Selects the lines to print, at most `limit`.
    pub fn select(&self, mut chat: ChatLines, limit: Option<u64>) -> SelectedLines {
        let mut selected = SelectedLines {
            runs: Vec::new(),
            count: 0,
            is_whole: true,
        };
        let limit = limit.unwrap_or(u64::MAX);
        if !self.has_author(&chat.username, &chat.log.author) {
            return selected;
        }
        if self.pattern.is_none() {
            let count = chat.count();
            selected.count = count.min(limit);
            selected.is_whole = count <= limit;
            if !selected.is_whole {
                chat.truncate_lines(limit);
            }
            selected.runs.push(chat);
            return selected;
        }
        for (i, line) in (0..).zip(chat.text.lines()) {
            if !self.is_found_in(&chat.form.with_line_ends(line)) {
                continue;
            }
            if selected.count == limit {
                selected.is_whole = false;
                break;
            }
            selected.count += 1;
            selected.runs.push(ChatLines {
                log: chat.log.clone(),
                username: chat.username.clone(),
                sequence: chat.sequence + i,
                lamport: chat.lamport + i,
                text: [line, "\n"].concat().into(),
                ..chat
            });
        }
        selected
    }

    /// Whether a notice is printed. A notice that is no chat line is printed only if all lines are,
    /// except the answers to what the user sent.
    pub fn has_notice(&self, notice: &Notice) -> bool {
        match notice {
            Notice::Joined { .. }
            | Notice::Left { .. }
            | Notice::Renamed { .. }
            | Notice::Flapped { .. }
            | Notice::Presence { .. } => self.is_empty() && !self.hides_presence,
            Notice::Gap { .. } => self.is_empty(),
            Notice::Guest(guest) => {
                self.is_empty() && !self.hides_presence || self.has_guest_line(guest)
            }
            _ => true,
        }
    }

    fn has_guest_line(&self, guest: &GuestNotice) -> bool {
        let is_author = |author: &PeerSelector| match &guest.event {
            GuestEvent::Received {
                author: id,
                username,
                ..
            } => author.matches(username, id),
            _ => author
                .guest_name()
                .is_some_and(|name| name.to_lowercase() == guest.nick.as_str().to_lowercase()),
        };
        match &guest.event {
            GuestEvent::Posted { content, .. }
            | GuestEvent::Wrote { content, .. }
            | GuestEvent::Received { content, .. } => {
                self.author.as_ref().is_none_or(is_author) && self.is_found_in(content)
            }
            GuestEvent::Joined(_) | GuestEvent::Left(_) | GuestEvent::Remark { .. } => false,
        }
    }
}
