//! Keeps the rule "stored before sent" when the store fails. Drops the outputs that depend on a
//! failed save. Reports the unsaved batches and the aborted streams to the core.
use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::batch::batch::Batch;
use crate::base::event::input::Input;
use crate::base::event::notice::Notice;
use crate::base::event::output::Output;
use crate::base::event::stream_id::StreamId;
use crate::base::guests::guest::LineTarget;
use crate::base::table::SortedSet;

/// Filters the outputs of one input before they are executed.
///
/// Outputs form one queue, in which an [`Output::Save`] precedes every [`Output::Write`] that
/// depends on it. After a failed save, the barrier drops all later saves and writes of the queue.
/// The barrier also drops the notices about unsaved batches. At the end of the queue, the core gets
/// [`Input::SaveFailed`]. Each stream of a dropped write is aborted, because the peer cannot
/// decrypt what follows the lost bytes. The core gets [`Input::Closed`] for each aborted stream.
#[derive(Debug, Default)]
pub struct SaveBarrier {
    unsaved_batches: Vec<Arc<Batch>>,
    aborted_streams: SortedSet<StreamId>,
}

impl SaveBarrier {
    /// Returns the output if it is to be executed, or `None` if it is dropped.
    pub fn admit(&mut self, output: Output) -> Option<Output> {
        if self.unsaved_batches.is_empty() {
            return Some(output);
        }
        match output {
            Output::Save { batch, .. } => self.unsaved_batches.push(batch),
            Output::Write { stream, .. } => {
                self.aborted_streams.insert(stream);
            }
            // The line is published again, and sent then.
            Output::Lsnp(datagram) if matches!(datagram.line, Some(LineTarget::Room(..))) => {}
            Output::Notice(notice) if self.is_unsaved(&notice) => {}
            Output::Close { stream } => {
                // The core closed this stream itself, so it needs no `Input::Closed`.
                self.aborted_streams.remove(&stream);
                return Some(output);
            }
            output => return Some(output),
        }
        None
    }

    /// Whether the notice shows lines that the store failed to save.
    fn is_unsaved(&self, notice: &Notice) -> bool {
        let Notice::Chat(chat) = notice else {
            return false;
        };
        let mut unsaved = self.unsaved_batches.iter();
        unsaved.any(|unsaved| Arc::ptr_eq(unsaved, &chat.batch))
    }

    /// Records that the store failed to save this batch.
    pub fn record_failure(&mut self, batch: Arc<Batch>) {
        self.unsaved_batches.push(batch);
    }

    /// Called at the end of the queue of outputs. Calls `abort` for each stream of a dropped write.
    /// Puts [`Input::SaveFailed`] and the [`Input::Closed`] of these streams before all other
    /// pending inputs.
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
