//! All that is stored of a network, for those who only read: no lock is needed, and a program may write meanwhile.
//!
//! Segments are only appended to, and replaced whole. So what is read is always good up to the last whole line; one that is gone
//! between being listed and being read held what a quota took.
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use crate::base::batch::{Batch, LogId};
use crate::base::name::Folder;
use crate::base::table::{Set, Table};
use crate::shell::store::memory::Memory;
use crate::shell::store::segment;
use crate::shell::store::segment::Reader;

/// What is stored of one network.
pub enum Archive<'a> {
    /// The network's folder; one that is not there holds nothing.
    Disk(PathBuf),
    /// Each folder's pile counts as one segment.
    Memory(&'a Memory),
}

impl Archive<'_> {
    fn folders(&self) -> io::Result<Set<Folder>> {
        let dir = match self {
            Archive::Disk(dir) => dir,
            Archive::Memory(memory) => return Ok(memory.folders().cloned().collect()),
        };
        let entries = match fs::read_dir(dir) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Set::new()),
            entries => entries?,
        };
        let mut folders = Set::new();
        for entry in entries {
            let name = entry?.file_name();
            folders.extend(name.to_str().and_then(Folder::named));
        }
        Ok(folders)
    }

    fn segments(&self, folder: &Folder) -> io::Result<Vec<u64>> {
        let Archive::Disk(dir) = self else {
            return Ok(vec![0]);
        };
        let files = match segment::list(&dir.join(folder.as_str())) {
            Err(e) if e.kind() == ErrorKind::NotADirectory => Vec::new(),
            files => files?,
        };
        Ok(files.into_iter().map(|(number, _)| number).collect())
    }

    /// The whole lines of a segment, without their ends, each with the place where it begins: an offset in the file, or its number in memory.
    ///
    /// # Errors
    /// A file cannot be read; one that is gone is empty.
    pub fn each_line(
        &self,
        folder: &Folder,
        number: u64,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> io::Result<()> {
        match self {
            Archive::Disk(dir) => {
                let mut reader = match Reader::open(&dir.join(folder.as_str()), number) {
                    Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
                    reader => reader?,
                };
                while reader.advance()? {
                    let line = reader.line();
                    each(reader.end_of_line() - line.len() as u64 - 1, line);
                }
            }
            Archive::Memory(memory) => memory
                .lines(folder)
                .for_each(|(number, line)| each(number, line)),
        }
        Ok(())
    }

    /// The file of a segment. `None`: it is gone, or there is none.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(&self, folder: &Folder, number: u64) -> io::Result<Option<File>> {
        let Archive::Disk(dir) = self else {
            return Ok(None);
        };
        match File::open(segment::path(&dir.join(folder.as_str()), number)) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            file => file.map(Some),
        }
    }

    /// A signature was perhaps never checked: files may be damaged, memory is not.
    pub fn is_doubtful(&self) -> bool {
        matches!(self, Archive::Disk(_))
    }
}

/// What a segment holds, as far as it tells without being checked.
pub struct Summary {
    /// Its place in [`Index::folders`].
    pub folder: usize,
    pub number: u64,
    /// Least and greatest Lamport number.
    pub least: u64,
    pub most: u64,
    pub lines: u64,
    /// The last line of each log, which is named by its place in [`Index::logs`].
    highs: Table<usize, u64>,
}

/// All segments at a glance: the one thing that grows with the history, by some hundred bytes for each MiB of it.
#[derive(Default)]
pub struct Index {
    /// In the order of their names.
    pub folders: Vec<Folder>,
    pub segments: Vec<Summary>,
    logs: Table<LogId, usize>,
}

impl Index {
    /// Of these folders; of none: of all that there are.
    ///
    /// # Errors
    /// A folder or a file cannot be read.
    pub fn scan(archive: &Archive<'_>, only: &[Folder]) -> io::Result<Index> {
        let mut folders = archive.folders()?;
        // What is carried for others is nobody's to look at.
        let carried = Folder::carried();
        folders.retain(|f| *f != carried && (only.is_empty() || only.contains(f)));
        let mut index = Index {
            folders: folders.into_iter().collect(),
            ..Index::default()
        };
        for (folder, name) in index.folders.iter().enumerate() {
            for number in archive.segments(name)? {
                let mut summary = Summary {
                    folder,
                    number,
                    least: u64::MAX,
                    most: 0,
                    lines: 0,
                    highs: Table::new(),
                };
                let logs = &mut index.logs;
                archive.each_line(name, number, &mut |_, line| summary.add(line, logs))?;
                if summary.lines > 0 {
                    index.segments.push(summary);
                }
            }
        }
        Ok(index)
    }

    /// A Lamport number from which on there are probably at least so many lines, and not many more.
    pub fn cut(&self, lines: u64) -> u64 {
        let mut sum = 0;
        for (least, segment) in self.by_least(0).iter().rev() {
            sum += self.segments[*segment].lines;
            if sum >= lines {
                return *least;
            }
        }
        0
    }

    /// Segments that reach the cut, by their least Lamport numbers.
    pub fn by_least(&self, cut: u64) -> Set<(u64, usize)> {
        let segments = self.segments.iter().enumerate();
        let reaching = segments.filter(|(_, segment)| segment.most >= cut);
        reaching.map(|(i, segment)| (segment.least, i)).collect()
    }

    /// The last line of each log in the segments that lie wholly below the cut.
    pub fn highs_below(&self, cut: u64) -> Table<LogId, u64> {
        let mut highs: Table<LogId, u64> = Table::new();
        for segment in self.segments.iter().filter(|segment| segment.most < cut) {
            for (log, place) in &self.logs {
                if let Some(high) = segment.highs.get(place) {
                    let known = highs.get_or_default(log.clone());
                    *known = (*known).max(*high);
                }
            }
        }
        highs
    }
}

impl Summary {
    fn add(&mut self, line: &[u8], logs: &mut Table<LogId, usize>) {
        let Some(outline) = Batch::outline(line) else {
            return;
        };
        let count = (outline.last + 1).saturating_sub(outline.sequence);
        let end = outline.lamport.saturating_add(count.saturating_sub(1));
        self.least = self.least.min(outline.lamport);
        self.most = self.most.max(end);
        self.lines = self.lines.saturating_add(count);
        let next = logs.len();
        let log = *logs.get_or_insert_with(outline.log, || next);
        let high = self.highs.get_or_default(log);
        *high = (*high).max(outline.last);
    }
}
