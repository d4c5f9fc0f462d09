//! What people say about themselves beside their names.
pub mod away;
pub mod profile;
pub mod typing;
