//! Nouns: keys, names, signed lines, time, and the vocabulary in which the core and the world
//! speak.
pub mod batch;
pub mod batch_content;
pub mod batch_fields;
pub mod error_code;
pub mod event;
pub mod identity;
pub mod lines;
pub mod name;
pub mod range;
pub mod table;
pub mod time;
