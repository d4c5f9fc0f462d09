//! Sessions: requests come in, events go out. A session lives in the process that has the store;
//! its frontend is in the same process, or at the other end of `control.sock`.
pub mod commands;
pub mod delivery;
pub mod event_sink;
pub mod frontend;
pub mod guest_lines;
pub mod history_query;
pub mod history_worker;
pub mod listening;
pub mod resend;
#[allow(clippy::module_inception)]
pub mod session;
pub mod transcript;
pub mod trust;
pub mod whois;
