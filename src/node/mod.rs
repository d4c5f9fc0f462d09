//! Rules: the sans-IO core. `Node::handle` takes an `Input` and never fails; `poll_output` says what is to be done.
pub mod again;
pub mod asked;
pub mod calling;
pub mod cursors;
pub mod direct;
pub mod discovery;
pub mod given;
pub mod handshakes;
pub mod haves;
pub mod hub;
pub mod link;
pub mod links;
pub mod logs;
pub mod members;
#[allow(clippy::module_inception)]
pub mod node;
pub mod presence;
pub mod receipts;
pub mod receive;
pub mod replicate;
pub mod rooms;
pub mod sightings;
pub mod sources;
pub mod tell;
pub mod topology;
pub mod trust;
pub mod view;
