//! What is still to be exchanged with the linked peers.
pub mod sync_state;
