//! Clocks, files, pipes, poll, signals and threads of the operating system.
pub mod clock;
pub mod descriptors;
pub mod file;
pub mod pipe;
pub mod poll;
pub mod service_manager;
pub mod signals;
pub mod thread;
pub mod time_zone;
