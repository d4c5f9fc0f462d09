//! Wire formats of `src/wire`.

#[path = "../support/batches/mod.rs"]
mod batches;
#[path = "../support/sentences/mod.rs"]
mod sentences;

mod beacon;
mod code;
mod message;
mod sealed;
mod secret;
