//! Presentation: renders notices as text and JSON, and parses keys and typed lines. Only
//! [`editor::terminal`] does I/O.
pub mod chat_text;
pub mod command;
pub mod diagnostic;
pub mod display_names;
pub mod doctor_check;
pub mod editor;
pub mod guests;
pub mod json;
pub mod json_line;
pub mod json_parser;
pub mod json_peers;
pub mod line_filter;
pub mod line_format;
pub mod profile;
pub mod request;
pub mod sanitize;
pub mod session_event;
pub mod tables;
pub mod terminal_text;
pub mod text;
pub mod trust_command;
pub mod undelivered;
pub mod wrap;
