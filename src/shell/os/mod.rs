//! Clock, signals and threads of this box.
pub mod clock;
pub mod signals;
pub mod thread;
