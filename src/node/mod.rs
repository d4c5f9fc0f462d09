//! The sans-IO core. [`Node::handle`](crate::Node::handle) takes one [`Input`](crate::Input) and
//! never fails. [`Node::poll_output`](crate::Node::poll_output) returns what the host has to do.
//!
//! # What a host must do
//!
//! A host runs a [`Node`](crate::Node): it owns the sockets, the store, the clock and the timer.
//! The host of the program is its [event loop](crate::shell::runtime::event_loop). A small host in
//! memory lies in `tests/example/in_memory`; `cargo run --example two_nodes` runs two nodes on it.
//! The [crate root](crate) re-exports the types that a host needs.
//!
//! ## At the start of a run
//!
//! 1. Create the node from a [`NodeConfig`](crate::NodeConfig). Its `seed` is 32 new random bytes
//!    for each run. A repeated seed repeats incarnations and the keys of handshakes.
//! 2. Pass the [`ResumeState`](crate::ResumeState) only if the previous run saved it as in
//!    rule 18. Remove the saved state from the disk first, so that no second run uses it. A run
//!    without a `ResumeState` begins a new incarnation, which is always safe.
//! 3. Open the folders of the rooms to join, then [`FolderName::direct`](crate::FolderName::direct)
//!    and [`FolderName::carried`](crate::FolderName::carried). Pass
//!    [`Input::FolderOpened`](crate::Input::FolderOpened) for each, with the ranges of all its
//!    logs. To join a room later, open its folder before
//!    [`Command::Join`](crate::Command::Join).
//! 4. If somebody reads the room, pass [`Input::ReaderOpened`](crate::Input::ReaderOpened) before
//!    its `FolderOpened`. Save the time at which this reader began. All later runs need this time
//!    for [`ReaderStart`](crate::ReaderStart). Without a reader, all lines are history.
//! 5. Pass the interfaces with
//!    [`Input::InterfacesChanged`](crate::Input::InterfacesChanged). Commands and
//!    [`Input::EndpointResolved`](crate::Input::EndpointResolved) follow.
//!
//! ## In each turn
//!
//! 6. Pass one input to [`Node::handle`](crate::Node::handle). Then call
//!    [`Node::poll_output`](crate::Node::poll_output) until it returns `None`, before the next
//!    input. The monotonic time in `now` never goes back; the wall clock may jump.
//! 7. Execute the outputs one after the other, in their order. Finish each
//!    [`Output::Save`](crate::Output::Save) before the [`Output::Write`](crate::Output::Write)
//!    behind it, because the write may tell the peer that the batch is stored. A saved
//!    batch must survive the death of the process.
//! 8. Filter the outputs through a [`SaveBarrier`](crate::SaveBarrier). After a failed save it
//!    drops the outputs that depend on the batch, and reports
//!    [`Input::SaveFailed`](crate::Input::SaveFailed).
//! 9. Pass the inputs that outputs caused (`SaveFailed`, `Closed`, `Blocked`, `LsnpLine`) before
//!    all others.
//! 10. After each turn, ask [`Node::next_timeout`](crate::Node::next_timeout) for a time. At that
//!     time, pass [`Input::Timeout`](crate::Input::Timeout), after the inputs that have come by
//!     then. Only this input ends links, handshakes and hold-downs whose deadline has passed.
//!
//! ## For each stream
//!
//! 11. Number accepted streams with [`StreamId::accepted`](crate::StreamId::accepted), and use no
//!     number twice in a run. Answer each [`Output::Dial`](crate::Output::Dial) with
//!     [`Input::Connected`](crate::Input::Connected), or with
//!     [`Input::Closed`](crate::Input::Closed) if the dial fails.
//! 12. Write all bytes, in order. If the socket accepts a part, buffer the rest and pass
//!     [`Input::Blocked`](crate::Input::Blocked). Pass
//!     [`Input::Writable`](crate::Input::Writable) when the buffer is empty. In between, the node
//!     writes nothing to the stream.
//! 13. Pass [`Input::Closed`](crate::Input::Closed) once when a stream ends. After
//!     [`Output::Close`](crate::Output::Close), write the buffered bytes, and pass no further input
//!     of this stream.
//!
//! ## For the store
//!
//! 14. Answer each [`Output::Load`](crate::Output::Load) with one
//!     [`Input::Loaded`](crate::Input::Loaded), also if nothing can be read. Other inputs may come
//!     before the answer. Leave out each batch that is not
//!     [sendable](crate::Batch::is_sendable), and report its lines as lost.
//! 15. Evict lines of our own logs only below
//!     [`Node::retention_floor`](crate::Node::retention_floor). Report evicted lines with
//!     [`Input::Evicted`](crate::Input::Evicted). Report lines that the disk has lost with
//!     [`Input::LinesLost`](crate::Input::LinesLost). Before a folder is opened, pass the
//!     [identifying parts](crate::base::batch::batch_layout::identifying_parts) of its damaged
//!     batches that were printed, with [`Input::PrintedDamage`](crate::Input::PrintedDamage).
//! 16. Pass lines to publish only while [`Node::can_accept`](crate::Node::can_accept) is true.
//!     Lines passed while the store fails wait in memory.
//! 17. Keep for the next run: all entries of
//!     [`Output::SaveKnownPeer`](crate::Output::SaveKnownPeer) in their order, and the last text
//!     each of [`Output::SaveReceipts`](crate::Output::SaveReceipts),
//!     [`Output::SaveAddresses`](crate::Output::SaveAddresses) and
//!     [`Output::SaveProfile`](crate::Output::SaveProfile).
//!
//! ## At the end of a run
//!
//! 18. Pass [`Command::Leave`](crate::Command::Leave), execute the outputs, and give the streams a
//!     bounded time to write the rest. Sync the store. Then save
//!     [`Node::resume_state`](crate::Node::resume_state) for the next run.
pub mod acquaintances;
pub mod author_clocks;
pub mod backpressure;
pub mod config;
pub mod connection;
pub mod context;
pub mod counters;
pub mod discovery;
pub mod guest_table;
pub mod guests;
pub mod hybrid_clock;
pub mod link;
pub mod link_events;
pub mod membership;
pub mod misbehaviour;
#[allow(clippy::module_inception)]
pub mod node;
pub mod peer_clock;
pub mod profile_state;
pub mod query;
pub mod replication;
pub mod save_barrier;
pub mod standing;
pub mod timer;
pub mod topology;
