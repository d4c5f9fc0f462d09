//! All that is stored of a network, for those who only read: no lock is needed, and a program may write meanwhile.
//!
//! Segments are only appended to, and replaced whole. So what is read is always good up to the last whole line; one that is gone
//! between being listed and being read held what a quota took.
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

/// What is stored of one network.
pub enum HistorySource<'a> {
    /// The network's folder; one that is not there holds nothing.
    Disk(PathBuf),
    /// Each folder's pile counts as one segment.
    Memory(&'a MemoryStore),
}

impl HistorySource<'_> {
    /// The history of one network in a history directory.
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

    /// The whole lines of a segment, without their ends, each with the place where it begins: an offset in the file, or its number in memory.
    ///
    /// # Errors
    /// A file cannot be read; one that is gone is empty.
    pub fn for_each_line(
        &self,
        folder: &FolderName,
        number: u64,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> io::Result<()> {
        match self {
            HistorySource::Disk(dir) => {
                let reader = SegmentReader::open(&dir.join(folder.as_str()), number);
                let Some(mut reader) = file::if_exists(reader)? else {
                    return Ok(());
                };
                while reader.advance()? {
                    let line = reader.line();
                    each(reader.next_file_offset() - line.len() as u64 - 1, line);
                }
            }
            HistorySource::Memory(memory) => memory
                .records(folder)
                .for_each(|(number, line)| each(number, line)),
        }
        Ok(())
    }

    /// The file of a segment. `None`: it is gone, or there is none.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open_segment(&self, folder: &FolderName, number: u64) -> io::Result<Option<File>> {
        let HistorySource::Disk(dir) = self else {
            return Ok(None);
        };
        file::if_exists(File::open(segment_file::path(
            &dir.join(folder.as_str()),
            number,
        )))
    }

    /// A signature was perhaps never checked: files may be damaged, memory is not.
    pub fn is_unverified(&self) -> bool {
        matches!(self, HistorySource::Disk(_))
    }
}

/// What a segment holds, as far as it tells without being checked.
pub struct SegmentSummary {
    /// Its place in [`Index::folders`].
    pub folder_index: usize,
    pub segment_number: u64,
    /// Least and greatest Lamport number.
    pub min_lamport: u64,
    pub max_lamport: u64,
    pub line_count: u64,
    /// The last line of each log, which is named by its place in [`Index::logs`].
    log_heads: SortedMap<usize, u64>,
}

/// All segments at a glance: the one thing that grows with the history, by some hundred bytes for each MiB of it.
#[derive(Default)]
pub struct HistoryIndex {
    /// In the order of their names.
    pub folders: Vec<FolderName>,
    pub segments: Vec<SegmentSummary>,
    logs: SortedMap<LogId, usize>,
}

impl HistoryIndex {
    /// Of these folders; of none: of all that there are.
    ///
    /// # Errors
    /// A folder or a file cannot be read.
    pub fn scan(archive: &HistorySource<'_>, only: &[FolderName]) -> io::Result<HistoryIndex> {
        let mut folders = archive.folders()?;
        // What is carried for others is nobody's to look at.
        let carried = FolderName::carried();
        folders.retain(|f| *f != carried && (only.is_empty() || only.contains(f)));
        let mut index = HistoryIndex {
            folders: folders.into_iter().collect(),
            ..HistoryIndex::default()
        };
        for (folder, name) in index.folders.iter().enumerate() {
            for number in archive.segment_numbers(name)? {
                let mut summary = SegmentSummary {
                    folder_index: folder,
                    segment_number: number,
                    min_lamport: u64::MAX,
                    max_lamport: 0,
                    line_count: 0,
                    log_heads: SortedMap::new(),
                };
                let logs = &mut index.logs;
                archive.for_each_line(name, number, &mut |_, line| summary.add_line(line, logs))?;
                if summary.line_count > 0 {
                    index.segments.push(summary);
                }
            }
        }
        Ok(index)
    }

    /// A Lamport number from which on there are probably at least so many lines, and not many more.
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

    /// Segments that reach the cut, by their least Lamport numbers.
    pub fn segments_by_min_lamport(&self, cut: u64) -> SortedSet<(u64, usize)> {
        let segments = self.segments.iter().enumerate();
        let reaching = segments.filter(|(_, segment)| segment.max_lamport >= cut);
        reaching
            .map(|(i, segment)| (segment.min_lamport, i))
            .collect()
    }

    /// The last line of each log in the segments that lie wholly below the cut.
    pub fn log_heads_below(&self, cut: u64) -> SortedMap<LogId, u64> {
        let mut highs: SortedMap<LogId, u64> = SortedMap::new();
        for segment in self
            .segments
            .iter()
            .filter(|segment| segment.max_lamport < cut)
        {
            for (log, place) in &self.logs {
                if let Some(high) = segment.log_heads.get(place) {
                    let known = highs.get_or_default(log.clone());
                    *known = (*known).max(*high);
                }
            }
        }
        highs
    }
}

impl SegmentSummary {
    fn add_line(&mut self, line: &[u8], logs: &mut SortedMap<LogId, usize>) {
        let Some(outline) = Batch::parse_header(line) else {
            return;
        };
        let count = (outline.last_sequence + 1).saturating_sub(outline.sequence);
        let end = outline.lamport.saturating_add(count.saturating_sub(1));
        self.min_lamport = self.min_lamport.min(outline.lamport);
        self.max_lamport = self.max_lamport.max(end);
        self.line_count = self.line_count.saturating_add(count);
        let next = logs.len();
        let log = *logs.get_or_insert_with(outline.log, || next);
        let high = self.log_heads.get_or_default(log);
        *high = (*high).max(outline.last_sequence);
    }
}
