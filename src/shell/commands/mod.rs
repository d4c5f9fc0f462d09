//! Commands that run without a session, one file each. Each prints to stdout and ends.
pub mod history;
pub mod keygen;
pub mod print;
pub mod whoami;
