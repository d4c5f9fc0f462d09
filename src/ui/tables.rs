//! Formats the answers to commands as tables.
use std::borrow::Cow;
use std::iter;

use jiff::tz::TimeZone;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::base::event::peer::{Peer, PeerInfo, PeerState};
use crate::base::guests::guest::{GuestInfo, guest_name};
use crate::base::name::Room;
use crate::base::time::WallTime;
use crate::base::trust::fingerprint::Fingerprint;
use crate::ui::profile::profile_text::format_profile;
use crate::ui::sanitize::sanitize;
use crate::ui::trust_command::TrustEntry;

/// The heading of `p2pchat peers` at a terminal.
const PEER_HEADING: [&str; 9] = [
    "NAME", "ID", "ADDRESS", "FOUND", "STATE", "MS", "ROOMS", "SEEN", "KEY",
];
/// Number of columns that a script gets. The last one is for people.
const SCRIPT_COLUMNS: usize = 8;
/// The heading of `p2pchat trust list` at a terminal.
const TRUST_HEADING: [&str; 5] = ["NAME", "ID", "STATE", "FIRST SEEN", "MISBEHAVIOUR"];
/// Length of an id in a table for a person. A selector accepts such a prefix.
const SHORT_ID_CHARS: usize = 8;
/// Number of blanks between two columns.
const COLUMN_GAP: usize = 2;
/// The width of a terminal that does not say it.
const DEFAULT_COLUMNS: usize = 80;
/// A cell that is cut keeps this width.
const CELL_COLUMNS_MIN: usize = 12;

fn format_address(info: &PeerInfo) -> String {
    match (&info.via, info.address) {
        (Some(via), _) => format!("via {via}"),
        (None, address) => address.map_or("-".into(), |a| a.to_string()),
    }
}

fn format_rtt(info: &PeerInfo) -> String {
    info.rtt.map_or("-".into(), |rtt| rtt.to_string())
}

fn format_shared_rooms(rooms: &[Room]) -> String {
    if rooms.is_empty() {
        return "-".into();
    }
    let names: Vec<&str> = rooms.iter().map(Room::as_str).collect();
    names.join(",")
}

/// The columns of a row: name, id, address, found, state, round trip in ms, rooms, when the peer
/// was last heard, and how well the key is known. `-` stands for a missing value.
type Row = [String; PEER_HEADING.len()];

/// Formats the rows of `p2pchat peers`: the columns name~abcd, id, address, found, state, round
/// trip in ms, rooms, and when the peer was last heard, separated by TAB.
pub fn format_peer_rows(peers: &[PeerInfo], guests: &[GuestInfo]) -> String {
    let mut out = String::new();
    for row in rows(peers, guests) {
        out.push_str(&row[..SCRIPT_COLUMNS].join("\t"));
        out.push('\n');
    }
    out
}

fn rows(peers: &[PeerInfo], guests: &[GuestInfo]) -> Vec<Row> {
    let peers = peers.iter().map(peer_columns);
    peers.chain(guests.iter().map(guest_columns)).collect()
}

fn peer_columns(info: &PeerInfo) -> Row {
    [
        info.peer.to_string(),
        info.peer.id.to_string(),
        format_address(info),
        info.found_via.as_str().into(),
        info.state.as_str().into(),
        format_rtt(info),
        format_shared_rooms(&info.rooms),
        info.last_seen.map_or("-".into(), |at| at.to_string()),
        info.familiarity.as_str().into(),
    ]
}

fn guest_columns(info: &GuestInfo) -> Row {
    [
        guest_name(&info.nick),
        "-".into(),
        info.address.to_string(),
        info.found_via.as_str().into(),
        PeerState::of_guest(info.is_gone).as_str().into(),
        "-".into(),
        format_shared_rooms(&info.rooms),
        "-".into(),
        "-".into(),
    ]
}

/// How a table is shown at a terminal.
pub struct TableView {
    /// The width of the terminal in columns; 0 if unknown.
    pub columns: u16,
    /// The time zone of its user.
    pub zone: TimeZone,
    /// The wall time.
    pub now: WallTime,
}

impl TableView {
    /// The time of day; of another day the month and the day, of another year the date.
    fn short_time(&self, at: WallTime) -> String {
        let (then, today) = (at.civil(&self.zone), self.now.civil(&self.zone).date());
        match then.date() {
            date if date == today => format!("{:02}:{:02}", then.hour(), then.minute()),
            date if date.year() == today.year() => {
                format!("{:02}-{:02}", date.month(), date.day())
            }
            date => date.to_string(),
        }
    }

