//! Types of `src/base` that carry rules of their own.

mod batch;
mod error_code;
mod hex;
mod table;
mod time;
