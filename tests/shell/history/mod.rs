//! History queries over a store on disk or in memory.

mod damage;
mod filters;
mod gaps;
mod order;
mod support;
