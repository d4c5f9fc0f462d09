//! The commands that need no session: each reads local state, prints to stdout and ends. One file
//! per command.
pub mod history;
pub mod keygen;
pub mod print;
pub mod whoami;
