//! History in memory, for a program that leaves no trace on disk. Its size in bytes is limited.
use std::io;
use std::sync::Arc;

use crate::base::batch::batch::{Batch, LocalFields, LogId};
use crate::base::event::load::{LogCursor, Position, StoredBatch};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::FolderName;
use crate::base::range::{LogRange, LogRanges};
use crate::base::table::SortedMap;
use crate::shell::os::clock::Moment;
use crate::shell::store::eviction::EvictedLog;
use crate::shell::store::log_collector::LogCollector;
use crate::shell::store::quota::{AuthorUsage, BytesToEvict, evict_in_order};
use crate::shell::store::reader::{PrintedBacklog, ReaderState};
use crate::shell::store::replication_state::ReplicationState;

/// An eviction tries to leave `limit_bytes / EVICTION_SLACK_DIVISOR` bytes free. Without this free
/// space, every turn that stores a line would evict again.
const EVICTION_SLACK_DIVISOR: usize = 8;
/// Capacity reserved for the `LocalFields` of a stored batch, in bytes.
const LOCAL_FIELDS_BYTES: usize = 128;

/// One stored batch.
struct Record {
    log: LogId,
    last_sequence: u64,
    /// The batch as a line of a segment, without the line end.
    line: Box<[u8]>,
}

#[derive(Default)]
struct MemoryFolder {
    /// The records by number. The numbers ascend in order of arrival, so an insertion is an append.
    records: SortedMap<u64, Record>,
    ranges: LogRanges,
    /// Whether the folder was opened more than once in this run.
    existed_before: bool,
    /// `None`: no reader has begun.
    reader: Option<ReaderState>,
}

/// The bytes of the batches that an eviction removed.
#[derive(Default)]
struct FreedBytes {
    total: usize,
    /// Bytes of our batches.
    own: usize,
}

impl MemoryFolder {
    /// Evicts the oldest batches of each author in `over`, who must lose that many bytes. Keeps our
    /// lines from the retention floor on. Records in `first_kept` what each log keeps.
    fn evict(
        &mut self,
        over: &mut SortedMap<PeerId, u64>,
        core: &dyn ReplicationState,
        own_id: &PeerId,
        first_kept: &mut SortedMap<LogId, u64>,
    ) -> FreedBytes {
        let mut freed = FreedBytes::default();
        let mut floors: SortedMap<LogId, u64> = SortedMap::new();
        let ranges = &mut self.ranges;
        self.records.retain(|_, record| {
            let (log, last) = (&record.log, record.last_sequence);
            let Some(over_bytes) = over.get_mut(&log.author).filter(|bytes| **bytes > 0) else {
                return true;
            };
            let is_own = log.author == *own_id;
            let floor = || core.retention_floor(log);
            if is_own && last >= *floors.get_or_insert_with(log.clone(), floor) {
                return true;
            }
            let bytes = record.line.len();
            *over_bytes = over_bytes.saturating_sub(bytes as u64);
            freed.total += bytes;
            freed.own += if is_own { bytes } else { 0 };
            let first_kept = first_kept.get_or_default(log.clone());
            *first_kept = (*first_kept).max(last + 1);
            if let Some(range) = ranges.get_mut(log).map(Arc::make_mut) {
                range.evict_below(last + 1);
            }
            false
        });
        freed
    }
}

/// The store of one network in memory.
pub struct MemoryStore {
    /// The network.
    pub network: NetworkTag,
    own_id: PeerId,
    limit_bytes: usize,
    total_bytes: usize,
    own_bytes: usize,
    /// The number that the next saved batch gets. All folders share one count.
    next_number: u64,
    folders: SortedMap<FolderName, MemoryFolder>,
}

impl MemoryStore {
    /// Creates an empty store. `limit_bytes` limits the size of all folders together.
    pub fn new(own_id: PeerId, network: NetworkTag, limit_bytes: usize) -> MemoryStore {
        MemoryStore {
            network,
            own_id,
            limit_bytes,
            total_bytes: 0,
            own_bytes: 0,
            next_number: 0,
            folders: SortedMap::new(),
        }
    }

    fn folder_name(&self, log: &LogId) -> FolderName {
        FolderName::for_log(&log.target, &log.author, &self.own_id)
    }

    /// Opens a folder and returns its stored ranges. Creates the folder if it does not exist.
    pub fn open_folder(&mut self, name: &FolderName) -> LogRanges {
        match self.folders.get_mut(name) {
            Some(folder) => {
                folder.existed_before = true;
                folder.ranges.clone()
            }
            None => {
                let folder = MemoryFolder {
                    reader: ReaderState::initial(name),
                    ..MemoryFolder::default()
                };
                self.folders.insert(name.clone(), folder);
                LogRanges::default()
            }
        }
    }

