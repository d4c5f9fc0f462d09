//! Presentation: renders notices as text and JSON, and parses keys and typed lines. Only
//! [`terminal`] does I/O.
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
