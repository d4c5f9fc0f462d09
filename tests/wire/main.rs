//! Wire formats of `src/wire`.
mod sealed;
