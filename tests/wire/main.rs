//! Wire formats of `src/wire`.
mod message;
mod sealed;
