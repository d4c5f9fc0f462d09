//! One folder of the history on disk: of a room, of direct messages, or of messages carried for
//! others.
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::batch::batch::{Batch, LogId};
use crate::base::event::load::{LogCursor, Position, StoredBatch};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::FolderName;
use crate::base::range::{LogRange, LogRanges};
use crate::base::table::SortedMap;
use crate::shell::os::file;
use crate::shell::store::audit::{Audit, DamagedSegment};
use crate::shell::store::damage::{self, DamageOutcome, DamageReport, FalseBatches};
use crate::shell::store::folder_readers::FolderReaders;
use crate::shell::store::fsync::{Fsync, SyncPending};
use crate::shell::store::log_collector::LogCollector;
use crate::shell::store::reader::Reader;
use crate::shell::store::recovery;
use crate::shell::store::segment::active_segment::ActiveSegment;
use crate::shell::store::segment::frontier::{self, WantedLines};
use crate::shell::store::segment::segment_file;
use crate::shell::store::segment::segment_reader::{
    ScanEnd, SegmentReader, read_segments, resolve_position, scan_segment, skip_unreadable,
};
use crate::shell::store::unacknowledged_marker::UnacknowledgedMarker;

/// A log that limited an eviction. Some of its lines must be kept for now. Its author therefore
/// lost too few bytes.
pub struct QuotaBlock {
    /// The log.
    pub log: LogId,
    /// Sequence at the end of the oldest batch that must be kept. The batch can be evicted once the
    /// log's [`retention_floor`](super::replication_state::ReplicationState::retention_floor) is
    /// above this sequence.
    pub last_sequence: u64,
}

/// An open folder on disk.
pub struct Folder {
    /// The path of the directory.
    pub dir: PathBuf,
    /// The network of the folder.
    pub network: NetworkTag,
    /// Whether the directory existed before this run.
    pub existed_before: bool,
    /// The numbers of the segments, in ascending order.
    pub segment_numbers: Vec<u64>,
    /// The last segment when this run opened the folder for the first time. `None`: there was none,
    /// or it is unknown.
    pub opened_segment: Option<u64>,
    /// No file has the name of a segment with a higher number.
    highest_number: u64,
    /// The last segment, to which batches are appended. `None`: the folder has no segment yet.
    pub active_segment: Option<ActiveSegment>,
    /// Bytes of all segments together.
    pub total_bytes: u64,
    /// Bytes of each author's batches.
    pub author_bytes: Arc<SortedMap<PeerId, u64>>,
    /// No stored line has a higher Lamport number.
    max_lamport: u64,
    /// The number of the segment where the next eviction from an author begins to read. An eviction
    /// from several authors begins at the lowest of these numbers.
    pub first_segments: SortedMap<PeerId, u64>,
    /// The log that limited the last eviction. `None`: no log did.
    pub quota_block: Option<QuotaBlock>,
    /// The readers of the folder.
    pub readers: FolderReaders,
    /// The marker for lines of ours that perhaps no other peer stores yet.
    pub unacknowledged: UnacknowledgedMarker,
    dir_sync_pending: SyncPending,
    /// The damage that was found, and that the user was not told of yet.
    damage: Vec<DamageReport>,
    /// See [`Recovered::printed_parts`](recovery::Recovered::printed_parts). Empty once taken.
    printed_parts: Vec<Box<[u8]>>,
    /// The reports of damage that is still in the segments. They are not repeated.
    pub lasting_damage: Vec<DamageReport>,
    /// Whether a read found less than it should, so that an audit is due.
    is_suspect: Cell<bool>,
    /// The batches with a false signature that reads for peers found.
    pub false_batches: FalseBatches,
}

