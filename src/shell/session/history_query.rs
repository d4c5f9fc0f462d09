//! Looking back: which of the stored lines are asked for, and how they come out, the last ones or all of them, in the one order.
use std::io;

use crate::base::event::{Notice, Peer};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::{FolderName, Target};
use crate::base::time::WallTime;
use crate::shell::session::renderer::Renderer;
use crate::shell::store::merge::{LineRun, Merge};
use crate::shell::store::scan::{HistoryIndex, HistorySource};

/// Bytes handed on at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// Which lines.
#[derive(Clone, Debug, Default)]
pub struct HistoryQuery {
    /// Only of these folders; none: of all.
    pub folders: Vec<FolderName>,
    /// Only direct messages with this peer.
    pub peer: Option<PeerId>,
    /// Only those stamped so or later by their authors.
    pub since: Option<WallTime>,
    /// Only those that contain this text, in either case of letters.
    pub search: Option<String>,
    /// Of all these only so many, the last ones in the order.
    pub limit: Option<u64>,
}

/// Shows what is asked for, in the one order, in pieces of some 64 KiB. `today`: what day it is, for a terminal.
///
/// # Errors
/// The history cannot be read, or what `take` says.
pub fn run_query(
    archive: &HistorySource<'_>,
    network: NetworkTag,
    query: &HistoryQuery,
    face: &mut Renderer,
    today: WallTime,
    take: &mut dyn FnMut(&mut Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    let index = HistoryIndex::scan(archive, &query.folders)?;
    let search = query.search.as_ref().map(|text| text.to_lowercase());
    let walk = |cut: u64, each: &mut dyn FnMut(LineRun<'_>) -> io::Result<()>| {
        let mut merge = Merge::new(archive, &index, network, cut);
        while let Some(run) = merge.next_run()? {
            let log = &run.batch.log;
            let with = |peer| log.author == peer || log.target == Target::Peer(peer);
            if query.since.is_some_and(|since| run.batch.timestamp < since)
                || query.peer.is_some_and(|peer| !with(peer))
            {
                continue;
            }
            match &search {
                None => each(run)?,
                Some(text) => for_each_match(&run, text, each)?,
            }
        }
        io::Result::Ok(())
    };
    let (mut cut, mut skip) = (0, 0);
    if let Some(last) = query.limit {
        // What is filtered must be counted from the beginning; else the last segments are enough.
        if query.since.is_none() && search.is_none() && query.peer.is_none() {
            cut = index.lamport_cutoff(last);
        }
        loop {
            let (mut all, mut above) = (0, 0);
            walk(cut, &mut |run| {
                let end = run.batch.lamport + run.first_index + run.line_count;
                all += run.line_count;
                above += end.saturating_sub(cut).min(run.line_count);
                Ok(())
            })?;
            skip = all - last.min(all);
            // Fewer than the segments promised: some were there twice, or damaged.
            if cut == 0 || above >= last {
                break;
            }
            cut = 0;
        }
    }
    let mut out = Vec::new();
    // A gap right before the first line shown is not between two of them.
    let mut between = query.limit.is_none();
    walk(cut, &mut |run| {
        if skip >= run.line_count {
            skip -= run.line_count;
            return Ok(());
        }
        if let Some(gap) = gap_notice(&run).filter(|_| between) {
            face.append_notice(&gap, &mut out);
        }
        between = true;
        let hidden = run.text.split_inclusive('\n').take(skip as usize);
        let hidden = hidden.map(str::len).sum::<usize>();
        let lines = &run.text[hidden..];
        face.append_history(run.batch, run.first_index + skip, lines, today, &mut out);
        skip = 0;
        if out.len() >= CHUNK_BYTES {
            take(&mut out)
        } else {
            Ok(())
        }
    })?;
    take(&mut out)
}

/// Of a run the lines that contain this text, which is in lower case.
fn for_each_match(
    run: &LineRun<'_>,
    text: &str,
    each: &mut dyn FnMut(LineRun<'_>) -> io::Result<()>,
) -> io::Result<()> {
    for (i, line) in (0..).zip(run.text.split_inclusive('\n')) {
        let lower = line.to_lowercase();
        let mut parts = lower.as_bytes().windows(text.len().max(1));
        if parts.any(|part| part == text.as_bytes()) {
            each(LineRun {
                batch: run.batch,
                first_index: run.first_index + i,
                line_count: 1,
                text: line,
                missing_before: None,
            })?;
        }
    }
    Ok(())
}

/// The time and the name are those of the batch behind the gap.
fn gap_notice(run: &LineRun<'_>) -> Option<Notice> {
    let (from, to) = run.missing_before.clone()?.into_inner();
    let batch = run.batch;
    Some(Notice::Gap {
        target: batch.log.target.clone(),
        author: Peer {
            id: batch.log.author,
            nick: batch.username.clone(),
        },
        incarnation: batch.log.incarnation,
        from,
        to,
        at: batch.timestamp,
    })
}
