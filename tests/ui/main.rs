//! Presentation: the line editor, and notices as text and JSON.
mod editor;
mod text;
