//! A frontier line records the range of every log at the time of writing. The next start of the
//! program then need not read older segments. Each segment begins with a frontier line, and a clean
//! end may append another.
use std::fmt;
use std::io::Write as _;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::base::batch::batch::LogId;
use crate::base::domain;
use crate::base::hex;
use crate::base::identity::{Hash, PeerId};
use crate::base::name::{FolderName, Target};
use crate::base::range::{Gap, LogRange, LogRanges};
use crate::base::republished_lines::RepublishedLines;
use crate::base::table::SortedMap;
use crate::base::text::json_objects::Objects;

/// Prefix of every frontier line, with the version of the format. The generation digits follow.
pub const FRONTIER_PREFIX: &[u8] = b"{\"type\":\"frontier\",\"format\":2,\"generation\":\"";
const GENERATION_DIGITS: usize = 8;
/// The highest generation. After this many rewrites, a segment's generation no longer grows.
const GENERATION_MAX: u64 = 99_999_999;
/// Number of bytes that [`parse_generation`] needs from the beginning of a segment.
pub const GENERATION_END: usize = FRONTIER_PREFIX.len() + GENERATION_DIGITS;
const CHECKSUM_PREFIX: &[u8] = b",\"check\":\"";
/// Number of hex digits in a checksum. The checksum is the beginning of a hash. It detects damage,
/// but not forgery.
const CHECKSUM_DIGITS: usize = 16;
/// The bytes of a frontier line after the checksum digits.
const CHECKSUM_SUFFIX: &[u8] = b"\"}";

/// Content of a frontier line: what the folder stored when the line was written.
#[derive(Clone, Debug, Default)]
pub struct Frontier {
    /// The range of each log.
    pub ranges: LogRanges,
    /// Stored bytes of each author, in all incarnations together.
    pub author_bytes: SortedMap<PeerId, u64>,
    /// No line before the frontier line has a higher Lamport number.
    pub max_lamport: u64,
}

/// One interval of consecutive stored lines of a log. A log with gaps has several intervals. The
/// intervals are written in descending order. If a gap begins at line 1, the last interval is
/// empty. In an empty interval `low` is 1, `high` is 0, and `hash` is missing.
#[derive(Deserialize)]
struct LogFields<'a> {
    sender: PeerId,
    incarnation: &'a str,
    /// The recipient of direct messages. Missing in the folder of a room.
    target: Option<&'a str>,
    low: u64,
    high: u64,
    hash: Option<Hash>,
    lamport: u64,
    /// See [`LogRange::begins_at`]. Missing if the value is 1, and parsed as 0 then. Only the
    /// highest interval has this field.
    #[serde(default)]
    begins_at: u64,
    /// See [`LogRange::lost_below`]. Missing if the value is 1, and parsed as 0 then. Only the
    /// highest interval has this field.
    #[serde(default)]
    lost_below: u64,
    #[serde(default)]
    republishes: Option<RepublishedLines>,
    /// See [`LogRange::news_from`]. Only the highest interval has this field.
    #[serde(default)]
    news_from: Option<u64>,
    /// The hash of the last missing batch in the gap above this interval. `None`: this is the log's
    /// highest interval.
    #[serde(default)]
    after: Option<Hash>,
    /// See [`Gap::was_printed`].
    #[serde(default)]
    printed: bool,
}

/// Appends a frontier line to `out`, including the line end. The parameters are the fields of a
/// [`Frontier`].
pub fn write(
    ranges: &[Arc<LogRange>],
    author_bytes: &SortedMap<PeerId, u64>,
    max_lamport: u64,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    out.extend_from_slice(FRONTIER_PREFIX);
    // Writing to a `Vec` cannot fail, here and below.
    let _ = write!(out, "{:0width$}\",\"logs\":[", 0, width = GENERATION_DIGITS);
    for range in ranges {
        write_interval(out, range, range.low, range.high, Some(&range.hash));
        for (name, line) in [
            ("begins_at", range.begins_at),
            ("lost_below", range.lost_below),
        ] {
            if line > 1 {
                let _ = write!(out, ",\"{name}\":{line}");
            }
        }
        if let Some(lines) = &range.republishes {
            let _ = write!(out, ",\"republishes\":{lines}");
        }
        if let Some(lamport) = range.news_from {
            let _ = write!(out, ",\"news_from\":{lamport}");
        }
        out.extend_from_slice(b"},");
        for gap in range.gaps.iter().rev() {
            let hash = gap.previous_hash.as_ref();
            write_interval(out, range, gap.stored_from, gap.from - 1, hash);
            let _ = write!(out, ",\"after\":\"{}\"", gap.last_hash);
            let printed: &[u8] = if gap.was_printed {
                b",\"printed\":true},"
            } else {
                b"},"
            };
            out.extend_from_slice(printed);
        }
    }
    // Removes the comma after the last entry.
    out.pop_if(|last| *last == b',');
    out.extend_from_slice(b"],\"authors\":{");
    for (i, (author, bytes)) in author_bytes.iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        let _ = write!(out, "{comma}\"{author}\":{bytes}");
    }
    let _ = write!(out, "}},\"max_lamport\":{max_lamport}");
    let checksum = checksum(&out[start..]);
    out.extend_from_slice(CHECKSUM_PREFIX);
    out.extend_from_slice(&checksum);
    out.extend_from_slice(CHECKSUM_SUFFIX);
    out.push(b'\n');
}

