//! The file named by `--secret-file`: the secret of a closed network.
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::shell::config::failure::Failure;
use crate::shell::state::identity_file::is_readable_by_others;
use crate::wire::secret::{NetworkKeys, SECRET_MAX_BYTES, zeroize};

/// Longest line end that may follow the secret, `\r\n`, in bytes.
const LINE_END_MAX_BYTES: usize = 2;
/// Extra capacity of the read buffer, in bytes, so that the buffer never grows. A buffer that grows
/// would leave a copy of the secret in memory.
const SPARE_BYTES: usize = 64;

/// Reads the secret of a network and derives the network keys from it. The file may be a pipe, so
/// that a command can provide the secret.
///
/// # Errors
/// Exit status 78: the file is missing or unreadable, or its secret is too short or too long.
pub fn read_secret(path: &Path, warnings: &mut Vec<String>) -> Result<NetworkKeys, Failure> {
    let bad = |why: String| Failure::config(format!("secret file {}: {why}", path.display()));
    let file = File::open(path).map_err(|error| bad(error.to_string()))?;
    let is_exposed = is_readable_by_others(&file);
    // A growing buffer would leave copies of the secret in freed memory.
    let mut content = Vec::with_capacity(SECRET_MAX_BYTES + SPARE_BYTES);
    // Reads one byte more than allowed, so that a secret that is too long is noticed.
    let read = file
        .take((SECRET_MAX_BYTES + LINE_END_MAX_BYTES + 1) as u64)
        .read_to_end(&mut content);
    let secret = NetworkKeys::derive(&content);
    zeroize(&mut content);
    read.map_err(|error| bad(error.to_string()))?;
    let secret = secret.map_err(|error| bad(error.to_string()))?;
    if is_exposed {
        warnings.push(format!(
            "secret file {0} is readable by others: chmod 600 {0}",
            path.display()
        ));
    }
    Ok(secret)
}
