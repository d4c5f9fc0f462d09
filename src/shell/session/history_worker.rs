//! Answers history queries in a helper thread, so that the event loop never waits for the disk.
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::identity::NetworkTag;
use crate::base::time::WallTime;
use crate::shell::os::thread;
use crate::shell::session::history_query::{HistoryQuery, run_query};
use crate::shell::session::renderer::Renderer;
use crate::shell::store::scan::HistorySource;
use crate::shell::store::store::Store;

/// Maximum size of a reply in bytes. If a reply is longer, its oldest lines are left out.
const REPLY_MAX_BYTES: usize = 256 * 1024;

type QueryResult = io::Result<Vec<u8>>;

/// Runs history queries, one at a time.
pub struct HistoryWorker {
    wake: Arc<dyn Fn() + Send + Sync>,
    result: Arc<Mutex<Option<QueryResult>>>,
    is_busy: bool,
}

impl HistoryWorker {
    /// Creates an idle worker. The worker calls `wake` when a result is ready. The call may come
    /// from another thread.
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> HistoryWorker {
        HistoryWorker {
            wake,
            result: Arc::default(),
            is_busy: false,
        }
    }

    /// Starts a query. The worker must be idle. A query on a disk store runs in a helper thread. A
    /// query on a memory store is short, and runs within this call.
    pub fn submit(
        &mut self,
        store: &Store,
        query: HistoryQuery,
        renderer: Renderer,
        today: WallTime,
    ) {
        self.is_busy = true;
        let (source, network) = store.history_source();
        let HistorySource::Disk(dir) = source else {
            return self.complete(collect_lines(&source, network, &query, renderer, today));
        };
        let (wake, result) = (Arc::clone(&self.wake), Arc::clone(&self.result));
        let work = move || {
            let source = HistorySource::Disk(dir);
            store_result(
                &result,
                collect_lines(&source, network, &query, renderer, today),
            );
            wake();
        };
        if let Err(error) = thread::spawn_helper("history", Box::new(work)) {
            self.complete(Err(error));
        }
    }

    fn complete(&self, result: QueryResult) {
        store_result(&self.result, result);
        (self.wake)();
    }

    /// Whether a query was submitted, and its result was not taken yet.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Takes the rendered lines of the last query; `None` until the lines are ready.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn take_result(&mut self) -> Option<QueryResult> {
        let result = self.result.lock();
        let result = result.unwrap_or_else(PoisonError::into_inner).take();
        self.is_busy &= result.is_none();
        result
    }
}

fn store_result(slot: &Mutex<Option<QueryResult>>, result: QueryResult) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
}

fn collect_lines(
    source: &HistorySource<'_>,
    network: NetworkTag,
    query: &HistoryQuery,
    mut renderer: Renderer,
    today: WallTime,
) -> QueryResult {
    let mut all = Vec::new();
    run_query(source, network, query, &mut renderer, today, &mut |out| {
        all.append(out);
        if let Some(excess) = all.len().checked_sub(REPLY_MAX_BYTES) {
            let end = all[excess..].iter().position(|b| *b == b'\n');
            all.drain(..end.map_or(all.len(), |end| excess + end + 1));
        }
        Ok(())
    })?;
    if all.is_empty() && !renderer.is_json() {
        all.extend_from_slice(b"nothing was found\n");
    }
    Ok(all)
}
