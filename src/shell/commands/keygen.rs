//! `p2pchat keygen`: prints a new network secret.
use crate::shell::commands::print::print_text;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::state::identity_file::random_bytes;
use crate::wire::secret;

/// Prints a secret of 256 random bits on one line. Returns the exit status.
///
/// # Errors
/// Exit status 1: the system provides no random bytes, or stdout cannot be written.
pub fn run_keygen() -> Result<ExitStatus, Failure> {
    let mut random = random_bytes()?;
    let key = secret::generate_secret(&random);
    secret::zeroize(&mut random);
    print_text(&format!("{key}\n"))
}
