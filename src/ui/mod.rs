//! Presentation: notices as text and JSON, keys and lines as commands. Only the terminal writes.
pub mod command;
pub mod diagnostic;
pub mod display_names;
pub mod editor;
pub mod json;
pub mod keys;
pub mod sanitize;
pub mod tables;
pub mod terminal;
pub mod text;
