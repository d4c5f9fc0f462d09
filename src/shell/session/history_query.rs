//! Looking back: which of the stored lines are asked for, and how they come out, the last ones or all of them, in the one order.
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::event::{Notice, Peer};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::{Folder, Target};
use crate::base::time::Wall;
use crate::shell::os::thread;
use crate::shell::session::renderer::Face;
use crate::shell::store::merge::{Merge, Run};
use crate::shell::store::scan::{Archive, Index};
use crate::shell::store::store::Store;

/// Bytes handed on at a time.
const CHUNK: usize = 64 * 1024;
/// Longest answer to a command, in bytes: beyond it the oldest lines are left out.
const ANSWER_MAX: usize = 256 * 1024;

/// Which lines.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only of these folders; none: of all.
    pub folders: Vec<Folder>,
    /// Only direct messages with this peer.
    pub peer: Option<PeerId>,
    /// Only those stamped so or later by their authors.
    pub since: Option<Wall>,
    /// Only those that contain this text, in either case of letters.
    pub search: Option<String>,
    /// Of all these only so many, the last ones in the order.
    pub last: Option<u64>,
}

/// Shows what is asked for, in the one order, in pieces of some 64 KiB. `today`: what day it is, for a terminal.
///
/// # Errors
/// The history cannot be read, or what `take` says.
pub fn show(
    archive: &Archive<'_>,
    network: NetworkTag,
    query: &Query,
    face: &mut Face,
    today: Wall,
    take: &mut dyn FnMut(&mut Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    let index = Index::scan(archive, &query.folders)?;
    let search = query.search.as_ref().map(|text| text.to_lowercase());
    let walk = |cut: u64, each: &mut dyn FnMut(Run<'_>) -> io::Result<()>| {
        let mut merge = Merge::new(archive, &index, network, cut);
        while let Some(run) = merge.advance()? {
            let log = &run.batch.log;
            let with = |peer| log.author == peer || log.target == Target::Peer(peer);
            if query.since.is_some_and(|since| run.batch.timestamp < since)
                || query.peer.is_some_and(|peer| !with(peer))
            {
                continue;
            }
            match &search {
                None => each(run)?,
                Some(text) => matching(&run, text, each)?,
            }
        }
        io::Result::Ok(())
    };
    let (mut cut, mut skip) = (0, 0);
    if let Some(last) = query.last {
        // What is filtered must be counted from the beginning; else the last segments are enough.
        if query.since.is_none() && search.is_none() && query.peer.is_none() {
            cut = index.cut(last);
        }
        loop {
            let (mut all, mut above) = (0, 0);
            walk(cut, &mut |run| {
                let end = run.batch.lamport + run.first + run.count;
                all += run.count;
                above += end.saturating_sub(cut).min(run.count);
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
    let mut between = query.last.is_none();
    walk(cut, &mut |run| {
        if skip >= run.count {
            skip -= run.count;
            return Ok(());
        }
        if let Some(gap) = gap(&run).filter(|_| between) {
            face.notice(&gap, &mut out);
        }
        between = true;
        let hidden = run.lines.split_inclusive('\n').take(skip as usize);
        let hidden = hidden.map(str::len).sum::<usize>();
        let lines = &run.lines[hidden..];
        face.past(run.batch, run.first + skip, lines, today, &mut out);
        skip = 0;
        if out.len() >= CHUNK {
            take(&mut out)
        } else {
            Ok(())
        }
    })?;
    take(&mut out)
}

/// Of a run the lines that contain this text, which is in lower case.
fn matching(
    run: &Run<'_>,
    text: &str,
    each: &mut dyn FnMut(Run<'_>) -> io::Result<()>,
) -> io::Result<()> {
    for (i, line) in (0..).zip(run.lines.split_inclusive('\n')) {
        let lower = line.to_lowercase();
        let mut parts = lower.as_bytes().windows(text.len().max(1));
        if parts.any(|part| part == text.as_bytes()) {
            each(Run {
                batch: run.batch,
                first: run.first + i,
                count: 1,
                lines: line,
                missing: None,
            })?;
        }
    }
    Ok(())
}

/// The time and the name are those of the batch behind the gap.
fn gap(run: &Run<'_>) -> Option<Notice> {
    let (from, to) = run.missing?;
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

type Answer = io::Result<Vec<u8>>;

/// Answers the commands that look back, beside the loop.
pub struct Lookback {
    wake: Arc<dyn Fn() + Send + Sync>,
    answer: Arc<Mutex<Option<Answer>>>,
    busy: bool,
}

impl Lookback {
    /// `wake` is called when an answer is there, from a thread of its own.
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> Lookback {
        Lookback {
            wake,
            answer: Arc::default(),
            busy: false,
        }
    }

    /// A disk is read on a thread of its own; what is in memory is little. To be called when nothing else was asked, or is answered.
    pub fn ask(&mut self, store: &Store, query: Query, face: Face, today: Wall) {
        self.busy = true;
        let (archive, network) = store.archive();
        let Archive::Disk(dir) = archive else {
            return self.answered(lines(&archive, network, &query, face, today));
        };
        let (wake, answer) = (Arc::clone(&self.wake), Arc::clone(&self.answer));
        let work = move || {
            put(
                &answer,
                lines(&Archive::Disk(dir), network, &query, face, today),
            );
            wake();
        };
        let thread = thread::start("history", Box::new(work));
        if let Err(error) = thread {
            self.answered(Err(error));
        }
    }

    fn answered(&self, answer: Answer) {
        put(&self.answer, answer);
        (self.wake)();
    }

    /// A question was asked, and its answer not yet taken.
    pub fn busy(&self) -> bool {
        self.busy
    }

    /// `None`: it is not there yet.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn take(&mut self) -> Option<Answer> {
        let answer = self.answer.lock();
        let answer = answer.unwrap_or_else(PoisonError::into_inner).take();
        self.busy &= answer.is_none();
        answer
    }
}

fn put(to: &Mutex<Option<Answer>>, answer: Answer) {
    *to.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
}

fn lines(
    archive: &Archive<'_>,
    network: NetworkTag,
    query: &Query,
    mut face: Face,
    today: Wall,
) -> Answer {
    let mut all = Vec::new();
    show(archive, network, query, &mut face, today, &mut |out| {
        all.append(out);
        if let Some(over) = all.len().checked_sub(ANSWER_MAX) {
            let end = all[over..].iter().position(|b| *b == b'\n');
            all.drain(..end.map_or(all.len(), |end| over + end + 1));
        }
        Ok(())
    })?;
    if all.is_empty() && !face.is_json() {
        all.extend_from_slice(b"nothing was found\n");
    }
    Ok(all)
}
