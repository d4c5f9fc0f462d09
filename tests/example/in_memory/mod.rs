//! A small host in memory: it runs nodes without sockets, files and waiting. The simulator in
//! `tests/sim` has one of its own, which adds faults and checks invariants.
#![allow(dead_code, reason = "each program uses some of the helpers")]

pub mod host;
pub mod lan;
pub mod network;
