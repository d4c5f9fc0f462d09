//! Services of Grenache, whose addresses Grapes know by their names.

/// Whether this program is built with Grenache. Where this is false, the code for it is unused, and
/// the compiler leaves it out.
pub const HAS_GRENACHE: bool = cfg!(feature = "grenache");

/// A service that this program offers or seeks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The name.
    pub name: String,
    /// Whether to announce that this program offers it.
    pub is_offered: bool,
    /// Whether to look its addresses up.
    pub is_sought: bool,
}
