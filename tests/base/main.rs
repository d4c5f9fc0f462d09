//! Types of `src/base` that carry rules of their own.

mod error_code;
mod table;
mod time;
