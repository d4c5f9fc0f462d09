//! The simulator: many nodes in one process, on one virtual clock, from one seed, with any fault.
//!
//! A failing seed of the swarm is printed with the command that replays it.
mod air;
mod checks;
mod disk;
mod drive;
mod faults;
mod lan;
mod people;
mod quiet;
mod stranger;
mod streams;

mod broken;
mod clocks;
mod copies;
mod direct;
mod discovery;
mod holes;
mod hostile;
mod liars;
mod links;
mod many;
mod order;
mod relay;
mod replication;
mod rooms;
mod smoke;
mod storage;
mod swarm;
