//! What users see of profiles, and type to change theirs.
pub mod profile_command;
pub mod profile_json;
pub mod profile_text;