impl Folder {
    /// Opens a folder and returns it with its stored ranges. Creates the directory of a room if it
    /// is missing. Creates no other directory. A segment is full at `segment_bytes`.
    ///
    /// # Errors
    /// The folder or a file in it can't be created, read, cut or removed. Damaged content is not
    /// an error.
    pub fn open(
        dir: PathBuf,
        name: &FolderName,
        network: NetworkTag,
        segment_bytes: u64,
    ) -> io::Result<(Folder, LogRanges)> {
        let existed_before = dir.is_dir();
        // The folder of a room records that this directory joined the room. The folder of direct
        // messages is created with the first message.
        if name.room().is_some() {
            file::create_private_dir(&dir)?;
        }
        let readers = FolderReaders::load(&dir, name)?;
        let printed = readers.own().state().map(|state| state.printed);
        let recovered = recovery::recover_folder(&dir, name, &network, printed)?;
        let mut folder = Folder {
            network,
            existed_before,
            active_segment: None,
            total_bytes: recovered.total_bytes,
            author_bytes: Arc::new(recovered.author_bytes),
            max_lamport: recovered.max_lamport,
            first_segments: SortedMap::new(),
            quota_block: None,
            readers,
            unacknowledged: UnacknowledgedMarker::load(&dir),
            dir_sync_pending: SyncPending::default(),
            damage: Vec::new(),
            lasting_damage: Vec::new(),
            printed_parts: recovered.printed_parts,
            is_suspect: Cell::new(false),
            opened_segment: recovered.segment_numbers.last().copied(),
            false_batches: FalseBatches::default(),
            segment_numbers: recovered.segment_numbers,
            highest_number: recovered.highest_number,
            dir,
        };
        for report in recovered.damage {
            folder.report_damage(report);
        }
        let ranges = recovered.ranges;
        if let Some(last) = folder.segment_numbers.last() {
            if recovered.is_appendable {
                folder.active_segment = Some(ActiveSegment::open(
                    &folder.dir,
                    *last,
                    recovered.last_segment_bytes,
                    recovered.first_line_bytes,
                    recovered.bytes_after_frontier,
                    segment_bytes,
                )?);
            } else {
                folder.start_segment(ranges.as_slice(), segment_bytes)?;
            }
        }
        let end = folder.end();
        folder
            .readers
            .iter_mut()
            .for_each(|reader| reader.limit_to(end));
        Ok((folder, ranges))
    }

    /// Keeps a report for the user, unless it repeats one of damage that is still there.
    fn report_damage(&mut self, report: DamageReport) {
        if self.lasting_damage.contains(&report) {
            return;
        }
        self.lasting_damage
            .retain(|known| known.path != report.path);
        if report.outcome != DamageOutcome::SetAside {
            self.lasting_damage.push(report.clone());
        }
        self.damage.push(report);
    }

    /// Takes the reports of damage that was found since the previous call.
    pub fn take_damage(&mut self) -> Vec<DamageReport> {
        std::mem::take(&mut self.damage)
    }

    /// Takes the parts of damaged lines that the reader has printed.
    pub fn take_printed_parts(&mut self) -> Vec<Box<[u8]>> {
        std::mem::take(&mut self.printed_parts)
    }

    /// Records that a read found less than it should, so that an audit follows.
    pub fn mark_suspect(&self) {
        self.is_suspect.set(true);
    }

    /// Records that a line is no undamaged batch. If the line begins as a batch does, the folder is
    /// damaged.
    pub fn mark_unparsed(&self, line: &[u8]) {
        if segment_file::peek_author(line).is_some() {
            self.mark_suspect();
        }
    }

    /// Whether a read found damage since the previous call.
    pub fn take_suspicion(&mut self) -> bool {
        let active = self.active_segment.as_mut();
        let was_changed = active.is_some_and(ActiveSegment::take_changed);
        self.is_suspect.replace(false) || was_changed
    }

    /// Corrects the bytes of each author. Lines that an audit missed no longer count.
    pub fn correct_author_bytes(&mut self, audit: &Audit) {
        let author_bytes = Arc::make_mut(&mut self.author_bytes);
        for (author, bytes) in author_bytes.iter_mut() {
            let in_audit = |all: &SortedMap<PeerId, u64>| all.get(author).copied().unwrap_or(0);
            let found = bytes.saturating_add(in_audit(&audit.found_bytes));
            // What was appended or evicted since remains.
            *bytes = found.saturating_sub(in_audit(&audit.counted_bytes));
        }
        author_bytes.retain(|_, bytes| *bytes > 0);
    }

    /// Moves the damaged lines that an audit found to files beside their segments. First starts a
    /// new segment. Its frontier line has `ranges`, so that the next start knows what is missing.
    /// On a full or broken disk, the lines stay where they are.
    pub fn set_damage_aside(
        &mut self,
        damaged: Vec<DamagedSegment>,
        ranges: &[Arc<LogRange>],
        segment_bytes: u64,
    ) {
        let is_started = self.start_segment(ranges, segment_bytes).is_ok();
        for segment in damaged {
            let reader = SegmentReader::open(&self.dir, segment.number);
            let is_unchanged = reader.is_ok_and(|it| it.generation() == segment.generation);
            let set_aside = (is_started && is_unchanged && segment.error.is_none())
                .then(|| segment.lines.set_aside(&self.dir, segment.number).ok())
                .flatten();
            let outcome = match (segment.error, set_aside) {
                (Some(error), _) => DamageOutcome::Unreadable(error.to_string()),
                (None, Some(_)) => DamageOutcome::SetAside,
                (None, None) => DamageOutcome::Left,
            };
            if let Some(report) = segment.lines.report(&self.dir, segment.number, outcome) {
                self.report_damage(report);
            }
        }
        self.printed_parts =
            damage::read_printed_parts(&self.dir, &self.network).unwrap_or_default();
        self.total_bytes = segment_file::folder_bytes(&self.dir).unwrap_or(self.total_bytes);
    }

