//! Finds lines that an earlier program has stored without an answer to the client that sent them.
use crate::base::event::load::Position;
use crate::base::name::FolderName;
use crate::base::request_id::RequestId;
use crate::shell::store::store::{READ_BYTES, Store};
use crate::ui::session_event::StoredLines;

/// Searches a folder for the batch that this request has published. The search begins at
/// `position`.
///
/// If the batches cannot be read, the lines count as not stored. A line sent twice is better than a
/// lost one.
pub fn find_stored(
    store: &Store,
    folder: &FolderName,
    request: &RequestId,
    mut position: Position,
) -> Option<StoredLines> {
    loop {
        let batches = store.read_from(folder, &mut position, READ_BYTES);
        let batches = batches.ok().filter(|batches| !batches.is_empty())?;
        let mut batches = batches.into_iter().map(|entry| entry.batch);
        if let Some(batch) = batches.find(|batch| batch.request.as_ref() == Some(request)) {
            return Some(StoredLines {
                first: batch.sequence,
                sequence: batch.last_sequence(),
                log: batch.log,
            });
        }
    }
}
