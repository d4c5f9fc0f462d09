//! The last segment of a folder. New batches are appended to it.
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::path::Path;

use crate::shell::os::file::{self, Access};
use crate::shell::store::fsync::{Fsync, SyncPending};
use crate::shell::store::segment::segment_file;
use crate::shell::store::store_io;

/// A clean end appends a frontier line if more than this many bytes follow the last frontier line.
/// The next start then need not read these bytes.
const CHECKPOINT_MIN_BYTES: u64 = 64 * 1024;
/// After an attempt to start a new segment has failed, the next attempt waits until this many bytes
/// are written.
const ROTATION_RETRY_BYTES: u64 = 64 * 1024;

/// Longest blank line that fills up a file, in bytes.
const FILLER_LINE_BYTES: usize = 64 * 1024;

/// The segment that is being written, open for appending.
pub struct ActiveSegment {
    file: File,
    /// Length of all whole lines, in bytes.
    bytes: u64,
    /// Bytes after the last frontier line.
    bytes_after_frontier: u64,
    /// Length at which a new segment is due, in bytes.
    rotate_at_bytes: u64,
    /// Whether the file ends with a part of a failed write. The next write removes this part first.
    has_torn_tail: bool,
    /// Whether somebody else has changed the length of the file.
    was_changed: bool,
    /// Whether this run has written to the file.
    is_written: bool,
    sync_pending: SyncPending,
}

impl ActiveSegment {
    /// Opens an existing segment. `bytes` is its length. `first_line_bytes` is the length of the
    /// frontier line with which it begins. `bytes_after_frontier` is the number of bytes after the
    /// last frontier line. The segment is full at `segment_bytes`, but not before the end of its
    /// last frontier line. If it begins with a longer frontier line, it is full at twice that
    /// length.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn open(
        dir: &Path,
        number: u64,
        bytes: u64,
        first_line_bytes: u64,
        bytes_after_frontier: u64,
        segment_bytes: u64,
    ) -> io::Result<ActiveSegment> {
        // A long frontier line is not followed by another one at once.
        let full_at_bytes = match first_line_bytes < segment_bytes {
            true => segment_bytes,
            false => 2 * first_line_bytes,
        };
        Ok(ActiveSegment {
            file: open_for_append(&segment_file::path(dir, number))?,
            bytes,
            bytes_after_frontier,
            rotate_at_bytes: full_at_bytes.max(bytes - bytes_after_frontier),
            has_torn_tail: false,
            was_changed: false,
            is_written: false,
            sync_pending: SyncPending::default(),
        })
    }

    /// Creates a segment whose first line is `frontier`. `frontier` includes the line end. A crash
    /// of the program never leaves a segment without this line: either both exist, or neither.
    ///
    /// # Errors
    /// The disk is full or broken. No segment was created.
    pub fn create(
        dir: &Path,
        number: u64,
        frontier: &[u8],
        segment_bytes: u64,
    ) -> io::Result<ActiveSegment> {
        let draft = segment_file::temporary_path(dir, number);
        let path = segment_file::path(dir, number);
        let created = file::create_private_dir(dir)
            .and_then(|()| file::create_private_file(&draft))
            .and_then(|file| store_io::write_all(&file, frontier))
            .and_then(|()| fs::rename(&draft, &path))
            .and_then(|()| open_for_append(&path));
        let file = created.inspect_err(|_| {
            let _ = fs::remove_file(&draft);
        })?;
        let bytes = frontier.len() as u64;
        Ok(ActiveSegment {
            file,
            bytes,
            bytes_after_frontier: 0,
            rotate_at_bytes: segment_bytes.max(bytes) + bytes,
            has_torn_tail: false,
            was_changed: false,
            is_written: true,
            sync_pending: SyncPending::default(),
        })
    }

    /// Length of all whole lines, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the segment is full.
    pub fn is_rotation_due(&self) -> bool {
        self.bytes >= self.rotate_at_bytes
    }

    /// Delays the next attempt to start a segment. Called after an attempt has failed.
    pub fn postpone_rotation(&mut self) {
        self.rotate_at_bytes = self.bytes + ROTATION_RETRY_BYTES;
    }

    /// Appends whole lines: all of them or none. First removes the remains of a failed write.
    ///
    /// # Errors
    /// The disk is full or broken. Nothing was appended.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.has_torn_tail {
            store_io::set_len(&self.file, self.bytes)?;
            self.has_torn_tail = false;
        }
        self.is_written = true;
        self.restore_length()?;
        if let Err(error) = store_io::write_all(&self.file, lines) {
            self.has_torn_tail = store_io::set_len(&self.file, self.bytes).is_err();
            return Err(error);
        }
        self.bytes += lines.len() as u64;
        self.bytes_after_frontier += lines.len() as u64;
        Ok(())
    }

    /// If somebody else changed the length of the file, fills it up with blank lines. Offsets then
    /// stay valid, and the next line begins at a line's beginning.
    fn restore_length(&mut self) -> io::Result<()> {
        // A seek costs less than half of a stat. Appending ignores the position.
        let bytes = (&self.file).seek(SeekFrom::End(0))?;
        if bytes == self.bytes {
            return Ok(());
        }
        self.was_changed = true;
        let missing = usize::try_from(self.bytes.saturating_sub(bytes)).unwrap_or(0);
        let mut filler = vec![b' '; missing.max(1)];
        for line in filler.chunks_mut(FILLER_LINE_BYTES) {
            if let Some(end) = line.last_mut() {
                *end = b'\n';
            }
        }
        store_io::write_all(&self.file, &filler)?;
        self.bytes = bytes + filler.len() as u64;
        Ok(())
    }

    /// Whether somebody else has changed the length of the file since the previous call of this
    /// function.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.was_changed)
    }

    /// Whether [`ActiveSegment::append_checkpoint`] appends a short frontier line. If not, it
    /// appends none.
    pub fn may_append_checkpoint(&self) -> bool {
        self.bytes_after_frontier > CHECKPOINT_MIN_BYTES
    }

    /// Appends the frontier line `frontier`, unless too few bytes follow the last frontier line.
    /// See `CHECKPOINT_MIN_BYTES`. Returns the number of bytes written, or 0 if no line was
    /// appended.
    ///
    /// # Errors
    /// The disk is full or broken. The history is complete even without the frontier line.
    pub fn append_checkpoint(&mut self, frontier: &[u8]) -> io::Result<u64> {
        let bytes = frontier.len() as u64;
        if self.bytes_after_frontier <= CHECKPOINT_MIN_BYTES.max(bytes) {
            return Ok(0);
        }
        self.append(frontier)?;
        self.bytes_after_frontier = 0;
        Ok(bytes)
    }

    /// Asks the helper thread to sync the file.
    pub fn request_sync(&self, fsync: &mut Fsync) {
        fsync.request_sync(&self.file, &self.sync_pending);
    }

    /// Syncs the file, if this run has written to it. Blocks until its data is on disk.
    ///
    /// # Errors
    /// The disk reports an error.
    pub fn sync(&self) -> io::Result<()> {
        if self.is_written {
            store_io::sync(&self.file)?;
            self.sync_pending.withdraw();
        }
        Ok(())
    }
}

fn open_for_append(path: &Path) -> io::Result<File> {
    file::open_regular(path, Access::Append)
}
