//! The line editor: decodes keys, edits a line, and draws it below the transcript.
pub mod completion;
pub mod edited_text;
pub mod history_search;
pub mod keys;
pub mod line_editor;
pub mod line_history;
pub mod paste;
pub mod prompt;
pub mod terminal;
