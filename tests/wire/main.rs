//! Wire formats of `src/wire`.

#[path = "../support/sentences/mod.rs"]
mod sentences;

mod code;
mod message;
mod sealed;
mod secret;
