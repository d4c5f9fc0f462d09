//! Reads the backlogs of a transcript: the last stored lines of its folders, in the total order. A
//! helper thread reads them, so that the event loop never waits for the disk. It reads only a
//! little ahead of the transcript.
use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::FolderName;
use crate::shell::os::thread;
use crate::shell::session::history_query::{HistoryQuery, QueryOutput, run_query_to};
use crate::shell::session::history_worker::text_len_bytes;
use crate::shell::store::scan::{FolderSpan, HistorySource};
use crate::shell::store::store::Store;
use crate::ui::session_event::EventKind;

/// The size of a chunk that the helper thread passes on, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;
/// How many chunks may wait for the transcript. The helper thread waits while there are this many.
const CHUNKS_MAX: usize = 2;

/// One step of a backlog.
// Nearly all steps are events, so that a box would save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum BacklogStep {
    /// Lines, or a gap before the next lines.
    Event(EventKind),
    /// A part of the history cannot be read, and is left out. Comes before all lines.
    Unreadable(io::Error),
    /// The last step. With an error, the backlog is incomplete.
    End(io::Result<()>),
}

type Chunk = Vec<BacklogStep>;

/// The lines of one backlog.
struct Request {
    folders: Vec<FolderSpan>,
    /// How many lines; `None`: all lines of the spans.
    limit: Option<u64>,
}

impl Request {
    /// Whether the cursors of the folders tell where the backlog begins, or which lines are
    /// requested.
    fn knows_beginning(&self) -> bool {
        self.limit.is_none() || self.folders.len() == 1
    }
}

/// A backlog that is being read.
struct Running {
    folders: Vec<FolderName>,
    chunks: Receiver<Chunk>,
    /// The rest of the last chunk.
    steps: VecDeque<BacklogStep>,
    /// Whether it is known where the backlog begins.
    knows_beginning: bool,
    /// Whether lines are left out.
    is_incomplete: bool,
}

/// The backlogs of one transcript. One is read at a time.
pub struct BacklogReader {
    own_id: PeerId,
    wake: Arc<dyn Fn() + Send + Sync>,
    waiting: VecDeque<Request>,
    running: Option<Running>,
}

impl BacklogReader {
    /// A reader without backlogs. The helper thread calls `wake` when a step is ready.
    pub fn new(own_id: PeerId, wake: Arc<dyn Fn() + Send + Sync>) -> BacklogReader {
        BacklogReader {
            own_id,
            wake,
            waiting: VecDeque::new(),
            running: None,
        }
    }

    /// Requests the last `limit` lines of the folders together.
    pub fn request_last(&mut self, folders: Vec<FolderSpan>, limit: u64) {
        self.waiting.push_back(Request {
            folders,
            limit: Some(limit),
        });
    }

    /// Requests the rest of a backlog that another transcript has begun. Requests for several
    /// folders become one backlog.
    pub fn request_rest(&mut self, folder: FolderSpan) {
        let mut waiting = self.waiting.iter_mut();
        match waiting.find(|request| request.limit.is_none()) {
            Some(rest) => rest.folders.push(folder),
            // The rest of a begun backlog comes before all others.
            None => self.waiting.push_front(Request {
                folders: vec![folder],
                limit: None,
            }),
        }
    }

    /// Whether a backlog is requested or is being read.
    pub fn is_active(&self) -> bool {
        self.running.is_some() || !self.waiting.is_empty()
    }

    /// Whether it is known where each requested backlog begins. For
    /// [`BacklogReader::request_last`] of several folders, the first step tells the beginning. For
    /// one folder, another transcript can request the same lines. For
    /// [`BacklogReader::request_rest`], the request contains the beginning.
    pub fn knows_beginnings(&self) -> bool {
        let running = self.running.as_ref();
        let mut waiting = self.waiting.iter();
        waiting.all(Request::knows_beginning)
            && running.is_none_or(|running| running.knows_beginning)
    }

    /// Whether a step is ready, or the next backlog can be begun.
    pub fn has_step(&self) -> bool {
        match &self.running {
            Some(running) => !running.steps.is_empty() || !running.chunks.is_empty(),
            None => !self.waiting.is_empty(),
        }
    }

    /// The folders of the backlog that is being read.
    pub fn folders(&self) -> &[FolderName] {
        self.running
            .as_ref()
            .map_or(&[], |running| &running.folders)
    }

