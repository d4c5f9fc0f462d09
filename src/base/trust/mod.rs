//! How far the user trusts a key, and how people compare keys.
pub mod fingerprint;
pub mod level;
pub mod misbehaviour;