    fn columns(&self) -> usize {
        match self.columns {
            0 => DEFAULT_COLUMNS,
            columns => columns.into(),
        }
    }
}

/// Formats the answer of `p2pchat peers` for a person: the columns of [`format_peer_rows`] with a
/// heading, aligned, with short ids and short times. A narrow terminal gets no ids, whose beginning
/// stands behind the names, and then shorter names, addresses and rooms. Empty without peers.
pub fn format_peer_table(peers: &[PeerInfo], guests: &[GuestInfo], view: &TableView) -> String {
    if peers.is_empty() && guests.is_empty() {
        return String::new();
    }
    let mut table = vec![PEER_HEADING.map(str::to_owned).to_vec()];
    let times = peers.iter().map(|info| info.last_seen);
    for (mut row, seen) in rows(peers, guests)
        .into_iter()
        .zip(times.chain(iter::repeat(None)))
    {
        row[1].truncate(SHORT_ID_CHARS);
        if let Some(at) = seen {
            row[7] = view.short_time(at);
        }
        table.push(row.to_vec());
    }
    fit(&mut table, view.columns());
    align(&table)
}

/// Shortens the rows of a table of peers to this width, as far as possible.
fn fit(table: &mut [Vec<String>], columns: usize) {
    if row_width(table) > columns {
        table.iter_mut().for_each(|row| drop(row.remove(1)));
    }
    for column in [1, 5, 0] {
        let surplus = row_width(table).saturating_sub(columns);
        let width = column_width(table, column).saturating_sub(surplus);
        for row in table.iter_mut().filter(|_| surplus > 0) {
            // The end of a name is the beginning of its id.
            let cell = &row[column];
            let tail = cell
                .rfind('~')
                .filter(|_| column == 0)
                .unwrap_or(cell.len());
            let (head, tail) = cell.split_at(tail);
            let head = cut(
                head,
                width.max(CELL_COLUMNS_MIN).saturating_sub(tail.width()),
            );
            row[column] = head + tail;
        }
    }
}

/// Cuts a text at this width, and marks that.
fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut cut = String::new();
    for c in text.chars() {
        if cut.width() + c.width().unwrap_or(0) >= columns {
            break;
        }
        cut.push(c);
    }
    cut + "…"
}

fn column_width(table: &[Vec<String>], column: usize) -> usize {
    let cells = table.iter().map(|row| row[column].width());
    cells.max().unwrap_or(0)
}

fn row_width(table: &[Vec<String>]) -> usize {
    let count = table.first().map_or(0, Vec::len);
    let cells = (0..count).map(|column| column_width(table, column) + COLUMN_GAP);
    cells.sum::<usize>().saturating_sub(COLUMN_GAP)
}

/// Pads the cells of each column to the same width.
fn align(table: &[Vec<String>]) -> String {
    let mut out = String::new();
    let count = table.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..count).map(|it| column_width(table, it)).collect();
    for row in table {
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < row.len() {
                let width = widths[column] + COLUMN_GAP;
                out.extend(iter::repeat_n(' ', width - cell.width()));
            }
        }
        out.push('\n');
    }
    out
}

/// Formats the answer to /users in aligned columns.
pub fn format_users(peers: &[PeerInfo], guests: &[GuestInfo]) -> String {
    let rows = rows(peers, guests);
    if rows.is_empty() {
        return "nobody else is here\n".into();
    }
    let widths = rows.iter().map(|[name, ..]| name.chars().count());
    let width = widths.max().unwrap_or(0);
    let mut out = String::new();
    let aways = peers.iter().map(|info| info.away.as_ref());
    let aways = aways.chain(iter::repeat(None));
    for ([name, _, address, _, state, rtt, rooms, seen, key], away) in rows.iter().zip(aways) {
        let key = match &**key {
            "-" => String::new(),
            key => format!("  ({key})"),
        };
        let rtt = match &**rtt {
            "-" => String::new(),
            ms => format!("  {ms} ms"),
        };
        let seen = match &**state {
            "gone" if seen != "-" => format!("  last seen {seen}"),
            _ => String::new(),
        };
        let away = away.map_or_else(String::new, |it| {
            format!("  ({})", sanitize(&it.to_string()))
        });
        out.push_str(&format!(
            "{name:width$}  {state:6}  {rooms}  {address}{rtt}{seen}{key}{away}\n"
        ));
    }
    out
}

