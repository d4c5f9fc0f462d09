//! Rules for text of others: which characters could control a terminal.
pub mod control_chars;
