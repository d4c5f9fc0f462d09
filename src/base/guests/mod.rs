//! People of foreign networks, who are guests of a room here.
pub mod guest;
pub mod guest_event;
pub mod lsnp;
pub mod service;
