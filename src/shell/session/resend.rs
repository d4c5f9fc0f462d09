//! Finds lines that an earlier program has stored without an answer to the client that sent them.
use crate::base::batch::{Batch, LogId};
use crate::base::event::Position;
use crate::base::identity::PeerId;
use crate::base::lines::Lines;
use crate::base::name::Target;
use crate::shell::session::session::own_folder;
use crate::shell::store::store::{READ_BYTES, Store};
use crate::ui::session_event::StoredLines;

/// What to search for: the lines of one batch of ours.
pub struct SentLines<'a> {
    /// Our id.
    pub own: &'a PeerId,
    /// The room or the recipient.
    pub target: &'a Target,
    /// The lines.
    pub lines: &'a Lines,
    /// Whether the lines are actions.
    pub action: bool,
}

/// Searches a folder for a batch of ours with these lines, after `position`. `head`: a log of ours,
/// and a sequence. The search ignores batches of this log up to this sequence, because they contain
/// lines of earlier requests.
///
/// If the batches cannot be read, the lines count as not stored. A line sent twice is better than a
/// lost one.
pub fn find_stored(
    store: &Store,
    sent: &SentLines<'_>,
    mut position: Position,
    head: Option<(&LogId, u64)>,
) -> Option<StoredLines> {
    let folder = own_folder(sent.target);
    let is_earlier = |batch: &Batch| {
        head.is_some_and(|(log, sequence)| *log == batch.log && batch.last_sequence() <= sequence)
    };
    loop {
        let batches = store.read_from(&folder, &mut position, READ_BYTES);
        let batches = batches.ok().filter(|batches| !batches.is_empty())?;
        let mut batches = batches.into_iter().map(|entry| entry.batch);
        let is_sent = |batch: &Batch| !is_earlier(batch) && sent.is_content_of(batch);
        if let Some(batch) = batches.find(is_sent) {
            return Some(StoredLines {
                sequence: batch.last_sequence(),
                log: batch.log,
            });
        }
    }
}

impl SentLines<'_> {
    fn is_content_of(&self, batch: &Batch) -> bool {
        let mut lines = self.lines.iter();
        let mut is_same = batch.log.author == *self.own
            && batch.action == self.action
            && batch.log.target == *self.target;
        batch.for_each_line(|line| is_same &= lines.next() == Some(line));
        is_same && lines.next().is_none()
    }
}
