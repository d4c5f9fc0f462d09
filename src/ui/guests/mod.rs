//! What users see of guests, and type to reach them.
pub mod guest_json;
pub mod lsnp_commands;