    /// Appends a batch. `line` is the stored form of the batch.
    ///
    /// # Errors
    /// The disk is full or broken. Nothing was stored.
    pub fn append(
        &mut self,
        line: &[u8],
        batch: &Batch,
        segment_bytes: u64,
        fsync: &mut Fsync,
    ) -> io::Result<()> {
        if self.active_segment.is_none() {
            self.start_segment(&[], segment_bytes)?;
        }
        let Some(active_segment) = &mut self.active_segment else {
            return Err(io::ErrorKind::NotFound.into());
        };
        active_segment.append(line)?;
        active_segment.request_sync(fsync);
        let bytes = line.len() as u64;
        self.total_bytes += bytes;
        let author_bytes = Arc::make_mut(&mut self.author_bytes);
        *author_bytes.get_or_default(batch.log.author) += bytes;
        self.max_lamport = self.max_lamport.max(batch.last_lamport());
        Ok(())
    }

    /// Starts a new active segment. Its first line is a frontier line with `ranges`.
    ///
    /// # Errors
    /// The disk is full or broken. The previous segment remains the active one.
    pub fn start_segment(
        &mut self,
        ranges: &[Arc<LogRange>],
        segment_bytes: u64,
    ) -> io::Result<()> {
        let number = self.highest_number + 1;
        if number > segment_file::NUMBER_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let frontier = self.frontier_line(ranges);
        let segment = ActiveSegment::create(&self.dir, number, &frontier, segment_bytes)?;
        self.highest_number = number;
        self.segment_numbers.push(number);
        self.total_bytes += segment.bytes();
        self.active_segment = Some(segment);
        Ok(())
    }

    /// Whether the active segment is full.
    pub fn is_rotation_due(&self) -> bool {
        self.active_segment
            .as_ref()
            .is_some_and(ActiveSegment::is_rotation_due)
    }

    /// Delays the next attempt to start a segment. Called after an attempt has failed.
    pub fn postpone_rotation(&mut self) {
        if let Some(segment) = &mut self.active_segment {
            segment.postpone_rotation();
        }
    }

    /// Asks the helper thread to sync the directory. Must be called after a file was created or
    /// removed.
    pub fn request_dir_sync(&self, fsync: &mut Fsync) {
        if let Ok(dir) = File::open(&self.dir) {
            fsync.request_sync(&dir, &self.dir_sync_pending);
        }
    }

    /// Appends a frontier line with `ranges` if more than 64 KiB follow the last frontier line. The
    /// next start then need not read these bytes.
    ///
    /// # Errors
    /// The disk is full or broken. The history is complete even without the frontier line.
    pub fn write_checkpoint(&mut self, ranges: &[Arc<LogRange>]) -> io::Result<()> {
        let active = self.active_segment.as_ref();
        if !active.is_some_and(ActiveSegment::may_append_checkpoint) {
            return Ok(());
        }
        let frontier = self.frontier_line(ranges);
        if let Some(segment) = &mut self.active_segment {
            self.total_bytes += segment.append_checkpoint(&frontier)?;
        }
        Ok(())
    }

    fn frontier_line(&self, ranges: &[Arc<LogRange>]) -> Vec<u8> {
        let mut line = Vec::new();
        frontier::write(ranges, &self.author_bytes, self.max_lamport, &mut line);
        line
    }

    /// Syncs what this run has written to the folder. Blocks until the data is on disk.
    ///
    /// # Errors
    /// The disk reports an error.
    pub fn sync(&self) -> io::Result<()> {
        let Some(segment) = &self.active_segment else {
            return Ok(());
        };
        segment.sync()?;
        for reader in self.readers.iter() {
            reader.sync()?;
        }
        if self.may_have_new_files() {
            file::sync_directory(&self.dir)?;
            self.dir_sync_pending.withdraw();
        }
        Ok(())
    }

