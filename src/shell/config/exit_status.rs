//! Exit statuses, by the contract with scripts.

pub const SUCCESS: u8 = 0;
/// I/O, refused lines, or a directory in use.
pub const GENERAL_ERROR: u8 = 1;
/// The command line, or an option wherever it stands.
pub const USAGE_ERROR: u8 = 2;
/// No peer at all was linked.
pub const NO_PEER: u8 = 69;
/// Some were, but not everyone needed holds it yet.
pub const PARTIAL_DELIVERY: u8 = 75;
/// A key is not the one bound to that name.
pub const KEY_MISMATCH: u8 = 77;
/// Configuration, identity, directory or secret file.
pub const CONFIG_ERROR: u8 = 78;
/// `listen` ran out of time with fewer lines than asked for.
pub const TIMED_OUT: u8 = 124;
pub const HANGUP: u8 = 129;
pub const INTERRUPTED: u8 = 130;
/// The reader of stdout is gone.
pub const STDOUT_CLOSED: u8 = 141;