/// Formats the answer to /stats. Each line contains a count and its name.
pub fn format_stats(
    counters: &[(Cow<'static, str>, u64)],
    troubles: &[(Cow<'static, str>, String)],
) -> String {
    let line =
        |(name, count): &(Cow<'_, str>, u64)| format!("{count:>9}  {}\n", name.replace('_', " "));
    let trouble = |(finder, trouble): &(Cow<'_, str>, String)| {
        let trouble = sanitize(trouble);
        format!("{finder}: {trouble}\n")
    };
    let counters = counters.iter().map(line);
    counters.chain(troubles.iter().map(trouble)).collect()
}

/// Formats the answer to /rooms, one room per line. Marks the first of `rooms` as the current room.
pub fn format_room_list(rooms: &[Room]) -> String {
    if rooms.is_empty() {
        return "in no room: /join one\n".into();
    }
    let line = |(i, room): (usize, &Room)| {
        let mark = if i == 0 { "  (current)" } else { "" };
        format!("{room}{mark}\n")
    };
    rooms.iter().enumerate().map(line).collect()
}

/// Formats the answer of `p2pchat trust` to a script: name~abcd, id, state, when the peer was
/// first seen, and what it has done wrong, separated by TAB.
pub fn format_trust_rows(entries: &[TrustEntry]) -> String {
    let rows = entries.iter().map(|entry| trust_columns(entry).join("\t"));
    rows.map(|row| row + "\n").collect()
}

/// Formats the answer of `p2pchat trust` to a person, with a heading and short ids. Empty without
/// entries.
pub fn format_trust_table(entries: &[TrustEntry]) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let mut table = vec![TRUST_HEADING.map(str::to_owned).to_vec()];
    for entry in entries {
        let mut row = trust_columns(entry);
        row[1].truncate(SHORT_ID_CHARS);
        row[2] = entry.describe().to_owned();
        // The day will do.
        row[3].truncate("2026-11-21".len());
        table.push(row.to_vec());
    }
    align(&table)
}

fn trust_columns(entry: &TrustEntry) -> [String; TRUST_HEADING.len()] {
    let known = &entry.known;
    [
        format!("{}~{}", known.nick, known.id.short()),
        known.id.to_string(),
        entry.state.as_str().to_owned(),
        known.first_seen.to_string(),
        entry.misbehaviour.to_string(),
    ]
}

/// Formats the answer to /whois: what is known of each key, where the peer is now, and what it says
/// about itself; or where guests are, and what they say.
pub fn format_whois(entries: &[TrustEntry], peers: &[PeerInfo], guests: &[GuestInfo]) -> String {
    let mut out = String::new();
    for guest in guests {
        out += &format_users(&[], std::slice::from_ref(guest));
        out += &format_profile(&guest_name(&guest.nick), &guest.profile);
    }
    for entry in entries {
        let id = entry.known.id;
        out += &format_trust_entry(entry);
        out += &format!("id: {id}\n");
        let here = peers.iter().filter(|info| info.peer.id == id);
        let here: Vec<PeerInfo> = here.cloned().collect();
        match here.is_empty() {
            true => out += "not here\n",
            false => out += &format_users(&here, &[]),
        }
        for info in here {
            if let Some(profile) = &info.profile {
                out += &format_profile(&info.peer.to_string(), profile);
            }
        }
    }
    out
}

/// Formats a part of the answer to /trust and /verify.
pub fn format_trust_entry(entry: &TrustEntry) -> String {
    let known = &entry.known;
    let since = known.first_seen.to_string();
    let day = since.split('T').next().unwrap_or(&since);
    let misbehaviour = match entry.misbehaviour.total() {
        0 => String::new(),
        _ => format!(", {}", entry.misbehaviour),
    };
    format!(
        "{}~{}: {}, first seen {day}, fingerprint {}{misbehaviour}\n",
        known.nick,
        known.id.short(),
        entry.describe(),
        Fingerprint::of(&known.id)
    )
}

/// Formats the answer to `whoami` and /code. `code` is the connection code.
pub fn format_own(own: &Peer, code: &str) -> String {
    format!(
        "name: {own}\nid: {}\nfingerprint: {}\ncode: {code}\n",
        own.id,
        Fingerprint::of(&own.id)
    )
}
