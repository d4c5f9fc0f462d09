//! Answers history queries in a helper thread, so that the event loop never waits for the disk.
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::identity::NetworkTag;
use crate::shell::os::thread;
use crate::shell::session::history_query::{HistoryQuery, run_query};
use crate::shell::store::scan::HistorySource;
use crate::shell::store::store::Store;
use crate::ui::session_event::EventKind;

/// Maximum size of the text of a reply, in bytes. If a reply is longer, its oldest lines are left
/// out.
const REPLY_MAX_BYTES: usize = 256 * 1024;

/// The lines found, and the gaps between them.
pub type QueryResult = io::Result<VecDeque<EventKind>>;

/// Runs history queries, one at a time.
pub struct HistoryWorker {
    wake: Arc<dyn Fn() + Send + Sync>,
    result: Arc<Mutex<Option<QueryResult>>>,
    /// The id of the request that the running query answers.
    request_id: Option<String>,
}

impl HistoryWorker {
    /// Creates an idle worker. The worker calls `wake` when a result is ready. The call may come
    /// from another thread.
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> HistoryWorker {
        HistoryWorker {
            wake,
            result: Arc::default(),
            request_id: None,
        }
    }

    /// Starts a query, which answers the request with this id. The worker must be idle. A query on
    /// a disk store runs in a helper thread. A query on a memory store is short, and runs within
    /// this call.
    pub fn submit(&mut self, store: &Store, query: HistoryQuery, request_id: Option<String>) {
        self.request_id = request_id;
        let (source, network) = store.history_source();
        let found_damage = store.damage_flag();
        let HistorySource::Disk(dir) = source else {
            return self.complete(collect_lines(&source, network, &query, &found_damage));
        };
        let (wake, result) = (Arc::clone(&self.wake), Arc::clone(&self.result));
        let work = move || {
            let source = HistorySource::Disk(dir);
            store_result(
                &result,
                collect_lines(&source, network, &query, &found_damage),
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

    /// Ends the sleep of the event loop from another thread.
    pub fn wake(&self) -> Arc<dyn Fn() + Send + Sync> {
        Arc::clone(&self.wake)
    }

    /// Takes the id of the request and the result of the last query; `None` until the result is
    /// ready.
    pub fn take_result(&mut self) -> Option<(Option<String>, QueryResult)> {
        let result = self.result.lock();
        let result = result.unwrap_or_else(PoisonError::into_inner).take()?;
        Some((self.request_id.take(), result))
    }
}

fn store_result(slot: &Mutex<Option<QueryResult>>, result: QueryResult) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
}

fn collect_lines(
    source: &HistorySource<'_>,
    network: NetworkTag,
    query: &HistoryQuery,
    found_damage: &AtomicBool,
) -> QueryResult {
    let (mut all, mut size) = (VecDeque::new(), 0);
    let mut report_damage = |_| found_damage.store(true, Ordering::Relaxed);
    run_query(source, network, query, &mut report_damage, &mut |kind| {
        size += text_len_bytes(&kind);
        all.push_back(kind);
        while size > REPLY_MAX_BYTES
            && let Some(oldest) = all.pop_front()
        {
            size -= text_len_bytes(&oldest);
        }
        Ok(())
    })?;
    Ok(all)
}

/// The size of an event in the reply, in bytes. Includes a fixed size for the fields besides the
/// text.
pub(super) fn text_len_bytes(kind: &EventKind) -> usize {
    const FIELDS_BYTES: usize = 128;
    match kind {
        EventKind::Chat { chat, .. } => FIELDS_BYTES + chat.text.len(),
        _ => FIELDS_BYTES,
    }
}
