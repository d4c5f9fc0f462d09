//! Lines that were said while the user was away. They come within a short time, when peers are
//! linked again. Only the newest of them are shown, together and in the total order.
use crate::base::line_key::LineKey;
use crate::base::name::{FolderName, Room};
use crate::base::table::SortedMap;
use crate::base::time::{Now, Time, WallTime};
use crate::shell::session::frontend::printed::record_last;
use crate::ui::session_event::{ChatLines, FolderCursor};

/// How many missed lines are shown. /history has the others.
pub const MISSED_LINES_SHOWN: usize = 40;
/// How long no further missed line must have come before the missed lines are shown, in
/// milliseconds. Peers send theirs one after the other.
const QUIET_MS: u64 = 300;
/// Longest time for which a missed line waits to be shown, in milliseconds.
const WAIT_MAX_MS: u64 = 3_000;
/// How long after the start of the program the user counts as having been away, in milliseconds.
/// Later a link may have failed while the user was here.
const RETURN_MS: u64 = 60_000;
/// How long after it was said a line that was said during this run must come to be shown as late,
/// in milliseconds. A program that only sends is linked after the user has entered the line.
const LATE_MS: u64 = 60_000;

/// Missed lines that wait to be shown.
#[derive(Default)]
pub struct MissedLines {
    /// When this run began. `None`: the first turn has not begun yet.
    started: Option<Now>,
    /// When the first and the last of the waiting lines came. `None`: no line waits.
    came: Option<(Time, Time)>,
    /// How many lines wait, with those that are not shown.
    count: u64,
    /// The newest lines, one in each value.
    newest: SortedMap<LineKey, ChatLines>,
    /// The places in folders that count as printed once the lines are shown.
    printed: Vec<(FolderName, FolderCursor)>,
    /// Whether missed lines were shown before.
    is_told: bool,
}

/// The missed lines to show.
pub struct ShownLines {
    /// The line above them. `None`: there are few, and the user was not away.
    pub heading: Option<String>,
    /// The newest lines, in the total order.
    pub lines: Vec<ChatLines>,
    /// What is then printed.
    pub printed: Vec<(FolderName, FolderCursor)>,
}

impl MissedLines {
    /// Begins a turn.
    pub fn begin_turn(&mut self, now: Now) {
        self.started.get_or_insert(now);
    }

    /// Whether these lines were said, or stored, before this run: while the user was away. Direct
    /// messages, and what was said during this run, are shown at once, and all of them.
    pub fn is_missed(&self, chat: &ChatLines) -> bool {
        let started = self.started.map_or(WallTime::MIN, |now| now.wall);
        chat.log.target.recipient().is_none()
            && chat.arrival.is_some_and(|arrival| {
                let is_stored =
                    arrival.received != WallTime::default() && arrival.received < started;
                let is_from_before = arrival.late && chat.timestamp < started;
                !arrival.is_own && !arrival.is_backlog && (is_from_before || is_stored)
            })
    }

    /// Shows lines as live ones that came within a minute after they were said, during this run.
    pub fn mark_live(&self, chat: &mut ChatLines) {
        let started = self.started.map_or(WallTime::MIN, |now| now.wall);
        if let Some(arrival) = &mut chat.arrival
            && arrival.received != WallTime::default()
            && chat.timestamp >= started
        {
            let age_ms = arrival.received.0.saturating_sub(chat.timestamp.0);
            arrival.late &= age_ms >= LATE_MS as i64;
        }
    }

    /// Whether no line waits.
    pub fn is_empty(&self) -> bool {
        self.came.is_none()
    }

    /// Adds missed lines.
    pub fn add(&mut self, mut chat: ChatLines, now: Time) {
        let first = self.came.map_or(now, |(first, _)| first);
        self.came = Some((first, now));
        let count = chat.count();
        self.count += count;
        chat.skip_lines(count.saturating_sub(MISSED_LINES_SHOWN as u64));
        while !chat.text.is_empty() {
            let mut line = chat.clone();
            line.truncate_lines(1);
            chat.skip_lines(1);
            self.newest.insert(line.key(), line);
            if self.newest.len() > MISSED_LINES_SHOWN {
                let oldest = self.newest.keys().next().copied();
                oldest.map(|key| self.newest.remove(&key));
            }
        }
    }

    /// Records a place that counts as printed once the lines are shown.
    pub fn record_printed(&mut self, folder: FolderName, cursor: FolderCursor) {
        record_last(&mut self.printed, folder, cursor);
    }

    /// When the waiting lines are to be shown. `None`: no line waits.
    pub fn deadline(&self) -> Option<Time> {
        let (first, last) = self.came?;
        Some((last + QUIET_MS).min(first + WAIT_MAX_MS))
    }

    /// Takes the waiting lines.
    pub fn take(&mut self) -> ShownLines {
        let (came, started) = (self.came.take(), self.started);
        let returned = match (came, started) {
            (Some((first, _)), Some(started)) => first.ms_since(started.time) < RETURN_MS,
            _ => false,
        };
        let was_away = returned && !std::mem::replace(&mut self.is_told, true);
        let count = std::mem::take(&mut self.count);
        let newest = std::mem::take(&mut self.newest);
        let is_whole = count == newest.len() as u64;
        ShownLines {
            heading: (was_away || !is_whole).then(|| format_heading(count, newest.len())),
            lines: newest.into_values().collect(),
            printed: std::mem::take(&mut self.printed),
        }
    }
}

impl ShownLines {
    /// The first shown line of a room.
    pub fn first_of(&self, room: &Room) -> Option<LineKey> {
        let mut lines = self.lines.iter();
        let first = lines.find(|chat| chat.log.target.room() == Some(room));
        first.map(ChatLines::key)
    }
}

/// The line above missed lines: `--- 1 204 lines while you were away; the last 40:`.
fn format_heading(count: u64, shown: usize) -> String {
    let lines = if count == 1 { "line" } else { "lines" };
    let last = match count > shown as u64 {
        true => format!("; the last {shown}"),
        false => String::new(),
    };
    format!(
        "--- {} {lines} while you were away{last}:",
        group_digits(count)
    )
}

/// A number with a blank before each three digits.
fn group_digits(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}
