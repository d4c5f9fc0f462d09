//! Types of `src/base` that carry rules of their own.

mod batch;
mod batch_content;
#[path = "../support/batches/mod.rs"]
mod batches;
mod control_chars;
mod error_code;
mod fingerprint;
mod hex;
mod identity;
mod json_objects;
mod lines;
mod name;
mod range;
mod rfc4648;
mod table;
mod time;
#[path = "../support/vector_files/mod.rs"]
mod vector_files;
mod vectors;
