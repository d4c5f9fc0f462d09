//! Loads the keys of a network. If `--secret-file` is given, the network is closed, and its keys
//! come from the file. Otherwise the network is open and has no keys.
use crate::base::identity::NetworkTag;
use crate::shell::config::failure::Failure;
use crate::shell::config::options::Options;
use crate::shell::state::secret_file::read_secret;
use crate::wire::secret::NetworkKeys;

/// Reads the keys of a closed network. `None`: the options choose the open network. A command calls
/// this once: the secret file may be a pipe.
///
/// # Errors
/// Exit status 78: the secret file is unusable.
pub fn load_network_keys(
    options: &Options,
    warnings: &mut Vec<String>,
) -> Result<Option<NetworkKeys>, Failure> {
    let path = options.secret_file.as_deref();
    path.map(|path| read_secret(path, warnings)).transpose()
}

/// The tag of the network with these keys. For `None`, the tag of the open network.
pub fn network_tag(keys: Option<&NetworkKeys>) -> NetworkTag {
    keys.map_or(NetworkTag::OPEN, NetworkKeys::network)
}
