//! Wire formats of `src/wire`.

#[path = "../support/sentences/mod.rs"]
mod sentences;

mod beacon;
mod code;
mod message;
mod sealed;
mod secret;
