//! Scans all stored lines of a network for history queries. A scan needs no lock, even while a
//! program writes.
//!
//! A writer only appends to the file of a segment, or replaces the whole file. A reader therefore
//! sees whole lines up to the last line end. If a segment vanishes between listing and reading, it
//! was evicted.
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::base::batch::{Batch, LogId};
use crate::base::identity::NetworkTag;
use crate::base::name::FolderName;
use crate::base::table::{SortedMap, SortedSet};
use crate::shell::os::file;
use crate::shell::store::memory::MemoryStore;
use crate::shell::store::segment::segment_file;
use crate::shell::store::segment::segment_reader::SegmentReader;

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

    fn segment_numbers(&self, folder: &FolderName) -> io::Result<Vec<u64>> {
        let HistorySource::Disk(dir) = self else {
            return Ok(vec![0]);
        };
        match segment_file::list_numbers(&dir.join(folder.as_str())) {
            Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(Vec::new()),
            numbers => numbers,
        }
    }

    /// Calls `visit` for each whole line of a segment, without the line end. The number passed to
    /// `visit` is the physical offset of the line. For a store in memory, it is the number of the
    /// record.
    ///
    /// # Errors
    /// The segment can't be read. A missing segment is no error and has no lines.
    pub fn for_each_line(
        &self,
        folder: &FolderName,
        number: u64,
        visit: &mut dyn FnMut(u64, &[u8]),
    ) -> io::Result<()> {
        match self {
            HistorySource::Disk(dir) => {
                let reader = SegmentReader::open(&dir.join(folder.as_str()), number);
                let Some(mut reader) = file::if_exists(reader)? else {
                    return Ok(());
                };
                while reader.advance()? {
                    let line = reader.line();
                    visit(reader.next_file_offset() - line.len() as u64 - 1, line);
                }
            }
            HistorySource::Memory(memory) => memory
                .records(folder)
                .for_each(|(number, line)| visit(number, line)),
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
        file::if_exists(File::open(segment_file::path(
            &dir.join(folder.as_str()),
            number,
        )))
    }

    /// Whether signatures must be verified. True on disk, because files may be damaged.
    pub fn is_unverified(&self) -> bool {
        matches!(self, HistorySource::Disk(_))
    }
}

/// Summary of a segment. Made from the headers of the batches, without verification.
pub struct SegmentSummary {
    /// Index of the segment's folder in [`HistoryIndex::folders`].
    pub folder_index: usize,
    /// Number of the segment in its folder.
    pub segment_number: u64,
    /// The lowest Lamport number of a line in the segment.
    pub min_lamport: u64,
    /// The highest Lamport number of a line in the segment.
    pub max_lamport: u64,
    /// Number of lines in the segment.
    pub line_count: u64,
    /// The highest sequence of each log in the segment. The key is the index of the log in
    /// [`HistoryIndex::logs`].
    log_heads: SortedMap<usize, u64>,
}

/// Summaries of all segments. They take some hundred bytes for each MiB of history.
#[derive(Default)]
pub struct HistoryIndex {
    /// The folders, sorted by name.
    pub folders: Vec<FolderName>,
    /// The segments that contain at least one line.
    pub segments: Vec<SegmentSummary>,
    /// The index of each log. [`SegmentSummary::log_heads`] uses these indexes.
    logs: SortedMap<LogId, usize>,
}

impl HistoryIndex {
    /// Summarises the segments of the folders in `only`, or of all folders if `only` is empty.
    /// Always omits the folder of messages carried for others.
    ///
    /// # Errors
    /// A folder or a segment can't be read.
    pub fn scan(source: &HistorySource<'_>, only: &[FolderName]) -> io::Result<HistoryIndex> {
        let mut folders = source.folders()?;
        // Messages carried for others are sealed, so only their recipients can read them.
        let carried = FolderName::carried();
        folders.retain(|f| *f != carried && (only.is_empty() || only.contains(f)));
        let mut index = HistoryIndex {
            folders: folders.into_iter().collect(),
            ..HistoryIndex::default()
        };
        for (folder_index, name) in index.folders.iter().enumerate() {
            for number in source.segment_numbers(name)? {
                let mut summary = SegmentSummary {
                    folder_index,
                    segment_number: number,
                    min_lamport: u64::MAX,
                    max_lamport: 0,
                    line_count: 0,
                    log_heads: SortedMap::new(),
                };
                let logs = &mut index.logs;
                source.for_each_line(name, number, &mut |_, line| summary.add_line(line, logs))?;
                if summary.line_count > 0 {
                    index.segments.push(summary);
                }
            }
        }
        Ok(index)
    }

    /// Estimates where the last `lines` lines of the history begin, as a Lamport number. At least
    /// `lines` lines have this number or a higher one, unless some lines are duplicate or damaged.
    /// 0 if the index has fewer than `lines` lines.
    pub fn lamport_cutoff(&self, lines: u64) -> u64 {
        let mut sum = 0;
        for (least, segment) in self.segments_by_min_lamport(0).iter().rev() {
            sum += self.segments[*segment].line_count;
            if sum >= lines {
                return *least;
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

    /// The highest sequence of each log in the segments that a query with this cutoff skips. In
    /// these segments, all Lamport numbers are below `lamport_cutoff`.
    pub fn log_heads_below(&self, lamport_cutoff: u64) -> SortedMap<LogId, u64> {
        let mut heads: SortedMap<LogId, u64> = SortedMap::new();
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

impl SegmentSummary {
    fn add_line(&mut self, line: &[u8], logs: &mut SortedMap<LogId, usize>) {
        let Some(header) = Batch::parse_header(line) else {
            return;
        };
        let count = (header.last_sequence + 1).saturating_sub(header.sequence);
        let end = header.lamport.saturating_add(count.saturating_sub(1));
        self.min_lamport = self.min_lamport.min(header.lamport);
        self.max_lamport = self.max_lamport.max(end);
        self.line_count = self.line_count.saturating_add(count);
        let next_index = logs.len();
        let log_index = *logs.get_or_insert_with(header.log, || next_index);
        let head = self.log_heads.get_or_default(log_index);
        *head = (*head).max(header.last_sequence);
    }
}
