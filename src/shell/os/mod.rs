//! Clock, poll, signals and threads of this box.
pub mod clock;
pub mod poll;
pub mod signals;
pub mod thread;
