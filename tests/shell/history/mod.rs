//! History queries over a store on disk or in memory.

mod backlog;
mod bounds;
mod damage;
mod filters;
mod gaps;
mod order;
mod printed_beyond;
mod support;