    /// Whether the folder was opened more than once in this run.
    pub fn existed_before(&self, name: &FolderName) -> bool {
        self.folders
            .get(name)
            .is_some_and(|folder| folder.existed_before)
    }

    /// Appends a batch to its folder.
    ///
    /// # Errors
    /// The folder is not open (`NotFound`).
    pub fn save(&mut self, batch: &Batch, local: LocalFields) -> io::Result<()> {
        let name = self.folder_name(&batch.log);
        let Some(folder) = self.folders.get_mut(&name) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut line = Vec::with_capacity(batch.as_bytes().len() + LOCAL_FIELDS_BYTES);
        batch.write_stored(local, &mut line);
        // Removes the line end.
        line.pop();
        self.total_bytes += line.len();
        if batch.log.author == self.own_id {
            self.own_bytes += line.len();
        }
        match folder.ranges.get_mut(&batch.log).map(Arc::make_mut) {
            Some(range) => range.extend(batch),
            None => {
                let range = LogRange::begin(batch, !local.backfill);
                folder.ranges.insert(Arc::new(range));
            }
        }
        if let Some(range) = folder.ranges.get_mut(&batch.log).map(Arc::make_mut) {
            range.record_news(batch, local);
        }
        let record = Record {
            log: batch.log.clone(),
            last_sequence: batch.last_sequence(),
            line: line.into_boxed_slice(),
        };
        folder.records.insert(self.next_number, record);
        self.next_number += 1;
        Ok(())
    }

    /// If the store exceeds its limit, evicts the oldest batches of the authors who lose first, as
    /// [`evict_in_order`] says. Evicts our batches last, and only below
    /// [`ReplicationState::retention_floor`]. Returns the logs that lost lines.
    pub fn enforce_limits(&mut self, core: &dyn ReplicationState) -> Vec<EvictedLog> {
        if self.total_bytes <= self.limit_bytes {
            return Vec::new();
        }
        let goal_bytes = self.limit_bytes - self.limit_bytes / EVICTION_SLACK_DIVISOR;
        let over = self.bytes_to_evict(core, (self.total_bytes - goal_bytes) as u64);
        let mut first_kept: SortedMap<LogId, u64> = SortedMap::new();
        for (name, mut authors) in over {
            if let Some(folder) = self.folders.get_mut(&name) {
                let freed = folder.evict(&mut authors, core, &self.own_id, &mut first_kept);
                self.total_bytes -= freed.total;
                self.own_bytes -= freed.own;
            }
        }
        first_kept
            .into_iter()
            .map(|(log, first_kept)| EvictedLog { log, first_kept })
            .collect()
    }

    fn bytes_to_evict(&self, core: &dyn ReplicationState, excess_bytes: u64) -> BytesToEvict {
        let mut usages = Vec::new();
        for (name, folder) in &self.folders {
            let mut author_bytes: SortedMap<PeerId, u64> = SortedMap::new();
            for record in folder.records.values() {
                *author_bytes.get_or_default(record.log.author) += record.line.len() as u64;
            }
            let authors = author_bytes.into_iter();
            usages.extend(authors.map(|(author, bytes)| AuthorUsage {
                folder: name,
                author,
                standing: core.standing(name, &author),
                bytes,
            }));
        }
        let mut over = BytesToEvict::new();
        evict_in_order(&usages, excess_bytes, &mut over);
        over
    }

    /// Whether our own batches alone exceed the limit.
    pub fn is_full(&self) -> bool {
        self.own_bytes > self.limit_bytes
    }

