//! The sans-IO core. `Node::handle` takes one `Input` and never fails. `Node::poll_output` returns
//! what the shell has to do.
pub mod connection;
pub mod context;
pub mod discovery;
pub mod link;
pub mod membership;
#[allow(clippy::module_inception)]
pub mod node;
pub mod peer_clock;
pub mod query;
pub mod replication;
pub mod save_barrier;
pub mod timer;
pub mod topology;
