//! Parts of the core that answer without a clock. All else of the core is tested in `tests/sim`.
mod known_peers;
mod save_barrier;
mod topology;