impl Frontier {
    /// Whether this line is a frontier line as it was written, without its line end.
    pub fn is_valid(line: &[u8]) -> bool {
        has_valid_checksum(line)
    }

    /// Parses a frontier line without its line end. `None`: the line is malformed, or its
    /// checksum does not match.
    pub fn parse(line: &[u8], folder: &FolderName) -> Option<Frontier> {
        has_valid_checksum(line).then_some(())?;
        let mut reader = FrontierReader {
            room: folder.room().map(Target::Room),
            frontier: Frontier::default(),
        };
        let mut source = serde_json::Deserializer::from_str(std::str::from_utf8(line).ok()?);
        Objects(&mut source).deserialize_map(&mut reader).ok()?;
        Some(reader.frontier)
    }
}

/// Reads the fields of a frontier line one log after the other. All of them together would take as
/// much memory as the line.
struct FrontierReader {
    /// The target of all logs. `None`: each entry has a target.
    room: Option<Target>,
    /// What was read so far.
    frontier: Frontier,
}

impl FrontierReader {
    /// Adds the entry of an interval. `None`: the entry is malformed.
    fn add(&mut self, fields: &LogFields<'_>) -> Option<()> {
        let log = LogId {
            target: match &self.room {
                Some(room) => room.clone(),
                None => Target::parse(fields.target?)?,
            },
            author: fields.sender,
            incarnation: hex::parse(fields.incarnation)?,
        };
        let ranges = &mut self.frontier.ranges;
        if let Some(after) = fields.after {
            let range = Arc::make_mut(ranges.get_mut(&log)?);
            let stored_above = range.gaps.first().map_or(range.low, |gap| gap.stored_from);
            let gap = Gap {
                stored_from: fields.low,
                from: fields.high.saturating_add(1),
                to: stored_above.saturating_sub(1),
                previous_hash: fields.hash,
                last_hash: after,
                was_printed: fields.printed,
            };
            range.gaps.insert(0, gap);
            return Some(());
        }
        ranges.insert(Arc::new(LogRange {
            log,
            low: fields.low,
            high: fields.high,
            hash: fields.hash?,
            lamport: fields.lamport,
            republishes: fields.republishes.map(Box::new),
            begins_at: fields.begins_at.max(1),
            lost_below: fields.lost_below.max(1),
            news_from: fields.news_from,
            gaps: Vec::new(),
        }));
        Some(())
    }
}

