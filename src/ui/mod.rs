//! Faces: what a person or a script sees and says. Pure but for the terminal's writer.
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
