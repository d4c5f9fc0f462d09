//! Presentation: the line editor, notices as text and JSON, and commands.

mod at_terminal;
mod command;
mod completion;
mod diagnostic;
mod editor;
#[cfg(feature = "guests")]
mod guests;
mod json;
#[cfg(feature = "profile")]
mod profile;
mod sanitize;
mod support;
mod tables;
mod text;
mod trust_command;
mod undelivered;
mod wrap;
