//! Types of `src/base` that carry rules of their own.
mod table;
mod time;
