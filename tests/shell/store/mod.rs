//! The store: saving, recovery, reading, quotas and gaps.

mod audit;
mod damage;
mod faults;
mod format;
mod fsync;
mod gaps;
mod memory;
mod positions;
mod quota;
mod reader;
mod reading;
mod recovery;
mod saving;
pub mod support;
