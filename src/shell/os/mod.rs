//! Clock, files, poll, signals and threads of this box.
pub mod clock;
pub mod file;
pub mod poll;
pub mod signals;
pub mod thread;
