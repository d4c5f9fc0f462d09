//! Scans all stored lines of a network for history queries. A scan needs no lock, even while a
//! program writes.
//!
//! A writer only appends to the file of a segment, or replaces the whole file. A reader therefore
//! sees whole lines up to the last line end. If a segment vanishes between listing and reading, it
//! was evicted.
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::batch::batch::{Batch, LogId};
use crate::base::event::load::Position;
use crate::base::identity::NetworkTag;
use crate::base::line_key::LineKey;
use crate::base::name::{FolderName, Room};
use crate::base::range::LogRange;
use crate::base::table::{SortedMap, SortedSet, sorted_by_number};
use crate::shell::os::file::{self, Access};
use crate::shell::store::memory::MemoryStore;
use crate::shell::store::segment::frontier::Frontier;
use crate::shell::store::segment::segment_file;
use crate::shell::store::segment::segment_reader::{FileLine, SegmentReader};

/// The place where the lines of one network are stored.
pub enum HistorySource<'a> {
    /// The directory of the network. A missing directory has no folders.
    Disk(PathBuf),
    /// A store in memory. Each folder counts as one segment.
    Memory(&'a MemoryStore),
}

impl HistorySource<'_> {
    /// The lines of `network` on disk. `history_dir` contains one directory for each network.
    pub fn on_disk(history_dir: &Path, network: NetworkTag) -> HistorySource<'static> {
        HistorySource::Disk(history_dir.join(network.dir_name()))
    }

    fn folders(&self) -> io::Result<SortedSet<FolderName>> {
        let dir = match self {
            HistorySource::Disk(dir) => dir,
            HistorySource::Memory(memory) => return Ok(memory.folders().cloned().collect()),
        };
        let mut folders = SortedSet::new();
        for entry in file::if_exists(fs::read_dir(dir))?.into_iter().flatten() {
            let name = entry?.file_name();
            folders.extend(name.to_str().and_then(FolderName::parse));
        }
        Ok(folders)
    }

    /// The directory of a folder. Empty if the store is in memory.
    pub fn folder_dir(&self, folder: &FolderName) -> PathBuf {
        match self {
            HistorySource::Disk(dir) => dir.join(folder.as_str()),
            HistorySource::Memory(_) => PathBuf::new(),
        }
    }

    fn segment_numbers(&self, folder: &FolderName) -> io::Result<Vec<u64>> {
        let HistorySource::Disk(dir) = self else {
            return Ok(vec![0]);
        };
        match segment_file::list_numbers(&dir.join(folder.as_str())) {
            Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(Vec::new()),
            numbers => numbers,
        }
    }

    /// Calls `visit` for each whole line of a segment, up to the end of `span`. Does not check
    /// where `span` begins. A store in memory passes the record's number as number and offset.
    ///
    /// # Errors
    /// The segment can't be read. A missing segment is no error and has no lines.
    pub fn for_each_line(
        &self,
        span: &FolderSpan,
        number: u64,
        visit: &mut dyn FnMut(FileLine<'_>),
    ) -> io::Result<()> {
        match self {
            HistorySource::Disk(dir) => {
                let reader = SegmentReader::open(&dir.join(span.name.as_str()), number);
                let Some(mut reader) = file::if_exists(reader)? else {
                    return Ok(());
                };
                while reader.advance()? && span.is_before_end(reader.line_position()) {
                    visit(reader.file_line());
                }
            }
            HistorySource::Memory(memory) => {
                for (number, line) in memory.records(&span.name) {
                    let position = Position {
                        offset: number,
                        ..Position::default()
                    };
                    if span.is_before_end(position) {
                        visit(FileLine {
                            number,
                            offset: number,
                            end: number + 1,
                            bytes: line,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// Opens the file of a segment. `None`: the file is missing, or the store is in memory.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn open_segment(&self, folder: &FolderName, number: u64) -> io::Result<Option<File>> {
        let HistorySource::Disk(dir) = self else {
            return Ok(None);
        };
        let path = segment_file::path(&dir.join(folder.as_str()), number);
        file::if_exists(file::open_regular(&path, Access::Read))
    }
}

/// The lines of a folder that a query reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderSpan {
    /// The folder.
    pub name: FolderName,
    /// Only lines with this key or a higher one. `None`: no limit.
    pub from: Option<LineKey>,
    /// Only lines stored before this position. `None`: no limit.
    pub end: Option<Position>,
}

impl From<FolderName> for FolderSpan {
    /// All lines of the folder.
    fn from(name: FolderName) -> FolderSpan {
        FolderSpan {
            name,
            from: None,
            end: None,
        }
    }
}

impl From<&Room> for FolderSpan {
    /// All lines of the room.
    fn from(room: &Room) -> FolderSpan {
        FolderName::from(room).into()
    }
}

impl FolderSpan {
    fn is_before_end(&self, at: Position) -> bool {
        let is_before = |end: Position| (at.segment, at.offset) < (end.segment, end.offset);
        self.end.is_none_or(is_before)
    }
}

/// Which lines a scan must find: by default all. The scan skips segments that are too old to
/// contain these lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanGoal {
    /// Only the lines with this Lamport number or a higher one.
    pub from: u64,
    /// Only this many of the last lines in the total order. `None`: no limit.
    pub last: Option<u64>,
}

/// Some lines of a segment, with similar Lamport numbers.
#[derive(Clone, Copy)]
struct LamportStep {
    /// No line has a lower Lamport number.
    min_lamport: u64,
    /// Number of lines.
    line_count: u64,
}

/// Summary of a segment. Made from the headers of the batches, without verification.
pub struct SegmentSummary {
    /// Index of the segment's folder in [`HistoryIndex::folders`].
    pub folder_index: usize,
    /// Number of the segment in its folder.
    pub segment_number: u64,
    /// The lowest Lamport number of a line in the segment.
    min_lamport: u64,
    /// The highest Lamport number of a line in the segment.
    max_lamport: u64,
    /// The lines of the segment, from the highest Lamport numbers to the lowest.
    steps: Vec<LamportStep>,
    /// The highest sequence of each log in the segment. The key is the index of the log in
    /// [`HistoryIndex::logs`].
    log_heads: SortedMap<usize, u64>,
}

/// Summaries of segments. They take about 16 bytes for each 64 lines of history.
#[derive(Default)]
pub struct HistoryIndex {
    /// The folders, sorted by name.
    pub folders: Vec<FolderSpan>,
    /// The segments that were read and contain at least one line.
    pub segments: Vec<SegmentSummary>,
    /// The index of each log. [`SegmentSummary::log_heads`] uses these indexes.
    logs: SortedMap<LogId, usize>,
    /// The highest sequence of each log in the segments that were not read.
    unread_heads: SortedMap<LogId, u64>,
    /// The logs that have lost lines to the limits of the store.
    evicted: SortedMap<LogId, EvictedLines>,
}

/// The lines of a log that were evicted.
pub struct EvictedLines {
    /// The sequences of the lines.
    pub lines: RangeInclusive<u64>,
    /// If no line was left: the Lamport number of the last evicted line.
    pub emptied_at: Option<u64>,
}

/// The segments of a folder that a scan has not read yet.
struct UnreadSegments {
    /// Their numbers, in ascending order.
    numbers: Vec<u64>,
    /// None of their lines has a higher Lamport number.
    max_lamport: u64,
    /// The logs of these segments, and the head of each, as the last valid frontier line says.
    log_heads: Vec<(LogId, u64)>,
}

impl HistoryIndex {
    /// Summarises the segments of the folders in `only`, or of all folders if `only` is empty.
    /// Always omits the folder of messages carried for others. Reads the newest segments first.
    /// Ends when no unread segment can contain a line of the goal.
    ///
    /// `skip_unreadable`: called with the error of a segment that can't be read. If it returns
    /// `Ok`, the segment counts as empty.
    ///
    /// # Errors
    /// A folder can't be read, or the error that `skip_unreadable` returns.
    pub fn scan(
        source: &HistorySource<'_>,
        only: &[FolderSpan],
        goal: ScanGoal,
        skip_unreadable: &mut dyn FnMut(io::Error) -> io::Result<()>,
    ) -> io::Result<HistoryIndex> {
        let mut index = HistoryIndex::default();
        let mut unread = Vec::new();
        for name in source.folders()? {
            let span = only.iter().find(|span| span.name == name);
            // Messages carried for others are sealed, so only their recipients can read them.
            if name == FolderName::carried() || span.is_none() && !only.is_empty() {
                continue;
            }
            let span = span.cloned().unwrap_or_else(|| name.into());
            unread.push(UnreadSegments {
                numbers: source.segment_numbers(&span.name)?,
                max_lamport: u64::MAX,
                log_heads: Vec::new(),
            });
            index.folders.push(span);
        }
        loop {
            let folders = unread.iter_mut().enumerate();
            let newest = folders
                .filter(|(_, unread)| !unread.numbers.is_empty())
                .max_by_key(|(_, unread)| unread.max_lamport);
            let Some((folder_index, newest)) = newest else {
                break;
            };
            if index.has_reached(goal, newest.max_lamport) {
                break;
            }
            if let Err(error) = index.read_newest(source, folder_index, newest) {
                skip_unreadable(error)?;
            }
        }
        for (log, head) in unread.into_iter().flat_map(|unread| unread.log_heads) {
            index.unread_heads.insert(log, head);
        }
        Ok(index)
    }

    /// Whether the segments read so far contain all lines of the goal. `unread_max_lamport`: no
    /// line of an unread segment has a higher Lamport number.
    fn has_reached(&self, goal: ScanGoal, unread_max_lamport: u64) -> bool {
        let has_last = |lines| {
            let steps = self.segments.iter().flat_map(|segment| &segment.steps);
            let above = steps.filter(|step| step.min_lamport > unread_max_lamport);
            above.map(|step| step.line_count).sum::<u64>() >= lines
        };
        unread_max_lamport < goal.from || goal.last.is_some_and(has_last)
    }

    /// Reads the newest of the unread segments of a folder.
    fn read_newest(
        &mut self,
        source: &HistorySource<'_>,
        folder_index: usize,
        unread: &mut UnreadSegments,
    ) -> io::Result<()> {
        let Some(segment_number) = unread.numbers.pop() else {
            return Ok(());
        };
        let span = self.folders[folder_index].clone();
        let mut summary = SegmentSummary {
            folder_index,
            segment_number,
            min_lamport: u64::MAX,
            max_lamport: 0,
            steps: Vec::new(),
            log_heads: SortedMap::new(),
        };
        let logs = &mut self.logs;
        let (mut batches, mut frontier) = (Vec::new(), None);
        let mut is_first = true;
        source.for_each_line(&span, segment_number, &mut |line| {
            if std::mem::take(&mut is_first) {
                frontier = Frontier::parse(line.bytes, &span.name);
            }
            batches.extend(summary.add_line(line.bytes, logs));
        })?;
        match (source, &frontier) {
            (HistorySource::Memory(memory), _) => self.add_evicted(memory.ranges(&span.name)),
            // Evicted lines are recorded when a segment is started, so the newest one tells.
            (_, Some(frontier)) if unread.max_lamport == u64::MAX => {
                self.add_evicted(frontier.ranges.iter());
            }
            _ => {}
        }
        // Without a valid frontier line, the number that holds for this segment also holds for the
        // older ones.
        if let Some(frontier) = frontier {
            unread.max_lamport = unread.max_lamport.min(frontier.max_lamport);
            let heads = frontier.ranges.into_iter();
            unread.log_heads = heads.map(|range| (range.log.clone(), range.high)).collect();
        }
        if unread.numbers.is_empty() {
            unread.log_heads = Vec::new();
        }
        if !batches.is_empty() {
            summary.set_steps(&batches);
            self.segments.push(summary);
        }
        Ok(())
    }

    /// Records which lines were evicted, as the newest frontier line of a folder tells.
    fn add_evicted<'r>(&mut self, ranges: impl IntoIterator<Item = &'r Arc<LogRange>>) {
        for range in ranges {
            if let Some(lines) = range.evicted_lines() {
                let emptied_at = (range.low > range.high).then_some(range.lamport);
                let evicted = EvictedLines { lines, emptied_at };
                self.evicted.insert(range.log.clone(), evicted);
            }
        }
    }

    /// The evicted lines of a log.
    pub fn evicted_of(&self, log: &LogId) -> Option<&RangeInclusive<u64>> {
        Some(&self.evicted.get(log)?.lines)
    }

    /// The logs that lost all their lines. Each item is a log, the evicted lines, and the Lamport
    /// number of the last one.
    pub fn emptied_logs(&self) -> impl Iterator<Item = (&LogId, &RangeInclusive<u64>, u64)> {
        let evicted = self.evicted.iter();
        // Lines may have come since.
        let emptied = evicted.filter(|(log, _)| !self.logs.contains_key(*log));
        emptied.filter_map(|(log, evicted)| Some((log, &evicted.lines, evicted.emptied_at?)))
    }

    /// The Lamport number below which no line need be read for the goal. Counts duplicate and
    /// damaged lines too, so the number may be too high for the last lines.
    pub fn lamport_cutoff(&self, goal: ScanGoal) -> u64 {
        let last = goal.last.map_or(0, |lines| self.lamport_of_last(lines));
        last.max(goal.from)
    }

    /// Returns a Lamport number that the last `lines` lines reach or exceed. 0 if the index has
    /// fewer than `lines` lines.
    fn lamport_of_last(&self, lines: u64) -> u64 {
        let steps = self.segments.iter().flat_map(|segment| &segment.steps);
        let steps: Vec<LamportStep> = steps.copied().collect();
        let mut sum = 0;
        for step in newest_first(&steps) {
            sum += step.line_count;
            if sum >= lines {
                return step.min_lamport;
            }
        }
        0
    }

    /// The segments that have a line with Lamport number `lamport_cutoff` or higher. Each item is
    /// the segment's lowest Lamport number, and its index in [`HistoryIndex::segments`].
    pub fn segments_by_min_lamport(&self, lamport_cutoff: u64) -> SortedSet<(u64, usize)> {
        let segments = self.segments.iter().enumerate();
        let reaching = segments.filter(|(_, segment)| segment.max_lamport >= lamport_cutoff);
        reaching
            .map(|(i, segment)| (segment.min_lamport, i))
            .collect()
    }

    /// The highest sequence of each log in the segments that a query skips. The query skips unread
    /// segments, and segments with only Lamport numbers below `lamport_cutoff`.
    pub fn log_heads_below(&self, lamport_cutoff: u64) -> SortedMap<LogId, u64> {
        let mut heads = self.unread_heads.clone();
        for segment in self
            .segments
            .iter()
            .filter(|segment| segment.max_lamport < lamport_cutoff)
        {
            for (log, log_index) in &self.logs {
                if let Some(segment_head) = segment.log_heads.get(log_index) {
                    let head = heads.get_or_default(log.clone());
                    *head = (*head).max(*segment_head);
                }
            }
        }
        heads
    }
}

/// A [`LamportStep`] ends with the batch that brings it to this number of lines. An old line makes
/// all lines of its step count as old. Small steps limit this effect.
const STEP_LINES: u64 = 64;

impl SegmentSummary {
    /// Adds the batch of a line. Returns the lowest Lamport number and the number of its lines.
    /// `None`: the line is no batch.
    fn add_line(&mut self, line: &[u8], logs: &mut SortedMap<LogId, usize>) -> Option<LamportStep> {
        let header = Batch::parse_header(line)?;
        let end = header
            .lamport
            .saturating_add(header.count.saturating_sub(1));
        self.min_lamport = self.min_lamport.min(header.lamport);
        self.max_lamport = self.max_lamport.max(end);
        let next_index = logs.len();
        let log_index = *logs.get_or_insert_with(header.log, || next_index);
        let head = self.log_heads.get_or_default(log_index);
        *head = (*head).max(header.last_sequence);
        Some(LamportStep {
            min_lamport: header.lamport,
            line_count: header.count,
        })
    }

    /// Sets the steps of the segment. `batches` has one step for each batch.
    fn set_steps(&mut self, batches: &[LamportStep]) {
        for batch in newest_first(batches) {
            match self
                .steps
                .last_mut()
                .filter(|step| step.line_count < STEP_LINES)
            {
                Some(step) => {
                    step.min_lamport = batch.min_lamport;
                    step.line_count += batch.line_count;
                }
                None => self.steps.push(batch),
            }
        }
        self.steps.shrink_to_fit();
    }
}

/// The steps by descending Lamport number.
fn newest_first(steps: &[LamportStep]) -> Vec<LamportStep> {
    sorted_by_number(steps, |step| !step.min_lamport)
}
