//! The line editor: decodes keys, edits a line, and draws it below the transcript.
pub mod keys;
pub mod line_editor;
pub mod terminal;