    /// Whether files may have been created in this run that still exist.
    fn may_have_new_files(&self) -> bool {
        !self.existed_before
            || self.segment_numbers.last() != self.opened_segment.as_ref()
            || self.unacknowledged.is_new()
            || self.readers.iter().any(Reader::is_open)
    }

    /// Reads batches of some logs in one pass. See [`crate::shell::store::store::Store::load`].
    ///
    /// # Errors
    /// A segment can't be read. If the system lacked file descriptors or memory, the next call with
    /// the cursors tries the segment again. After any other error, the next call skips the segment.
    pub fn load(
        &self,
        cursors: &mut [LogCursor],
        budget_bytes: usize,
    ) -> io::Result<Vec<Option<Vec<Batch>>>> {
        if self.segment_numbers.is_empty() {
            return Ok(cursors.iter().map(|_| Some(Vec::new())).collect());
        }
        let (mut index, mut offset) = self.find_start(cursors);
        let authors: SortedMap<String, u64> = first_wanted(cursors);
        let mut collector = LogCollector::new(cursors, budget_bytes);
        loop {
            let number = self.segment_numbers[index];
            let start = Position {
                segment: number,
                offset,
                generation: 0,
            };
            let mut reached = Position::default();
            let ended = scan_segment(&self.dir, start, &mut reached, &mut |reader| {
                self.collect_line(reader, &authors, &mut collector)
            });
            let is_last = index + 1 >= self.segment_numbers.len();
            match ended {
                Ok(ScanEnd::EndOfSegment) if !is_last => {}
                Err(error) if collector.has_found_nothing() => {
                    self.mark_suspect();
                    let at = skip_unreadable(&error, number).unwrap_or(reached);
                    cursors.iter_mut().for_each(|it| it.position = Some(at));
                    return Err(error);
                }
                ended => {
                    return Ok(self.take_collected(cursors, collector, reached, ended.ok()));
                }
            }
            index = self.find_segment(&collector.missing_lines(), index + 1);
            offset = 0;
        }
    }

    /// Passes a line of a segment to the collector, if it is a batch of an author in `authors`.
    /// Returns false if the scan must end. `authors`: see [`first_wanted`].
    fn collect_line(
        &self,
        reader: &SegmentReader,
        authors: &SortedMap<String, u64>,
        collector: &mut LogCollector,
    ) -> bool {
        let line = reader.line();
        // Parsing a line takes much longer than reading its first bytes.
        if let Some(author) = segment_file::peek_author(line) {
            let author = std::str::from_utf8(author).unwrap_or_default();
            let sequence = segment_file::peek_single_sequence(line);
            let from = authors.get(author);
            if from.is_none_or(|from| sequence.is_some_and(|sequence| sequence < *from)) {
                return true;
            }
        }
        match Batch::parse_stored(line, &self.network) {
            Ok((batch, _)) if !collector.is_wanted(&batch.log, batch.last_sequence()) => true,
            // Only what is sent now is verified.
            Ok((batch, _)) if collector.is_next(&batch) && !batch.is_sendable() => {
                self.false_batches.add(reader.line_position());
                self.mark_suspect();
                collector.pass_over(&batch, reader.line_position())
            }
            Ok((batch, _)) => collector.add(batch, reader.line_position()),
            Err(_) => {
                self.mark_unparsed(line);
                true
            }
        }
    }

    /// Takes the collected batches of each cursor's log, and sets the cursors' positions. If the
    /// scan found only lines above a gap of a log, reads those lines. `reached`: where the scan
    /// ended. `ended`: how it ended. `None`: a segment can't be read.
    fn take_collected(
        &self,
        cursors: &mut [LogCursor],
        mut collector: LogCollector,
        reached: Position,
        ended: Option<ScanEnd>,
    ) -> Vec<Option<Vec<Batch>>> {
        let mut loaded = Vec::with_capacity(cursors.len());
        for cursor in cursors {
            let Some(collected) = collector.take(&cursor.log) else {
                loaded.push(None);
                continue;
            };
            cursor.position = collected.resume_at.or(Some(reached));
            loaded.push(match (collected.sequence_above_gap(), ended) {
                _ if !collected.batches.is_empty() => Some(collected.batches),
                (_, Some(ScanEnd::Stopped)) => None,
                // A failure must not lose the batches of the other logs. The next call begins at
                // the cursor's new position, and reports the failure if it lasts.
                (Some(from), _) => self.load_above_gap(cursor, from).unwrap_or(None),
                (None, Some(ScanEnd::EndOfSegment)) => {
                    // The core requests lines that are stored.
                    self.mark_suspect();
                    Some(Vec::new())
                }
                (None, None) => None,
            });
        }
        loaded
    }