impl<'de> Visitor<'de> for &mut FrontierReader {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a frontier line")
    }

    /// Reads the line.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key()? {
            match name {
                "logs" => map.next_value_seed(&mut *self)?,
                "authors" => self.frontier.author_bytes = map.next_value()?,
                "max_lamport" => self.frontier.max_lamport = map.next_value()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    /// Reads the entries of the logs.
    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(fields) = entries.next_element()? {
            self.add(&fields)
                .ok_or_else(|| de::Error::custom("not the entry of a log"))?;
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &mut FrontierReader {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        source.deserialize_seq(self)
    }
}

/// Lines of some logs, searched in the segments of a folder.
#[derive(Default)]
pub struct WantedLines {
    /// For the [`log_entry_prefix`] of each log: the first wanted line.
    first: SortedMap<String, u64>,
}

impl WantedLines {
    /// Adds the lines of a log from the sequence `from` on.
    pub fn add(&mut self, log: &LogId, from: u64) {
        self.first.insert(log_entry_prefix(log), from);
    }

    /// Whether no line was added.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Whether none of the lines is stored before this frontier line. `line`: the frontier line
    /// without its line end. `None`: the checksum does not match.
    pub fn are_after(&self, line: &[u8]) -> Option<bool> {
        has_valid_checksum(line).then_some(())?;
        let mut rest = std::str::from_utf8(line).ok()?;
        while let Some((_, entry)) = rest.split_once('{') {
            rest = entry;
            // Other objects in the line have no such field.
            let Some((log, heads)) = entry.split_once("\"low\":") else {
                break;
            };
            if let Some(from) = self.first.get(log) {
                let (_, high) = heads.split_once("\"high\":")?;
                let high: u64 = high.split(',').next()?.parse().ok()?;
                // A log with gaps has several intervals, of which the highest comes first.
                if high >= *from {
                    return Some(false);
                }
            }
        }
        Some(true)
    }
}

/// Appends the entry of one interval, without the closing brace. The caller may append further
/// fields.
fn write_interval(out: &mut Vec<u8>, range: &LogRange, low: u64, high: u64, hash: Option<&Hash>) {
    let entry = log_entry_prefix(&range.log);
    let _ = write!(out, "{{{entry}\"low\":{low},\"high\":{high},");
    if let Some(hash) = hash {
        let _ = write!(out, "\"hash\":\"{hash}\",");
    }
    let _ = write!(out, "\"lamport\":{}", range.lamport);
}

/// Prefix of every entry of this log in a frontier line. No entry of another log has this prefix.
fn log_entry_prefix(log: &LogId) -> String {
    let (author, incarnation) = (log.author, log.incarnation);
    let entry = format!("\"sender\":\"{author}\",\"incarnation\":\"{incarnation:016x}\",");
    match &log.target {
        Target::Room(_) => entry,
        recipient => format!("{entry}\"target\":\"{recipient}\","),
    }
}

/// The part of a frontier line that the checksum covers: all bytes before the checksum. `None`: the
/// line is no whole frontier line.
fn checksummed_part(line: &[u8]) -> Option<&[u8]> {
    let end = line
        .len()
        .checked_sub(CHECKSUM_PREFIX.len() + CHECKSUM_DIGITS + CHECKSUM_SUFFIX.len())?;
    let is_whole = line.starts_with(FRONTIER_PREFIX) && line[end..].starts_with(CHECKSUM_PREFIX);
    is_whole.then(|| &line[..end])
}

fn has_valid_checksum(line: &[u8]) -> bool {
    checksummed_part(line)
        .is_some_and(|body| line[body.len() + CHECKSUM_PREFIX.len()..].starts_with(&checksum(body)))
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_DIGITS] {
    let mut digits = [0; CHECKSUM_DIGITS];
    let hash = Hash::of(&[domain::FRONTIER, body]).to_string();
    digits.copy_from_slice(&hash.as_bytes()[..CHECKSUM_DIGITS]);
    digits
}

/// Whether a line that begins with [`FRONTIER_PREFIX`] is as it was written. True as well for the
/// line without content that [`with_next_generation`] puts in place of a damaged one.
pub fn is_undamaged(line: &[u8]) -> bool {
    has_valid_checksum(line) || line.get(GENERATION_END..) == Some(CHECKSUM_SUFFIX)
}

/// The first line of a rewritten segment: a copy of its present first line, with a generation above
/// `generation`, up to a maximum. A damaged line is replaced by one without content, which counts
/// as absent but has the generation.
pub fn with_next_generation(line: &[u8], generation: u64) -> Vec<u8> {
    let next = generation.wrapping_add(1).clamp(1, GENERATION_MAX);
    let mut copy = FRONTIER_PREFIX.to_vec();
    let _ = write!(copy, "{next:0width$}", width = GENERATION_DIGITS);
    if let Some(body) = checksummed_part(line).filter(|_| has_valid_checksum(line)) {
        copy.extend_from_slice(&body[GENERATION_END..]);
        let checksum = checksum(&copy);
        copy.extend_from_slice(CHECKSUM_PREFIX);
        copy.extend_from_slice(&checksum);
    }
    copy.extend_from_slice(CHECKSUM_SUFFIX);
    copy
}

/// Reads the generation of a segment: how often the segment was rewritten. `head` contains the
/// first bytes of the segment. 0 if the segment does not begin with a frontier line.
pub fn parse_generation(head: &[u8]) -> u64 {
    let digits = head
        .strip_prefix(FRONTIER_PREFIX)
        .and_then(|rest| rest.get(..GENERATION_DIGITS));
    digits
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
        .unwrap_or(0)
}
