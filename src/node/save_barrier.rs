//! Keeps the order "stored before sent" when a store fails: which outputs a failed save cancels,
//! and what the core hears of it.
use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::batch::Batch;
use crate::base::event::{Input, Notice, Output, StreamId};
use crate::base::table::SortedSet;

/// Filters the outputs of one input for whoever executes them.
///
/// Outputs form one queue, in which a [`Output::Save`] precedes every [`Output::Write`] that
/// depends on it. After a failed save this drops the saves, the writes and the notices about
/// unsaved batches that follow in the same queue. The core then gets [`Input::SaveFailed`], and
/// [`Input::Closed`] for each stream of a dropped write, whose cipher state has a hole.
#[derive(Debug, Default)]
pub struct SaveBarrier {
    unsaved_batches: Vec<Arc<Batch>>,
    aborted_streams: SortedSet<StreamId>,
}

impl SaveBarrier {
    /// Gives the output back if it is to be executed.
    pub fn admit(&mut self, output: Output) -> Option<Output> {
        if self.unsaved_batches.is_empty() {
            return Some(output);
        }
        match output {
            Output::Save { batch, .. } => self.unsaved_batches.push(batch),
            Output::Write { stream, .. } => {
                self.aborted_streams.insert(stream);
            }
            Output::Notice(Notice::Chat(chat)) if self.is_unsaved(&chat.batch) => {}
            Output::Close { stream } => {
                // The core knows that this stream ends: it gets no `Input::Closed`.
                self.aborted_streams.remove(&stream);
                return Some(output);
            }
            output => return Some(output),
        }
        None
    }

    fn is_unsaved(&self, batch: &Arc<Batch>) -> bool {
        self.unsaved_batches
            .iter()
            .any(|unsaved| Arc::ptr_eq(unsaved, batch))
    }

    /// Records that the store failed to save this batch.
    pub fn record_failure(&mut self, batch: Arc<Batch>) {
        self.unsaved_batches.push(batch);
    }

    /// Ends the queue of outputs: calls `abort` for each stream of a dropped write, and puts what
    /// the core is to hear of the failed saves before the other pending inputs, so that the core
    /// sends nothing more that depends on them.
    pub fn finish(
        &mut self,
        pending_inputs: &mut VecDeque<Input<'static>>,
        mut abort: impl FnMut(StreamId),
    ) {
        if self.unsaved_batches.is_empty() {
            return;
        }
        for stream in std::mem::take(&mut self.aborted_streams) {
            abort(stream);
            pending_inputs.push_front(Input::Closed { stream });
        }
        let batches = std::mem::take(&mut self.unsaved_batches);
        pending_inputs.push_front(Input::SaveFailed { batches });
    }
}
