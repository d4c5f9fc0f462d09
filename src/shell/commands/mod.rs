//! Commands that run without a session, one file each. Each prints to stdout and ends.
#[cfg(feature = "invite")]
pub mod bound_peer;
#[cfg(feature = "doctor")]
pub mod doctor;
pub mod history;
#[cfg(feature = "invite")]
pub mod invite;
#[cfg(feature = "invite")]
pub mod join;
pub mod keygen;
pub mod print;
pub mod trust;
pub mod whoami;