    /// The next step of the current backlog. Begins the next backlog if none is being read. `None`:
    /// no step is ready.
    pub fn peek(&mut self, store: &Store) -> Option<&BacklogStep> {
        if self.running.is_none() {
            let request = self.waiting.pop_front()?;
            self.running = Some(self.start(request, store));
        }
        let running = self.running.as_mut()?;
        if running.steps.is_empty() {
            running.steps.extend(running.chunks.try_recv().ok()?);
            running.knows_beginning = true;
        }
        running.steps.front()
    }

    /// Removes the step that [`BacklogReader::peek`] has returned.
    pub fn pop(&mut self) -> Option<BacklogStep> {
        let running = self.running.as_mut()?;
        let step = running.steps.pop_front();
        running.is_incomplete |= matches!(step, Some(BacklogStep::Unreadable(_)));
        step
    }

    /// Whether the backlog that is being read leaves lines out.
    pub fn is_incomplete(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.is_incomplete)
    }

    /// Ends the backlog that is being read, after its last step. Returns its folders.
    pub fn take_folders(&mut self) -> Vec<FolderName> {
        let running = self.running.take();
        running.map_or(Vec::new(), |running| running.folders)
    }

    fn start(&self, request: Request, store: &Store) -> Running {
        let knows_beginning = request.knows_beginning();
        let folders = request.folders.iter().map(|span| span.name.clone());
        let folders = folders.collect();
        let query = HistoryQuery {
            folders: request.folders,
            limit: request.limit,
            ..HistoryQuery::default()
        };
        let (source, network) = store.history_source();
        let own_id = self.own_id;
        let chunks = match source {
            HistorySource::Disk(dir) => {
                let (sender, chunks) = bounded(CHUNKS_MAX);
                let wake = Arc::clone(&self.wake);
                let found_damage = store.damage_flag();
                let work = move || {
                    let source = HistorySource::Disk(dir);
                    read_backlog(
                        &source,
                        network,
                        &query,
                        own_id,
                        ChunkSender {
                            sender,
                            wake,
                            found_damage,
                        },
                    );
                };
                match thread::spawn_helper("backlog", Box::new(work)) {
                    Ok(()) => chunks,
                    Err(error) => {
                        let (sender, chunks) = bounded(1);
                        let _ = sender.send(vec![BacklogStep::End(Err(error))]);
                        chunks
                    }
                }
            }
            // A store in memory is small, and cannot be read by another thread.
            HistorySource::Memory(_) => {
                let (sender, chunks) = unbounded();
                let wake = Arc::clone(&self.wake);
                read_backlog(
                    &source,
                    network,
                    &query,
                    own_id,
                    ChunkSender {
                        sender,
                        wake,
                        found_damage: store.damage_flag(),
                    },
                );
                chunks
            }
        };
        Running {
            folders,
            chunks,
            steps: VecDeque::new(),
            knows_beginning,
            is_incomplete: false,
        }
    }
}

/// Passes chunks to a transcript.
struct ChunkSender {
    sender: Sender<Chunk>,
    wake: Arc<dyn Fn() + Send + Sync>,
    /// Set if the backlog's files are damaged.
    found_damage: Arc<AtomicBool>,
}

impl ChunkSender {
    /// Waits until the transcript has room.
    ///
    /// # Errors
    /// The transcript is gone.
    fn send(&self, chunk: Chunk) -> io::Result<()> {
        let sent = self.sender.send(chunk);
        (self.wake)();
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

fn read_backlog(
    source: &HistorySource<'_>,
    network: NetworkTag,
    query: &HistoryQuery,
    own_id: PeerId,
    sender: ChunkSender,
) {
    let (mut chunk, mut chunk_bytes) = (Chunk::new(), 0);
    // One error is reported.
    let unreadable = Cell::new(None);
    let read = run_query_to(
        source,
        network,
        query,
        QueryOutput {
            emit: &mut |kind| {
                chunk.extend(unreadable.take().map(BacklogStep::Unreadable));
                chunk_bytes += text_len_bytes(&kind);
                chunk.push(BacklogStep::Event(kind));
                match chunk_bytes >= CHUNK_BYTES {
                    true => {
                        chunk_bytes = 0;
                        sender.send(std::mem::take(&mut chunk))
                    }
                    false => Ok(()),
                }
            },
            skip_unreadable: &mut |error| {
                unreadable.set(Some(error));
                Ok(())
            },
            report_damage: &mut |_| sender.found_damage.store(true, Ordering::Relaxed),
            backlog_of: Some(own_id),
        },
    );
    chunk.extend(unreadable.take().map(BacklogStep::Unreadable));
    chunk.push(BacklogStep::End(read));
    let _ = sender.send(chunk);
}
