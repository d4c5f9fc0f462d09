//! Answers /history and /search beside the main loop.
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::identity::NetworkTag;
use crate::base::time::WallTime;
use crate::shell::os::thread;
use crate::shell::session::history_query::{HistoryQuery, run_query};
use crate::shell::session::renderer::Renderer;
use crate::shell::store::scan::HistorySource;
use crate::shell::store::store::Store;

/// Longest answer to a command, in bytes: beyond it the oldest lines are left out.
const REPLY_MAX_BYTES: usize = 256 * 1024;

type QueryResult = io::Result<Vec<u8>>;

/// Answers the commands that look back, beside the loop.
pub struct HistoryWorker {
    wake: Arc<dyn Fn() + Send + Sync>,
    result: Arc<Mutex<Option<QueryResult>>>,
    is_busy: bool,
}

impl HistoryWorker {
    /// `wake` is called when an answer is there, from a thread of its own.
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> HistoryWorker {
        HistoryWorker {
            wake,
            result: Arc::default(),
            is_busy: false,
        }
    }

    /// A disk is read on a thread of its own; what is in memory is little. To be called when nothing else was asked, or is answered.
    pub fn submit(&mut self, store: &Store, query: HistoryQuery, face: Renderer, today: WallTime) {
        self.is_busy = true;
        let (archive, network) = store.history_source();
        let HistorySource::Disk(dir) = archive else {
            return self.complete(collect_lines(&archive, network, &query, face, today));
        };
        let (wake, answer) = (Arc::clone(&self.wake), Arc::clone(&self.result));
        let work = move || {
            store_result(
                &answer,
                collect_lines(&HistorySource::Disk(dir), network, &query, face, today),
            );
            wake();
        };
        let thread = thread::spawn_helper("history", Box::new(work));
        if let Err(error) = thread {
            self.complete(Err(error));
        }
    }

    fn complete(&self, answer: QueryResult) {
        store_result(&self.result, answer);
        (self.wake)();
    }

    /// A question was asked, and its answer not yet taken.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// `None`: it is not there yet.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn take_result(&mut self) -> Option<QueryResult> {
        let answer = self.result.lock();
        let answer = answer.unwrap_or_else(PoisonError::into_inner).take();
        self.is_busy &= answer.is_none();
        answer
    }
}

fn store_result(to: &Mutex<Option<QueryResult>>, answer: QueryResult) {
    *to.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
}

fn collect_lines(
    archive: &HistorySource<'_>,
    network: NetworkTag,
    query: &HistoryQuery,
    mut face: Renderer,
    today: WallTime,
) -> QueryResult {
    let mut all = Vec::new();
    run_query(archive, network, query, &mut face, today, &mut |out| {
        all.append(out);
        if let Some(over) = all.len().checked_sub(REPLY_MAX_BYTES) {
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