    /// Reads batches of some logs of one folder. See
    /// [`crate::shell::store::store::Store::load`].
    pub fn load(&self, cursors: &mut [LogCursor], budget_bytes: usize) -> Vec<Option<Vec<Batch>>> {
        let Some(first) = cursors.first() else {
            return Vec::new();
        };
        let folder = self.folders.get(&self.folder_name(&first.log));
        let positions = cursors.iter().map(|cursor| cursor.position);
        let start = positions.min().flatten().unwrap_or_default().offset;
        let mut collector = LogCollector::new(cursors, budget_bytes);
        let (mut reached, mut has_stopped) = (start, false);
        for (number, record) in folder.iter().flat_map(|f| f.records.iter_from(&start)) {
            reached = number + 1;
            if collector.is_wanted(&record.log, record.last_sequence)
                && let Ok((batch, _)) = Batch::parse_stored(&record.line, &self.network)
                && batch.is_sendable()
                && !collector.add(batch, position(*number))
            {
                has_stopped = true;
                break;
            }
        }
        let mut load_log = |cursor: &mut LogCursor| {
            let collected = collector.take(&cursor.log)?;
            cursor.position = collected.resume_at.or(Some(position(reached)));
            match collected.sequence_above_gap() {
                _ if !collected.batches.is_empty() => Some(collected.batches),
                _ if has_stopped => None,
                Some(from) => {
                    let mut above = [LogCursor {
                        from,
                        ..cursor.clone()
                    }];
                    let loaded = self.load(&mut above, 1).pop().flatten();
                    cursor.position = above[0].position;
                    loaded
                }
                None => Some(Vec::new()),
            }
        };
        cursors.iter_mut().map(&mut load_log).collect()
    }

    /// Reads the batches at position `at` and after it, and sets `at` to the position after the
    /// last batch read. Reads about `budget_bytes`, but at least one batch. An empty result: no
    /// further batch is stored.
    pub fn read_from(
        &self,
        name: &FolderName,
        at: &mut Position,
        budget_bytes: usize,
    ) -> Vec<StoredBatch> {
        let mut batches = Vec::new();
        let mut read_bytes = 0;
        let folder = self.folders.get(name);
        let first = at.offset;
        for (number, record) in folder.iter().flat_map(|f| f.records.iter_from(&first)) {
            if read_bytes >= budget_bytes {
                break;
            }
            at.offset = number + 1;
            if let Ok((batch, local)) = Batch::parse_stored(&record.line, &self.network) {
                read_bytes += record.line.len();
                let position = Position {
                    offset: *number,
                    ..*at
                };
                batches.push(StoredBatch {
                    position,
                    batch,
                    local,
                });
            }
        }
        batches
    }

    /// The names of all folders that were opened.
    pub fn folders(&self) -> impl Iterator<Item = &FolderName> {
        self.folders.keys()
    }

    /// The range of each log in a folder.
    pub fn ranges(&self, name: &FolderName) -> impl Iterator<Item = &Arc<LogRange>> {
        let folder = self.folders.get(name).into_iter();
        folder.flat_map(|folder| folder.ranges.iter())
    }

    /// The records of a folder in order of arrival. Each item is the number of a record and its
    /// line, without the line end.
    pub fn records(&self, name: &FolderName) -> impl Iterator<Item = (u64, &[u8])> {
        let folder = self.folders.get(name).into_iter();
        folder
            .flat_map(|folder| folder.records.iter())
            .map(|(number, record)| (*number, &*record.line))
    }

    /// The stored form of the record with this number: JSON without a line end. `None`: no such
    /// record is stored.
    pub fn record(&self, name: &FolderName, number: u64) -> Option<&[u8]> {
        let record = self.folders.get(name)?.records.get(&number)?;
        Some(&record.line)
    }

    /// The position after the last batch stored in any folder.
    pub fn end(&self) -> Position {
        Position {
            offset: self.next_number,
            ..Position::default()
        }
    }

    /// The reader of the folder. `None`: none has begun.
    pub fn reader(&self, name: &FolderName) -> Option<&ReaderState> {
        self.folders.get(name)?.reader.as_ref()
    }

    /// Begins the reader of the folder, unless it has begun. The reader does not print lines that
    /// are already stored.
    pub fn begin_reader(&mut self, name: &FolderName, now: &Moment) {
        let printed = self.end();
        if let Some(folder) = self.folders.get_mut(name) {
            folder
                .reader
                .get_or_insert_with(|| ReaderState::new(now.clone(), printed));
        }
    }

    /// Corrects the recorded times at which the readers began. See
    /// [`crate::shell::store::store::Store::correct_readers`].
    pub fn correct_readers(&mut self, now: &Moment) {
        for reader in self
            .folders
            .values_mut()
            .filter_map(|it| it.reader.as_mut())
        {
            reader.correct_wall(now);
        }
    }

    /// Records that the lines before `printed` in the folder and those of `backlog` are printed.
    pub fn record_printed(
        &mut self,
        name: &FolderName,
        printed: Position,
        backlog: Option<PrintedBacklog>,
    ) {
        let folder = self.folders.get_mut(name);
        if let Some(reader) = folder.and_then(|folder| folder.reader.as_mut()) {
            reader.record_printed(printed, backlog);
        }
    }
}

/// The position of the record with this number.
fn position(number: u64) -> Position {
    Position {
        offset: number,
        ..Position::default()
    }
}