    /// Reads the first batch of a log above a gap, from the sequence `from` on.
    fn load_above_gap(&self, cursor: &mut LogCursor, from: u64) -> io::Result<Option<Vec<Batch>>> {
        self.mark_suspect();
        let mut above = [LogCursor {
            from,
            ..cursor.clone()
        }];
        let loaded = self.load(&mut above, 1)?.pop().flatten();
        cursor.position = above[0].position;
        Ok(loaded)
    }

    /// Where a scan for the lines of the cursors begins: the index of a segment, and a logical
    /// offset in it.
    fn find_start(&self, cursors: &[LogCursor]) -> (usize, u64) {
        let known = cursors.iter().filter_map(|cursor| cursor.position);
        let known = known.map(|position| self.find_index(position)).min();
        let mut searched = WantedLines::default();
        for cursor in cursors.iter().filter(|cursor| cursor.position.is_none()) {
            searched.add(&cursor.log, cursor.from);
        }
        match known {
            Some(known) if searched.is_empty() => known,
            known => {
                let found = (self.find_segment(&searched, 0), 0);
                known.map_or(found, |known| known.min(found))
            }
        }
    }

    /// Returns the index of the segment where a scan for the wanted lines can begin. Searches from
    /// index `first` on. Passes over only segments without wanted lines.
    fn find_segment(&self, wanted: &WantedLines, first: usize) -> usize {
        let (mut low, mut high) = (first, self.segment_numbers.len());
        // Checks the next segment first, because a peer that catches up reads one segment after
        // the other.
        let mut middle = first + 1;
        while low + 1 < high {
            // Without a valid frontier the heads are unknown. Starting at an earlier segment is
            // always right.
            let is_before = self.is_before_wanted(self.segment_numbers[middle], wanted);
            if is_before.ok().flatten() == Some(true) {
                low = middle;
            } else {
                high = middle;
            }
            middle = low + (high - low) / 2;
        }
        low
    }

    /// Whether all segments before this one contain none of the wanted lines. `None`: the
    /// segment's frontier line is missing or damaged.
    fn is_before_wanted(&self, number: u64, wanted: &WantedLines) -> io::Result<Option<bool>> {
        let mut reader = SegmentReader::open(&self.dir, number)?;
        let has_line = reader.advance()?;
        Ok(has_line.then(|| wanted.are_after(reader.line())).flatten())
    }

    /// Returns where a read at `position` begins: the index of a segment, and a logical offset in
    /// it. The folder must have a segment.
    fn find_index(&self, position: Position) -> (usize, u64) {
        let start = resolve_position(&self.segment_numbers, position).unwrap_or(self.end());
        let index = self.segment_numbers.partition_point(|n| *n < start.segment);
        (index, start.offset)
    }

    /// Reads the batches at position `at` and after it, and sets `at` to the position after the
    /// last batch read. Reads about `budget_bytes`, but at least one batch. An empty result: no
    /// further batch is stored.
    ///
    /// # Errors
    /// A segment can't be read. If the system lacked file descriptors or memory, the next call with
    /// `at` tries the segment again. After any other error, the next call skips the segment.
    pub fn read_from(
        &self,
        at: &mut Position,
        budget_bytes: usize,
    ) -> io::Result<Vec<StoredBatch>> {
        if self.segment_numbers.is_empty() {
            return Ok(Vec::new());
        }
        read_segments(
            &self.dir,
            &self.network,
            &self.segment_numbers,
            resolve_position(&self.segment_numbers, *at).unwrap_or(self.end()),
            at,
            budget_bytes,
            &self.is_suspect,
        )
    }

    /// The position after the last stored batch.
    pub fn end(&self) -> Position {
        match (&self.active_segment, self.segment_numbers.last()) {
            // The active segment was never rewritten, so its logical offsets are its physical
            // ones.
            (Some(segment), Some(number)) => Position {
                segment: *number,
                offset: segment.bytes(),
                generation: 0,
            },
            _ => Position::default(),
        }
    }
}

/// For the author of each cursor, as the author's id: the lowest sequence that a cursor wants of
/// this author.
fn first_wanted(cursors: &[LogCursor]) -> SortedMap<String, u64> {
    let mut first = SortedMap::new();
    for cursor in cursors {
        let from = first.get_or_insert_with(cursor.log.author.to_string(), || cursor.from);
        *from = cursor.from.min(*from);
    }
    first
}
