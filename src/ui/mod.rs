//! Faces: what a person or a script sees and says. Pure but for the terminal's writer.
pub mod command;
pub mod editor;
pub mod json;
pub mod keys;
pub mod terminal;
pub mod text;
