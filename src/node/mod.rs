//! Rules: the sans-IO core. `Node::handle` takes an `Input` and never fails; `poll_output` says what is to be done.
pub mod connection;
pub mod context;
pub mod discovery;
pub mod link;
pub mod membership;
#[allow(clippy::module_inception)]
pub mod node;
pub mod query;
pub mod replication;
pub mod save_barrier;
pub mod topology;
