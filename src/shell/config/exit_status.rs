//! Exit statuses, by the contract with scripts.

pub const DONE: u8 = 0;
/// I/O, refused lines, or a directory in use.
pub const FAILED: u8 = 1;
/// The command line, or an option wherever it stands.
pub const USAGE: u8 = 2;
/// No peer at all was linked.
pub const NOBODY: u8 = 69;
/// Some were, but not everyone needed holds it yet.
pub const NOT_EVERYONE: u8 = 75;
/// A key is not the one bound to that name.
pub const OTHER_KEY: u8 = 77;
/// Configuration, identity, directory or secret file.
pub const CONFIG: u8 = 78;
/// `listen` ran out of time with fewer lines than asked for.
pub const TOO_FEW: u8 = 124;
pub const HUNG_UP: u8 = 129;
pub const INTERRUPTED: u8 = 130;
/// The reader of stdout is gone.
pub const CLOSED_OUTPUT: u8 = 141;
