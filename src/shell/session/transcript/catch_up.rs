//! The part of a transcript that reads stored lines, and emits them in their order of arrival.
use std::io;
use std::sync::Arc;

use crate::base::batch::batch::{Batch, LocalFields};
use crate::base::event::load::{Position, StoredBatch};
use crate::base::event::notice::Notice;
use crate::base::missing_lines::gap_notice;
use crate::base::name::FolderName;
use crate::base::table::SortedMap;
use crate::shell::session::event_sink::EventSink;
use crate::shell::session::transcript::folder_progress::FolderProgress;
use crate::shell::session::transcript::transcript::{
    BatchFacts, Printing, Transcript, emit_chat, emit_notice,
};
use crate::shell::store::reader::PrintedBacklog;
use crate::shell::store::store::{READ_BYTES, Store};
use crate::ui::session_event::ChatLines;

impl Transcript {
    /// Emits waiting lines and events, until the sink has no more room.
    ///
    /// # Errors
    /// A part of the history cannot be read. The rest is emitted.
    pub fn catch_up(&mut self, store: &Store, sink: &mut dyn EventSink) -> io::Result<()> {
        if !self.is_lagging {
            return Ok(());
        }
        self.is_starved = false;
        let mut result = Ok(());
        if !self.emit_backlogs(store, sink, &mut result) {
            return result;
        }
        let folders: Vec<FolderName> = self.cursors.keys().cloned().collect();
        for folder in folders {
            loop {
                // Return, instead of leaving the loop: the sink may get room again before the code
                // below runs. `is_lagging` would then become false while lines are unread.
                if !sink.can_accept() {
                    return result;
                }
                let Some(mut cursor) = self.cursors.get(&folder).copied() else {
                    break;
                };
                let Some(batches) = self.read_chunk(store, &folder, &mut cursor, &mut result)
                else {
                    break;
                };
                if self.is_starved {
                    return result;
                }
                let printed = match self.is_reader {
                    true => store.printed_backlogs(&folder, self.reader_name.as_ref()),
                    false => &[],
                };
                let facts = batches
                    .iter()
                    .map(|entry| self.facts(store, &folder, entry));
                let facts: Vec<BatchFacts> = facts.collect();
                self.emit_chunk((batches, facts, printed), &folder, &cursor, sink);
                self.cursors.insert(folder.clone(), cursor);
            }
            self.emit_backlog_end(&folder, sink);
            if !self.is_stopped && !self.is_open(&folder) {
                self.cursors.remove(&folder);
            }
        }
        while sink.can_accept()
            && let Some(notice) = self.queued_notices.pop()
        {
            emit_notice(notice, sink);
        }
        self.is_lagging = !self.queued_notices.is_empty();
        if !self.is_lagging {
            self.reached = SortedMap::new();
            self.evicted_below = SortedMap::new();
        }
        result
    }

    /// Reads the next batches of a folder. Returns `None` at the end of the folder. If a part
    /// cannot be read, moves the cursor past this part and returns an empty list. If descriptors or
    /// memory ran out, sets `is_starved` instead.
    fn read_chunk(
        &mut self,
        store: &Store,
        folder: &FolderName,
        cursor: &mut FolderProgress,
        result: &mut io::Result<()>,
    ) -> Option<Vec<StoredBatch>> {
        if self.is_stopped {
            cursor.end.get_or_insert(store.end(folder));
        }
        if cursor.end.is_some_and(|end| cursor.position >= end) {
            return None;
        }
        let before = cursor.position;
        match store.read_from(folder, &mut cursor.position, READ_BYTES) {
            Ok(mut batches) => {
                if let Some(end) = cursor.end.filter(|end| *end < cursor.position) {
                    cursor.position = end;
                    batches.retain(|entry| entry.position < end);
                }
                (!batches.is_empty()).then_some(batches)
            }
            Err(error) => {
                *result = Err(error);
                self.is_starved = cursor.position == before;
                Some(Vec::new())
            }
        }
    }

    /// Emits the batches that are to be printed, without the lines of printed backlogs. `cursor`:
    /// the progress after these batches.
    fn emit_chunk(
        &mut self,
        (batches, facts, printed): (Vec<StoredBatch>, Vec<BatchFacts>, &[PrintedBacklog]),
        folder: &FolderName,
        cursor: &FolderProgress,
        sink: &mut dyn EventSink,
    ) {
        let mut ends: Vec<Position> = batches.iter().skip(1).map(|next| next.position).collect();
        ends.push(cursor.position);
        for ((entry, facts), end) in batches.iter().zip(facts).zip(ends) {
            let facts = BatchFacts {
                is_from_earlier_run: entry.position < cursor.run_start,
                ..facts
            };
            let printing = self.decide(facts, self.only_new);
            self.is_saving_positions &= printing != Printing::NextRun;
            let gap = self.gap_before(entry);
            let unprinted = cursor.unprinted_lines(entry, printed);
            if printing == Printing::Skip || unprinted.is_empty() {
                self.skipped.insert(folder.clone(), end);
                continue;
            }
            if printing == Printing::NextRun {
                self.printed_beyond.pass_over(folder, &entry.batch);
                continue;
            }
            if let Some(gap) = gap {
                emit_notice(Arc::new(gap), sink);
            }
            self.skipped.remove(folder);
            self.printed_beyond.record(folder, &entry.batch, end);
            emit_withheld(&entry.batch, entry.local, sink);
            let range_count = unprinted.len();
            for (i, lines) in unprinted.into_iter().enumerate() {
                let mut chat = ChatLines::from_stored(entry, facts.is_own);
                if lines.end < entry.batch.count {
                    chat.truncate_lines(lines.end);
                }
                chat.skip_lines(lines.start);
                // Only the last lines of a batch are followed by the place after it.
                let resume = (i + 1 == range_count).then(|| cursor.resume_at(end));
                emit_chat(chat, resume, sink);
            }
        }
    }

    /// The gap before this batch: lines of the same log that were evicted before they were printed.
    fn gap_before(&mut self, entry: &StoredBatch) -> Option<Notice> {
        let batch = &entry.batch;
        let reached = self.reached.get(&batch.log).copied();
        // A batch that fills a gap is stored after batches with higher sequences.
        if reached.is_some_and(|reached| batch.last_sequence() <= reached) {
            return None;
        }
        self.reached
            .insert(batch.log.clone(), batch.last_sequence());
        let to = self.evicted_below.remove(&batch.log)?.min(batch.sequence) - 1;
        let from = reached? + 1;
        (from <= to).then(|| gap_notice(batch, from..=to, entry.local.received))
    }
}

/// Emits a gap in place of lines whose content is withheld.
fn emit_withheld(batch: &Batch, local: LocalFields, sink: &mut dyn EventSink) {
    if batch.is_withheld() {
        let at = local.shown_time(batch.timestamp);
        emit_notice(
            Arc::new(gap_notice(
                batch,
                batch.sequence..=batch.last_sequence(),
                at,
            )),
            sink,
        );
    }
}
