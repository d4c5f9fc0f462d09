//! Rewrites a segment without some of its lines. Positions in the segment stay valid: a `dropped`
//! line stands for the bytes of the removed lines.
use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use crate::shell::os::file;
use crate::shell::store::segment::frontier::{FRONTIER_PREFIX, with_next_generation};
use crate::shell::store::segment::segment_file;
use crate::shell::store::segment::segment_reader::SegmentReader;
use crate::shell::store::store_io;

/// Replaces a segment by a copy. The copy has the first line, with a higher generation, and the
/// further lines for which `keep` returns true. Frontier lines among them are left out. Returns how
/// many lines follow the first one.
///
/// # Errors
/// The segment can't be read or replaced. The segment is unchanged.
pub fn rewrite_segment(
    dir: &Path,
    number: u64,
    keep: &mut dyn FnMut(&SegmentReader) -> bool,
) -> io::Result<u64> {
    let draft = segment_file::temporary_path(dir, number);
    let rewritten = write_kept_lines(dir, number, keep)
        .and_then(|kept| fs::rename(&draft, segment_file::path(dir, number)).map(|()| kept));
    rewritten.inspect_err(|_| {
        let _ = fs::remove_file(&draft);
    })
}

fn write_kept_lines(
    dir: &Path,
    number: u64,
    keep: &mut dyn FnMut(&SegmentReader) -> bool,
) -> io::Result<u64> {
    let draft = segment_file::temporary_path(dir, number);
    let mut out = BufWriter::new(file::create_private_file(&draft)?);
    let mut reader = SegmentReader::open(dir, number)?;
    let generation = reader.generation();
    let mut kept_count = 0;
    // The copy stands for all bytes before this logical offset.
    let mut written_to = 0;
    while reader.advance()? {
        let is_first = reader.file_line().number == 1;
        let is_kept = keep(&reader);
        let line = reader.line();
        if is_first {
            // The generation marks the segment as rewritten. Without it, readers would take
            // physical offsets for logical ones.
            let frontier = with_next_generation(line, generation);
            out.write_all(&frontier)?;
            out.write_all(b"\n")?;
            written_to = frontier.len() as u64 + 1;
            continue;
        }
        if !is_kept || line.starts_with(FRONTIER_PREFIX) {
            continue;
        }
        write_dropped(&mut out, written_to, reader.line_offset())?;
        out.write_all(line)?;
        out.write_all(b"\n")?;
        written_to = reader.next_position().offset;
        kept_count += 1;
    }
    write_dropped(&mut out, written_to, reader.next_position().offset)?;
    // A power cut after the rename must find the whole copy.
    store_io::sync(&out.into_inner()?)?;
    Ok(kept_count)
}

/// Writes the line that stands for the bytes from the logical offset `start` to `end`, if there are
/// any.
fn write_dropped(out: &mut dyn io::Write, start: u64, end: u64) -> io::Result<()> {
    match end > start {
        true => out.write_all(segment_file::dropped_line(end - start).as_bytes()),
        false => Ok(()),
    }
}
