//! Clocks, files, poll, signals and threads of the operating system.
pub mod clock;
pub mod descriptors;
pub mod file;
pub mod poll;
pub mod signals;
pub mod thread;
pub mod time_zone;
